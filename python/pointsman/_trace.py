"""Traces: what every call did, written as JSON that Perfetto and chrome://tracing open.

The times come from the native recorder; this module begins and ends traces and adds the jobs with their plans. Does not
know how calls run.

Invariants:
    T1. However a trace ends, its file is whole or not there: it is written beside its place and moved.
    T2. While nobody traces, a job costs one look at a flag.
    T3. A trace belongs to the process that began it; a forked child traces nothing.
"""

from __future__ import annotations

import os
import sys

from pointsman import _native
from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from pointsman._times import Times

# Which format the file's own part has, for `pointsman report`.
FORMAT = 1

_open: list[trace] = []
_numbers = iter(range(1, 1 << 32))


class _Traced:
    """A job of the trace: its number, its function, when it was begun and ended, and each plan when it was made."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.began = _native.trace_now()
        self.ended: int | None = None
        self.failure: str | None = None
        self.plans: list[tuple[int, Any]] = []


class trace:  # noqa: N801 - it reads as the verb that it is
    """Write what every call does to a file that Perfetto (https://ui.perfetto.dev) and chrome://tracing open.

    For each call: when it was handed over, when a worker turned to it, when it ran and where, its CPU time, the part of
    that with the GIL held, and the time that its outcome took to travel; and for each job its plan, with what was
    measured and predicted. `pointsman report` makes a page of it.

    All calls of the program between `with` and its end are traced, whichever thread makes them, and traces may overlap.
    Calls that pointsman makes within a worker process are part of the call that makes them. The environment variable
    POINTSMAN_TRACE does the same for a whole program.

    Parameters
    ----------
    path
        The file; one that exists is replaced when the trace ends.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        If `path` is no path, or its directory does not exist.
    OSError
        At the end, if the file cannot be written. An exception that ends the block is not covered up.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            given: object = os.fspath(path)
        except TypeError:
            message = f"a trace needs the path of a file, not {path!r}"
            raise InvalidTypeError(message) from None
        if not isinstance(given, str):
            message = f"a trace needs the path of a file as text, not {path!r}"
            raise InvalidTypeError(message)
        self.path: str = os.path.abspath(given)  # noqa: PTH100 - pathlib is dear to import
        directory = os.path.dirname(self.path)  # noqa: PTH120
        if not os.path.isdir(directory):  # noqa: PTH112
            message = f"the trace cannot be written to {self.path}: there is no directory {directory}"
            raise InvalidArgumentError(message)
        self.calls: int = 0
        self._native: _native.Trace | None = None
        self._jobs: dict[int, _Traced] = {}
        self._owner = 0
        self._since = 0.0

    def __enter__(self) -> Self:
        """Begin to trace."""
        from time import time

        if self._native is not None:
            message = "this trace has begun already: make another one"
            raise InvalidArgumentError(message)
        _hook()
        self._owner, self._since = os.getpid(), time()
        self._native = _native.Trace()
        _open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, and write the file."""
        native, self._native = self._native, None
        if native is None or self._owner != os.getpid():
            return
        _open.remove(self)
        beside = f"{self.path}.{os.getpid()}.tmp"
        try:
            self.calls = native.write(beside, *self._story(native.began))
            # Not in one step if there is another: some systems (ext4) would bring what replaces a file to the disk at
            # once, which takes longer than all else here.
            if os.path.exists(self.path):  # noqa: PTH110
                os.unlink(self.path)  # noqa: PTH108
            os.replace(beside, self.path)  # noqa: PTH105
        except OSError as why:
            if os.path.exists(beside):  # noqa: PTH110
                os.unlink(beside)  # noqa: PTH108
            if error is None:
                message = f"the trace cannot be written to {self.path}: {why}"
                raise type(why)(message) from why

    def _story(self, origin: int) -> tuple[str, str]:
        """What the file says besides its calls: the head, and an event for each decision."""
        import json

        jobs, events = [], []
        for job in self._jobs.values():
            plans = []
            for at, plan in job.plans:
                place = {"at": _micros(at, origin), "plan": plan.as_dict()}
                plans.append(place)
                label = f"{job.name}: {plan.backend}" + (f" x {plan.max_workers}" if plan.max_workers > 1 else "")
                told = {"job": job.number, "estimated_seconds": plan.estimated_seconds, "reasons": list(plan.reasons)}
                events.append(
                    {"ph": "i", "s": "p", "cat": "decision", "name": label, "ts": place["at"], "pid": self._owner}
                    | {"tid": 0, "args": told}
                )
            jobs.append(
                {
                    "job": job.number,
                    "function": job.name,
                    "began": _micros(job.began, origin),
                    "ended": None if job.ended is None else _micros(job.ended, origin),
                    "failure": job.failure,
                    "plans": plans,
                }
            )
        head = {
            "tool": "pointsman",
            "format": FORMAT,
            "version": _native.__version__,
            "python": sys.version.split()[0],
            "pid": self._owner,
            "began": self._since,
            "seconds": (_native.trace_now() - origin) * 1e-9,
            "units": "microseconds",
            "jobs": jobs,
        }
        return json.dumps(head, default=repr), ",\n".join(json.dumps(event, default=repr) for event in events)


def _micros(at: int, origin: int) -> float:
    return max(0, at - origin) / 1000


_hooked = False


def _hook() -> None:
    global _hooked  # noqa: PLW0603 - once per process
    if not _hooked:
        _hooked = True
        at_fork(_forget)


def _forget() -> None:
    _native.trace_forget()
    _open.clear()


def whole_program(path: str) -> None:
    """Trace until the program ends, as POINTSMAN_TRACE asks for."""
    import atexit

    whole = trace(path)
    # What this program starts inherits its environment, and would write over the file.
    os.environ.pop("POINTSMAN_TRACE", None)
    whole.__enter__()
    atexit.register(whole.__exit__, None, None, None)


def begin(name: str) -> int:
    """Note a job that begins; returns its number, 0 if nobody traces."""
    if not _open:
        return 0
    job = _Traced(next(_numbers), name)
    for one in _open:
        one._jobs[job.number] = job  # noqa: SLF001 - this module
    return job.number


def planned(number: int, plan: Any) -> None:
    """Note the plan of a job."""
    job = _job(number)
    if job is not None:
        job.plans.append((_native.trace_now(), plan))


def ended(number: int, error: BaseException | None) -> None:
    """Note the end of a job, and what ended it early."""
    job = _job(number)
    if job is None:
        return
    job.ended = _native.trace_now()
    # A generator that is closed was only not read to its end.
    job.failure = None if error is None else ("left early" if isinstance(error, GeneratorExit) else _line(error))
    seen = job.plans[-1][1].observation if job.plans else None
    if seen is not None:
        # What was measured before the decision goes for the calls that nobody looked at.
        _native.trace_share(job.name, seen.held * seen.calls, (seen.held + seen.free) * seen.calls)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def _job(number: int) -> _Traced | None:
    if number:
        for one in _open:
            if number in one._jobs:  # noqa: SLF001 - this module
                return one._jobs[number]  # noqa: SLF001 - this module
    return None


def timed(function: Any, name: str, number: int, *, look: bool) -> Any:
    """Return what calls `function` and records it, if somebody traces; with `look` how it uses the GIL is looked at."""
    return _native.Timed(function, name, number, look) if _native.tracing() else function


def posted() -> int:
    """Now, for a call that is handed over, if somebody traces; else 0."""
    return _native.trace_now() if _native.tracing() else 0


# Where calls ran that workers elsewhere have timed, in the order in which they were heard of.
_places: dict[tuple[str, int, int], int] = {}
_hosts: dict[str, int] = {}
# Process ids are below it on all systems that we know; those of other hosts are told apart by what is above it.
_MOST_PIDS = 1 << 22
_MOST_HOSTS = 1 << 9


def ran(kind: str, name: str, handed_over: int, times: Times | None, *, job: int = 0, first: int | None = None) -> None:
    """Record calls that a worker of `kind` has timed; `first` is the index of the first of them in its job."""
    if times is None or not _native.tracing():
        return
    arrived = _native.trace_now()
    from socket import gethostname

    here = gethostname()
    ready, packed, shift = times.ready, times.packed, 0
    if not handed_over <= ready <= packed <= arrived:
        # Another machine's clock: what is not accounted for is taken to be spent on the way there and back alike.
        shift = handed_over + max(0, arrived - handed_over - (packed - ready)) // 2 - ready
    place = _places.setdefault((times.host, times.pid, times.thread), len(_places) + 1)
    pid, label = times.pid, f"{kind} {place}"
    if times.host != here:
        label = f"{label} on {times.host}"
        pid = pid % _MOST_PIDS + _MOST_PIDS * (1 + _hosts.setdefault(times.host, len(_hosts)) % _MOST_HOSTS)
    for number, (began, ended, cpu, good) in enumerate(times.calls):
        sent = packed if number + 1 == len(times.calls) else ended
        moments = (handed_over, ready + shift, began + shift, ended + shift, sent + shift)
        ending, index = "value" if good else "raised", None if first is None else first + number
        _native.trace_call(name, (pid, times.thread, label), moments, ending, job, index, cpu)
        ready = ended


def died(kind: str, name: str, handed_over: int, *, job: int = 0, first: int | None = None) -> None:
    """Record a call, or the first of a chunk, whose worker died; nobody has heard when it began."""
    if handed_over and _native.tracing():
        row = (os.getpid(), _LOST, f"lost on {kind}")
        moments = (handed_over, handed_over, handed_over, _native.trace_now(), 0)
        _native.trace_call(name, row, moments, "died", job, first)


# Rows from 1 << 30 on are coroutines'; this one is above all of theirs.
_LOST = (1 << 31) - 1


class Rows:
    """Rows of the picture for calls that overlap on one thread: each call takes the lowest that is free."""

    def __init__(self, base: int, label: str) -> None:
        self._base = base
        self._label = label
        self._taken: list[bool] = []

    def take(self) -> int:
        """Take a row."""
        for number, taken in enumerate(self._taken):
            if not taken:
                self._taken[number] = True
                return number
        self._taken.append(True)
        return len(self._taken) - 1

    def give(self, number: int) -> tuple[int, int, str]:
        """Give a row back; returns what the recorder wants to know of it."""
        self._taken[number] = False
        return os.getpid(), self._base + number, f"{self._label} {number}"
