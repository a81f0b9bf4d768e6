"""The plan: the choice that was made, every other with its predicted seconds, and why.

Does not know how to decide (the native planner does) or how calls are run.
"""

from __future__ import annotations

from pointsman._naming import BACKENDS, CLUSTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

_OBSERVED = (
    "calls",
    "held",
    "free",
    "wait",
    "cv",
    "longest",
    "argument_bytes",
    "result_bytes",
    "pack",
    "other_threads",
    "faulting",
    "flip",
    "partial",
)
_CANDIDATE = (
    "backend",
    "workers",
    "processes",
    "threads_per_worker",
    "chunksize",
    "seconds",
    "start_up",
    "rate",
    "limit",
    "struck_out",
)

_SENTENCES = ("reasons", "warnings", "turning_points", "hints")

# A plan is left for another that takes less than this share of its time. Arbitrary between 0.7 and 0.9.
_CLEARLY = 0.8


# Where calls can run; "auto" is a question and no answer.
_PLACES = (*BACKENDS[1:], *CLUSTERS)
# What `executor` may say.
_KINDS = ("", "thread", "process", "interpreter", "other")
# Backends that may have to find out how many calls run at a time.
_FIND_OUT = ("asyncio", *CLUSTERS)
_WITH_PROCESSES = ("processes", "interpreters")
# No count is larger: it has to fit what the workers' pools count with.
_LARGEST = (1 << 31) - 1


class Record:
    """A frozen bundle of named figures, which compares by value."""

    __slots__ = ("_fields",)

    def __init__(self, **fields: Any) -> None:
        object.__setattr__(self, "_fields", fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._fields[name]
        except KeyError:
            message = f"{type(self).__name__} has no {name!r}; it has {', '.join(self._fields)}"
            raise AttributeError(message) from None

    def __setattr__(self, name: str, value: object) -> None:
        message = f"{type(self).__name__} cannot be changed"
        raise AttributeError(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields == self._fields

    def __hash__(self) -> int:
        return hash((type(self), tuple(self._fields)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._fields.items()}


def _rebuild(kind: type[Record], fields: dict[str, Any]) -> Record:
    return kind(**fields)


class Observation(Record):
    """What was measured: `held`, `free`, `wait` (seconds per call), sizes (bytes), spread."""

    __slots__ = ()


class Candidate(Record):
    """A possible choice: backend, workers, predicted `seconds` for the calls left, and what limits it."""

    __slots__ = ()

    @property
    def place(self) -> tuple[str, int, int]:
        """Where its calls would run; see `Plan.place`."""
        return _place(self)


class Sample(Record):
    """One sampled call: `seconds`, those `held`, `free` and `wait`, and `argument_bytes` and `result_bytes`."""

    __slots__ = ()


class Actual(Record):
    """What happened: `seconds`, those of them `after_decision`, `calls`, and the backend that ran at the end."""

    __slots__ = ()


def _place(choice: Any) -> tuple[str, int, int]:
    return choice.backend, choice.processes, choice.threads_per_worker if choice.processes else 0


# What a plan in JSON has to say.
_NEEDED = ("backend", "max_workers", "observation", "candidates", "reasons", "warnings", "turning_points", "actual")


def _check_fields(fields: Any) -> None:
    """Raise if what was read is not all of a plan, or more than that."""
    if not isinstance(fields, dict):
        message = f"a value of type {type(fields).__name__!r} is no object with fields"
        raise TypeError(message)
    if missing := [name for name in _NEEDED if name not in fields]:
        message = f"it has no {', '.join(map(repr, missing))}"
        raise ValueError(message)
    if unknown := sorted(fields.keys() - vars(Plan(backend="inline", max_workers=1)).keys()):
        message = f"a plan has no {', '.join(map(repr, unknown))}"
        raise ValueError(message)


class Plan:
    """A decision and everything that explains it.

    Attributes
    ----------
    backend
        "inline", "threads", "processes" or "interpreters"; "asyncio" for coroutines, "dask" or "ray" for a cluster;
        the name of its class for an executor of the caller's.
    executor
        Of what kind that is: "thread", "process", "interpreter" or "other"; empty for backends of ours.
    max_workers
        Calls that run at a time; the caller's own thread counts when it takes part. 0 on an event loop that is to find
        out, until it has, and for an executor or a cluster that has not said.
    processes, threads_per_worker
        Worker processes or interpreters, and the threads in each (or in this process) that run calls.
    chunksize
        Calls in the first chunk.
    workload
        "cpu-bound", "io-bound", "mixed" or "gil-free".
    estimated_speedup
        Predicted seconds of the plain loop over those of this plan.
    estimated_seconds
        Predicted seconds for the calls left when this was decided; None where their number is not known.
    decided_after
        Seconds from the start of the run until this was decided; 0 for a plan that was not run.
    observation
        The measured figures; None when nothing was measured.
    candidates
        Every choice that was priced, the fastest first.
    reasons, warnings, turning_points
        Short sentences: why, what to mind, and what would change the answer.
    calls, calls_left
        Calls in all, and those left when this was decided; None where their number is not known.
    hints
        What the code itself promises of the work ("sleeps", "sockets", ...): a weak prior, overridden by measuring.
    samples
        Every sampled call, in order, if `profile=True` was asked for: seconds, and bytes once pickled.
    data
        Every input, the measured ones included, when the input could be iterated only once; else the input itself.
    actual
        What happened when the plan was run, or None.

    """

    def __init__(
        self,
        *,
        backend: str,
        max_workers: int,
        processes: int = 0,
        threads_per_worker: int = 1,
        chunksize: int = 1,
        workload: str = "unknown",
        estimated_speedup: float = 1.0,
        estimated_seconds: float | None = None,
        decided_after: float = 0.0,
        observation: Observation | None = None,
        candidates: tuple[Candidate, ...] = (),
        reasons: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
        turning_points: tuple[str, ...] = (),
        function: str = "",
        calls: int | None = None,
        calls_left: int | None = None,
        caller_shares: bool = False,
        hints: tuple[str, ...] = (),
        samples: tuple[Sample, ...] = (),
        data: Any = None,
        actual: Actual | None = None,
        executor: str = "",
    ) -> None:
        self.backend: str = backend
        self.max_workers: int = max_workers
        self.processes: int = processes
        self.threads_per_worker: int = threads_per_worker
        self.chunksize: int = chunksize
        self.workload: str = workload
        self.estimated_speedup: float = estimated_speedup
        self.estimated_seconds: float | None = estimated_seconds
        self.decided_after: float = decided_after
        self.observation: Observation | None = observation
        self.candidates: tuple[Candidate, ...] = candidates
        self.reasons: tuple[str, ...] = reasons
        self.warnings: tuple[str, ...] = warnings
        self.turning_points: tuple[str, ...] = turning_points
        self.function: str = function
        self.calls: int | None = calls
        self.calls_left: int | None = calls_left
        self.caller_shares: bool = caller_shares
        self.hints: tuple[str, ...] = hints
        self.samples: tuple[Sample, ...] = samples
        self.data: Any = data
        self.actual: Actual | None = actual
        self.executor: str = executor

    @property
    def place(self) -> tuple[str, int, int]:
        """Where calls run: backend, processes, and the threads in each; threads alone are one place, however many."""
        return _place(self)

    def gains_on(self, other: Plan) -> bool:
        """Whether leaving `other` for this plan pays, by this plan's figures."""
        mine = [candidate.seconds for candidate in self.candidates if _place(candidate) == self.place]
        same = [candidate.seconds for candidate in self.candidates if _place(candidate) == other.place]
        return bool(mine) and (not same or min(mine) < _CLEARLY * min(same))

    def price_again(self, later: Plan) -> None:
        """Take the seconds that a later plan, made with better figures, predicts for this one's place."""
        same = [candidate for candidate in later.candidates if _place(candidate) == self.place]
        if same:
            best = min(same, key=lambda candidate: candidate.seconds)
            loop = [candidate.seconds for candidate in later.candidates if candidate.backend == "inline"]
            self.estimated_seconds = best.seconds
            self.estimated_speedup = loop[0] / best.seconds if loop and best.seconds else self.estimated_speedup
            self.reasons = (*self.reasons, "the seconds were predicted anew when the first call was over")

    @property
    def executor_type(self) -> str:
        """The seed's word for the backend: "thread", or "process" (for a serial plan, too); or `executor`."""
        if self.executor:
            return self.executor
        return "thread" if self.backend == "threads" else "process"

    @property
    def n_jobs(self) -> int:
        """The seed's word for `max_workers`; 1 when serial."""
        return 1 if self.backend == "inline" else max(1, self.max_workers)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the data, as JSON can hold it."""
        fields = {name: value for name, value in vars(self).items() if name != "data"}
        for name in _SENTENCES:
            fields[name] = list(fields[name])
        fields["samples"] = [sample.as_dict() for sample in self.samples]
        fields["observation"] = self.observation.as_dict() if self.observation is not None else None
        fields["actual"] = self.actual.as_dict() if self.actual is not None else None
        fields["candidates"] = [candidate.as_dict() for candidate in self.candidates]
        return fields

    def to_json(self, *, indent: int | None = None) -> str:
        """The plan as JSON, without its data."""
        import json

        return json.dumps(self.as_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises
        ------
        InvalidArgumentError
            If the text is no plan, or one that cannot be followed; it names the field.

        """
        import json

        from pointsman._errors import InvalidArgumentError

        try:
            fields = json.loads(text)
            _check_fields(fields)
            observation, actual = fields.pop("observation"), fields.pop("actual")
            candidates = tuple(Candidate(**candidate) for candidate in fields.pop("candidates"))
            for name in _SENTENCES:
                fields[name] = tuple(fields.get(name, ()) if name == "hints" else fields[name])
            samples = tuple(Sample(**sample) for sample in fields.pop("samples", ()))
            plan = cls(
                observation=Observation(**observation) if observation is not None else None,
                actual=Actual(**actual) if actual is not None else None,
                candidates=candidates,
                samples=samples,
                **fields,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as why:
            message = f"this is not a plan in JSON ({why}); Plan.to_json() writes one"
            raise InvalidArgumentError(message) from why
        if (wrong := plan._wrong()) is not None:
            name, allowed = wrong
            message = f"{name!r} of a plan in JSON must be {allowed}, not {getattr(plan, name)!r}"
            raise InvalidArgumentError(message)
        return plan

    def _wrong(self) -> tuple[str, str] | None:
        """The first of the fields that are followed which makes no sense, and what would."""
        # Whatever was read is there: nothing is as its type says.
        backend: Any = self.backend
        shares: Any = self.caller_shares
        if self.executor not in _KINDS:
            return "executor", f"one of {', '.join(map(repr, _KINDS))}"
        if not isinstance(backend, str) or not (self.executor or self.backend in _PLACES):
            return "backend", f"one of {', '.join(map(repr, _PLACES))}"
        apart = self.backend in _WITH_PROCESSES and not self.executor
        least = {
            "max_workers": 0 if self.executor or self.backend in _FIND_OUT else 1,
            "processes": int(apart),
            "threads_per_worker": int(apart),
            "chunksize": 1,
        }
        for name, fewest in least.items():
            value = getattr(self, name)
            if type(value) is not int or not fewest <= value <= _LARGEST:
                return name, f"a whole number from {fewest} to {_LARGEST}"
        return None if type(shares) is bool else ("caller_shares", "true or false")

    def __repr__(self) -> str:
        """Return one line with the choice."""
        workers = f"max_workers={self.max_workers} chunksize={self.chunksize}"
        return f"<Plan {self.backend} {workers} speedup={self.estimated_speedup:.2f}>"

    def __eq__(self, other: object) -> bool:
        """Two plans are equal when all figures are; the data is not compared."""
        return isinstance(other, Plan) and self.as_dict() == other.as_dict()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __str__(self) -> str:
        """Return the decision as a tree, each branch with the figure that decided it."""
        from pointsman._drawing import draw

        return draw(self)

    def _repr_html_(self) -> str:
        from pointsman._html import draw_html

        return draw_html(self)

    def plot(self) -> Any:
        """Draw the predicted seconds and the speed-up over the workers, a line for each backend.

        Returns the matplotlib `Figure`; a notebook shows it, `.savefig(path)` writes it.

        Raises
        ------
        MissingExtraError
            Without matplotlib; it names the pip command. It is an `ImportError`.
        InvalidArgumentError
            If the plan has no candidates to compare.

        """
        from pointsman._plot import draw_plot

        return draw_plot(self)
