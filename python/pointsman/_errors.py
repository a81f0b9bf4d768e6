"""Every exception that a caller can catch.

Each is a `PointsmanError`, and also the built-in or standard class that users catch today.
"""

from __future__ import annotations

from _pickle import PicklingError, UnpicklingError
from _thread import allocate_lock
from sys import modules

from pointsman._ending import is_ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool

__all__ = [
    "BarredError",
    "CallTimeoutError",
    "CannotTravelError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "MissingExtraError",
    "PointsmanError",
    "PoolBrokenError",
    "RemoteError",
    "RunningLoopError",
    "SharedMemoryFullError",
    "UnreadableError",
    "WorkerDied",
]


class PointsmanError(Exception):
    """Base class of all errors that pointsman itself raises."""


class InvalidArgumentError(PointsmanError, ValueError):
    """An argument has a value that makes no sense. The message names it and what is allowed."""


class InvalidTypeError(PointsmanError, TypeError):
    """An argument is of the wrong type, such as a function that is not callable."""


class MissingExtraError(PointsmanError, ImportError):
    """An optional dependency is not installed; the message has the pip command."""


class CannotTravelError(PointsmanError, PicklingError):
    """A function, an argument or a result cannot be pickled, so it cannot go to or come from another process."""


class BarredError(CannotTravelError, ImportError):
    """A call needs an extension module that cannot be loaded in a worker interpreter."""


class RemoteError(PointsmanError):
    """A call raised an exception that cannot be pickled or unpickled; the message and the cause have its text."""


class CallTimeoutError(PointsmanError, TimeoutError):
    """A call took longer than its timeout."""


class SharedMemoryFullError(PointsmanError, MemoryError):
    """A call's arguments are larger than the shared memory of its pool will ever hold."""


class RunningLoopError(PointsmanError, RuntimeError):
    """A coroutine function was to be run to its end on a thread whose event loop is running."""


class PoolBrokenError(PointsmanError, RuntimeError):
    """The workers of a pool cannot be started, so its calls cannot be run."""


class _RemoteTraceback(Exception):  # noqa: N818 - shown in tracebacks as the standard library shows its own
    """Carries the text of a worker's traceback; it stands as the cause of the exception that the caller sees."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


if TYPE_CHECKING:

    class WorkerDied(PointsmanError, BrokenProcessPool):  # noqa: N818 - the name that the design gives it
        """A worker process died while it ran the call.

        `cause` is "signal", "exit", "neighbour", "cancelled", "memory", "shutdown" or "unknown"; `number` the signal
        or the exit code; `index` the place of the call's input in a job.
        """

        cause: str
        number: int
        pid: int
        function: str
        index: int | None

        def __init__(
            self, message: str, cause: str, number: int, pid: int, function: str, index: int | None
        ) -> None: ...

    class UnreadableError(PointsmanError, UnpicklingError, BrokenProcessPool):
        """What arrived on the other side, a call's arguments or its result, cannot be unpickled there.

        It is also a `BrokenProcessPool`, which the standard library raises then; no other call is touched.
        """


def broken_pool_of(kind: str) -> type[BaseException]:
    """What the standard library raises for a broken pool of "process" or "thread", imported when that is needed.

    The one imports all of multiprocessing, and each registers a hook for the program's end: when that has come they
    cannot be imported any more, and nobody can catch by its name what is not there.
    """
    module = modules.get(f"concurrent.futures.{kind}")
    if module is None and is_ending():
        from concurrent.futures import BrokenExecutor

        return BrokenExecutor
    if kind == "thread":
        from concurrent.futures.thread import BrokenThreadPool

        return BrokenThreadPool
    from concurrent.futures.process import BrokenProcessPool

    return BrokenProcessPool


def _make_unreadable() -> type:
    body = {
        "__module__": _PUBLIC,
        "__doc__": "What arrived on the other side, a call's arguments or its result, cannot be unpickled there.",
    }
    return type("UnreadableError", (PointsmanError, UnpicklingError, broken_pool_of("process")), body)


def _make_worker_died() -> type:
    def init(self: WorkerDied, message: str, *details: object) -> None:
        PointsmanError.__init__(self, message, *details)
        self.cause, self.number, self.pid, self.function, self.index = details  # type: ignore[assignment]

    def text(self: WorkerDied) -> str:
        return str(self.args[0])

    body = {
        "__init__": init,
        "__str__": text,
        "__module__": _PUBLIC,
        "__doc__": "A worker process died while it ran the call.",
    }
    return type("WorkerDied", (PointsmanError, broken_pool_of("process")), body)


def broken_pool(message: str, standard: type[BaseException]) -> PoolBrokenError:
    """Return the error of a broken pool, which is also the one of the standard library's pool of that kind."""
    kind: type[PoolBrokenError] = type("PoolBrokenError", (PoolBrokenError, standard), {"__module__": _PUBLIC})
    return kind(message)


# As users import them, and so as tracebacks name them.
_PUBLIC = __name__.partition(".")[0]
for _name in __all__:
    if _name in globals():
        globals()[_name].__module__ = _PUBLIC

_making = allocate_lock()
_MADE_LATE = {"WorkerDied": _make_worker_died, "UnreadableError": _make_unreadable}


def __getattr__(name: str) -> object:
    make = _MADE_LATE.get(name)
    if make is not None:
        # One class for all threads, or `except` would not catch what another thread's decoding made.
        with _making:
            if name not in globals():
                globals()[name] = make()
        return globals()[name]
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
