"""One job: a function, its inputs, and what the caller asked for. Checked here, at the call that made it.

Does not know plans or backends as code.
"""

from __future__ import annotations

from operator import index
from sys import maxsize, modules

from pointsman import _log, _terms, _trace
from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._lent import Lent, lent
from pointsman._naming import BACKENDS as BACKENDS
from pointsman._naming import CLUSTERS as CLUSTERS
from pointsman._naming import name_of as name_of
from pointsman._naming import unwrapped
from pointsman._source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable
    from typing import Any

# Seconds of work in one chunk at most, unless the caller says otherwise: long enough that handing it out costs nothing,
# short enough that a busy worker does not hold the end up. The seed's default.
TARGET_CHUNK_SECONDS = 0.2


class Job:
    """What is to be done, checked.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        At once, naming the argument, for anything that cannot work.

    """

    __slots__ = (
        "address",
        "asked",
        "awaits",
        "backend",
        "buffersize",
        "carried",
        "chunksize",
        "example",
        "explained",
        "function",
        "here",
        "kept",
        "lazy",
        "lent",
        "max_workers",
        "name",
        "needs",
        "nested",
        "number",
        "on_error",
        "ordered",
        "prefer_threads",
        "profile",
        "sample_size",
        "source",
        "target",
        "terms",
        "told",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        *,
        backend: str | concurrent.futures.Executor = "auto",
        max_workers: int | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        on_error: str = "raise",
        sample_size: int | None = None,
        target_chunk_duration: float | None = None,
        lazy: bool = False,
        ordered: bool = True,
        profile: bool = False,
        prefer_threads: bool = True,
        nested: bool = True,
        terms: _terms.Terms = _terms.NONE,
        address: str | None = None,
    ) -> None:
        # One of the inputs, once there is one.
        self.example: Any = None
        # What workers have to import for it, once that was asked for (`_asking`).
        self.needs: tuple[set[str] | None] | None = None
        # Bytes that the function carries and seconds to pickle them, once that was asked for (`_engine`).
        self.carried: tuple[float, float] | None = None
        # What the user gave, and what is called in its place.
        self.asked: Any = check_callable(function)
        self.function: Callable[..., Any] = terms.wrap(function)
        # In traces: its number, 0 while nobody traces; and what the caller's own thread calls, if not the function.
        self.number: int = 0
        self.here: Any = None
        # Who wants to hear of this job, and whether its plan is asked for.
        self.told: Any = None
        self.explained: bool = False
        self.name: str = name_of(function)
        # The caller's own executor, if that is to run the calls.
        self.lent: Lent | None = lent(backend, terms, max_workers)
        self.backend: str = check_backend(backend) if self.lent is None else self.lent.name
        self.address: str | None = check_address(self.backend, address)
        # Whether the function's calls are coroutines that an event loop runs; other workers take plain functions only.
        self.awaits: bool = check_async(function, self.backend) and self.backend in ("auto", "asyncio")
        if self.awaits or (self.lent is not None and self.lent.ours and is_async(function)):
            self.function = on_terms(function, terms)
        elif is_async(function):
            # What cannot be stopped from outside stops where it awaits, by itself.
            alone = self.backend == "threads"
            self.function = awaited(on_terms(function, terms)) if alone else terms.wrap(awaited(function))
        self.terms: _terms.Terms = terms
        terms.check(self.backend)
        if terms.timeout is not None and self.backend == "threads" and not is_async(function):
            message = (
                "timeout= must be able to stop a call, and a thread cannot be stopped: use backend='processes' or "
                "'auto'; for a call that goes on unheard there is options(backend='threads', timeout=...).submit()"
            )
            raise InvalidArgumentError(message)
        self.max_workers: int | None = check_workers(self.backend, max_workers)
        self.chunksize: int | None = check_count("chunksize", chunksize)
        self.buffersize: int | None = check_count("buffersize", buffersize)
        self.sample_size: int | None = check_count("sample_size", sample_size)
        if on_error not in ("raise", "return"):
            message = f"on_error must be 'raise' or 'return', not {on_error!r}"
            raise InvalidArgumentError(message)
        self.on_error = on_error
        if target_chunk_duration is not None and not isinstance(target_chunk_duration, int | float):
            message = f"target_chunk_duration must be a number of seconds, not {target_chunk_duration!r}"
            raise InvalidTypeError(message)
        if target_chunk_duration is not None and not target_chunk_duration > 0:
            message = f"target_chunk_duration must be a positive number of seconds, not {target_chunk_duration!r}"
            raise InvalidArgumentError(message)
        self.target: float = target_chunk_duration or TARGET_CHUNK_SECONDS
        self.lazy: bool = lazy
        self.ordered: bool = check_switch("ordered", ordered)
        self.profile: bool = check_switch("profile", profile)
        self.prefer_threads: bool = check_switch("prefer_threads_for_io", prefer_threads)
        self.nested: bool = check_switch("auto_adjust_for_nested_parallelism", nested)
        if not iterables:
            message = "at least one iterable of inputs is needed"
            raise InvalidTypeError(message)
        check_iterables(iterables)
        self.source: Source = Source(iterables)

    def begin(self, *, look: bool) -> None:
        """Note in traces that it begins; with `look` it is seen how calls on the caller's thread use the GIL."""
        if _log.listener is not None:
            self.told = _log.listener.begins(self)
        self.number = _trace.begin(self.name)
        self.here = _trace.timed(self.function, self.name, self.number, look=look) if self.number else None

    def decided(self, plan: Any, before: Any) -> None:
        """Tell whoever listens of a plan, and of the one that it replaces."""
        _trace.planned(self.number, plan)
        _log.decided(self, plan, before)
        if self.told is not None:
            self.told.decided(plan, before)

    def ended(self, calls: int, seconds: float, error: BaseException | None) -> None:
        """Tell whoever listens that it has ended, after so many results."""
        _log.finished(self, calls, seconds, error)
        _trace.ended(self.number, error)
        if self.told is not None:
            self.told.ended(calls, seconds, error)

    def at(self, index: int) -> Any:
        """What the caller's own thread calls for the input at `index` and those after it."""
        here = self.here
        if here is None:
            return self.function
        here.seek(index)
        return here

    @property
    def caller_shares(self) -> bool:
        """Whether the caller's thread may run calls, too: in one that lasts it would not hand on what is ready."""
        return self.ordered or not self.lazy

    @property
    def keep_going(self) -> bool:
        """Whether an exception of a call is a result like any other."""
        return self.on_error == "return"


def check_callable(function: Any) -> Any:
    """Return the function, if it is one that can be run here."""
    if not callable(function):
        message = (
            f"the function must be callable, but {what_it_is(function)}; pass the function itself, without calling it"
        )
        raise InvalidTypeError(message)
    if _flags(function) & _CO_ASYNC_GENERATOR:
        message = (
            f"{name_of(function)} is an asynchronous generator function, whose call has no single result; "
            f"iterate over it, or decorate it with pointsman.smartasync"
        )
        raise InvalidTypeError(message)
    return function


# Of `inspect`, which is dear to import.
_CO_COROUTINE = 0x80
_CO_ASYNC_GENERATOR = 0x200
# The attribute of a function that says it gives coroutines, and where the object lies that it has to be.
_MARKS = (
    ("_is_coroutine_marker", "inspect", "_is_coroutine_mark"),
    # As 3.12 calls it.
    ("_is_coroutine_marker", "inspect", "_is_coroutine_marker"),
    ("_is_coroutine", "asyncio.coroutines", "_is_coroutine"),
)


def _flags(function: Any) -> int:
    """The flags of the code that a call of `function` runs; 0 if it has none of its own."""
    function = unwrapped(function)
    code = getattr(function, "__code__", None)
    if code is None:
        # An object that is called: what its class says.
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 - the method itself is wanted
    flags = getattr(code, "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def is_async(function: Any) -> bool:
    """Whether a call of `function` gives a coroutine."""
    return bool(_flags(function) & _CO_COROUTINE) or _is_marked(unwrapped(function))


def _is_marked(function: Any) -> bool:
    """Whether somebody has said that a plain function gives coroutines, as `inspect.markcoroutinefunction` does."""
    return any(
        (mark := getattr(function, name, None)) is not None
        # What has every attribute has these, too; and who marks a function has imported the module of the mark.
        and mark is getattr(modules.get(home), known, None)
        for name, home, known in _MARKS
    )


def check_async(function: Any, backend: str) -> bool:
    """Whether `function` is a coroutine function; raises if `backend` takes nothing else."""
    if is_async(function):
        return True
    if backend == "asyncio":
        message = (
            f"backend='asyncio' runs coroutine functions, and {name_of(function)} is a plain one; "
            f"define it with `async def`, or use backend='threads'"
        )
        raise InvalidTypeError(message)
    return False


def awaited(function: Any) -> Any:
    """Return a plain function that runs the coroutines of `function` to their end, on a loop of the calling thread."""
    from pointsman._awaited import Awaited

    return Awaited(function)


def on_terms(function: Any, terms: _terms.Terms) -> Any:
    """Return a coroutine function whose calls keep the terms by themselves, as far as an event loop can."""
    if terms is _terms.NONE or not (terms.retry_on or terms.timeout):
        return function
    from pointsman._awaited import Limited

    return Limited(function, terms.timeout, terms.retries, terms.retry_on)


def check_iterable(data: Any, position: int | None) -> None:
    """Raise if the inputs cannot be iterated."""
    # The type is asked, as the interpreter does it: a proxy of a server has whatever it is asked for.
    if hasattr(type(data), "__iter__") or hasattr(type(data), "__getitem__"):
        return
    which = "data" if position is None else f"iterable {position}"
    message = f"{which} must be an iterable of inputs, but {what_it_is(data)}; for a single call use run() or submit()"
    raise InvalidTypeError(message)


def check_iterables(iterables: tuple[Any, ...]) -> None:
    """Raise if the inputs of one of several parameters cannot be iterated."""
    for position, data in enumerate(iterables):
        check_iterable(data, position if len(iterables) > 1 else None)


# Characters of a wrong value that a message shows.
_LONGEST_SHOWN = 100


def what_it_is(value: object) -> str:
    """Say for a message what was given in the place of something else."""
    if value is None:
        return "it is None"
    kind, text = type(value).__qualname__, repr(value)
    text = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return f"{text} is {'an' if kind[:1].lower() in 'aeio' else 'a'} {kind}"


def check_callback(name: str, value: Any) -> None:
    """Raise unless it is None or can be called."""
    if value is not None and not callable(value):
        message = f"{name} must be callable, but {what_it_is(value)}"
        raise InvalidTypeError(message)


def check_count(name: str, value: Any, most: int = maxsize, why: str = "") -> int | None:
    """Return a positive whole number that fits what counts with it, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        message = f"{name} must be a whole number, not {value!r}"
        raise InvalidTypeError(message)
    count = index(value)
    if not 1 <= count <= most:
        limit = "least 1" if count < 1 else f"most {most}{why}"
        message = f"{name} must be at {limit}, not {value!r}"
        raise InvalidArgumentError(message)
    return count


# Worker processes that a pool can have (`MOST_LANES` in pointsman-shm), and workers that the planner counts to.
_MOST_PROCESSES = 1024
_MOST_WORKERS = (1 << 31) - 1


def check_workers(backend: str, max_workers: Any) -> int | None:
    """Return how many workers there may be, or None; raise if the backend cannot have as many."""
    if backend == "processes":
        return check_count("max_workers", max_workers, _MOST_PROCESSES, " for worker processes")
    return check_count("max_workers", max_workers, _MOST_WORKERS)


def check_switch(name: str, value: Any) -> bool:
    """Return True or False; nothing else will do, since a figure or a word there is a mistake."""
    if value is True or value is False:
        return bool(value)
    message = f"{name} must be True or False, not {value!r}"
    raise InvalidTypeError(message)


def check_backend(backend: Any) -> str:
    """Return the name of a known backend that this interpreter has."""
    if backend == "interpreters":
        from pointsman._edition import INTERPRETERS, NO_INTERPRETERS

        if not INTERPRETERS:
            raise InvalidArgumentError(NO_INTERPRETERS)
    if backend in BACKENDS or backend in CLUSTERS:
        return str(backend)
    message = f"backend must be one of {', '.join(map(repr, (*BACKENDS, *CLUSTERS)))}, not {backend!r}"
    raise InvalidArgumentError(message)


def check_address(backend: str, address: Any) -> str | None:
    """Return the address of a cluster, if the backend is one."""
    if address is None:
        return None
    if backend not in CLUSTERS:
        message = f"address= is of a cluster: add backend='dask' or 'ray', or leave it out for {backend!r}"
        raise InvalidArgumentError(message)
    if not isinstance(address, str):
        message = f"address must be a string like 'tcp://host:8786' or 'host:6379', not {address!r}"
        raise InvalidTypeError(message)
    return address
