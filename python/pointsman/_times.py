"""When calls ran, taken by a worker of another pool or engine, where nothing native of ours is.

Does not know traces, pools or engines: what is taken here travels back with the results, and `_trace` reads it.
"""

from __future__ import annotations

import os
from threading import get_native_id
from time import monotonic_ns, thread_time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from pointsman._naming import name_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Times(NamedTuple):
    """Nanoseconds of the worker's monotonic clock, which is the program's own only on the same machine.

    Attributes
    ----------
    host, pid, thread
        Where the calls ran.
    ready, packed
        When the worker turned to the calls, and when their outcomes were packed.
    calls
        For each: when it began and ended, its CPU nanoseconds, and whether it returned.

    """

    host: str
    pid: int
    thread: int
    ready: int
    packed: int
    calls: list[tuple[int, int, int, bool]]


class Watch:
    """Takes the times of calls that follow each other on one thread."""

    def __init__(self) -> None:
        self._ready = monotonic_ns()
        self._calls: list[tuple[int, int, int, bool]] = []

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what calls `function` and notes when."""
        note = self._calls.append

        def timed(*args: Any, **kwargs: Any) -> Any:
            began, cpu, good = monotonic_ns(), thread_time_ns(), False
            try:
                value = function(*args, **kwargs)
                good = True
            finally:
                note((began, monotonic_ns(), thread_time_ns() - cpu, good))
            return value

        timed.__qualname__ = name_of(function)
        return timed

    def read(self) -> Times:
        """What was taken, now that the outcomes are packed."""
        from socket import gethostname

        return Times(gethostname(), os.getpid(), get_native_id(), self._ready, monotonic_ns(), self._calls)
