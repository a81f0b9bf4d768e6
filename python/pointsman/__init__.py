"""pointsman decides where each Python call should run, and runs it there."""

# Public names are imported when first used, but for those of a job: the first one is not to pay for that. What starts
# worker processes says that these make no jobs, mostly.

from __future__ import annotations

from os import environ as _environ
from sys import _xoptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pointsman._amap import amap as amap
    from pointsman._api import execute as execute
    from pointsman._api import map as map  # noqa: A004 - the standard name
    from pointsman._api import optimize as optimize
    from pointsman._api import run as run
    from pointsman._api import submit as submit
    from pointsman._clusters import cluster as cluster
    from pointsman._errors import BarredError as BarredError
    from pointsman._errors import CallTimeoutError as CallTimeoutError
    from pointsman._errors import CannotTravelError as CannotTravelError
    from pointsman._errors import InvalidArgumentError as InvalidArgumentError
    from pointsman._errors import InvalidTypeError as InvalidTypeError
    from pointsman._errors import MissingExtraError as MissingExtraError
    from pointsman._errors import PointsmanError as PointsmanError
    from pointsman._errors import PoolBrokenError as PoolBrokenError
    from pointsman._errors import RemoteError as RemoteError
    from pointsman._errors import RunningLoopError as RunningLoopError
    from pointsman._errors import SharedMemoryFullError as SharedMemoryFullError
    from pointsman._errors import UnreadableError as UnreadableError
    from pointsman._errors import WorkerDied as WorkerDied
    from pointsman._executor import Executor as Executor
    from pointsman._future import Future as Future
    from pointsman._memory import remember as remember
    from pointsman._options import options as options
    from pointsman._plan import Plan as Plan
    from pointsman._scheduling import TaskPriority as TaskPriority
    from pointsman._scheduling import WorkStealingScheduler as WorkStealingScheduler
    from pointsman._smartasync import smartasync as smartasync
    from pointsman._stream import Stream as Stream
    from pointsman._trace import trace as trace

    __version__: str

_HOME = {
    "amap": "_amap",
    "execute": "_api",
    "map": "_api",
    "optimize": "_api",
    "run": "_api",
    "submit": "_api",
    "BarredError": "_errors",
    "cluster": "_clusters",
    "CallTimeoutError": "_errors",
    "CannotTravelError": "_errors",
    "InvalidArgumentError": "_errors",
    "InvalidTypeError": "_errors",
    "MissingExtraError": "_errors",
    "PointsmanError": "_errors",
    "PoolBrokenError": "_errors",
    "RemoteError": "_errors",
    "RunningLoopError": "_errors",
    "SharedMemoryFullError": "_errors",
    "UnreadableError": "_errors",
    "WorkerDied": "_errors",
    "Executor": "_executor",
    "Future": "_future",
    "remember": "_memory",
    "options": "_options",
    "Plan": "_plan",
    "Stream": "_stream",
    "TaskPriority": "_scheduling",
    "WorkStealingScheduler": "_scheduling",
    "smartasync": "_smartasync",
    "trace": "_trace",
    "__version__": "_native",
}

__all__ = [
    "BarredError",
    "CallTimeoutError",
    "CannotTravelError",
    "Executor",
    "Future",
    "InvalidArgumentError",
    "InvalidTypeError",
    "MissingExtraError",
    "Plan",
    "PointsmanError",
    "PoolBrokenError",
    "RemoteError",
    "RunningLoopError",
    "SharedMemoryFullError",
    "Stream",
    "TaskPriority",
    "UnreadableError",
    "WorkStealingScheduler",
    "WorkerDied",
    "__version__",
    "amap",
    "cluster",
    "execute",
    "map",
    "optimize",
    "options",
    "remember",
    "run",
    "smartasync",
    "submit",
    "trace",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if "pointsman_worker" not in _xoptions:
    for _name in ("execute", "map", "optimize", "run", "submit"):
        __getattr__(_name)

if _path := _environ.get("POINTSMAN_TRACE"):
    from pointsman._trace import whole_program as _whole_program

    _whole_program(_path)
