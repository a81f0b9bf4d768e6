"""Tells threads that computed before a call began from those that a call sets to work.

The threads of a BLAS spin for a while after its import, those of OpenMP after each parallel stretch: CPU time that the
call which is measured meanwhile has nothing to do with. Does not know calls, meters or plans; it reads the clocks of
this process's threads, where the system shows them.

Invariants:
    S1. A thread counts as spinning only if it ran for most of the time before the first call, and only until
        `LONGEST` seconds after that: what still runs then, runs for the calls.
    S2. Without /proc, or in a process with very many threads, no thread counts as spinning.
"""

from __future__ import annotations

import os
import time
from _thread import get_native_id
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds after the beginning of a job for which threads may spin on: those of OpenBLAS do for 40 ms of CPU time after
# its import (measured).
LONGEST = 0.06
# Share of the time before the first call for which a thread that spins was on a core. Arbitrary from 0.3 to 0.9.
_MOSTLY = 0.5
# Seconds that tell nothing of a thread.
_BRIEF = 20e-6
# Seconds between the two looks that tell whether threads run on, and the share of a core from which on they do.
_LONG_ENOUGH = 0.005
_RUNS_ON = 0.25
# Threads whose clocks are read: each takes half a microsecond.
_MOST = 64
# Windows has none, and no /proc either (S2).
_clock_gettime: Callable[[int], float] | None = getattr(time, "clock_gettime", None)


class Spinners:
    """The threads that spin while the first calls of a job are measured. `since` is when the job began."""

    __slots__ = ("_at", "_before", "_began", "_begun", "_last", "_until")

    def __init__(self, since: float) -> None:
        self._until = since + LONGEST
        # Their clocks when the call began.
        self._at: dict[int, float] | None = None
        self._begun = 0.0
        self._last: tuple[float, float] | None = None
        self._before = _all_clocks()
        self._began = perf_counter()

    def begin(self) -> None:
        """A call begins: from now on what they use is none of its doing."""
        now = perf_counter()
        known = self._before if self._at is None else self._at
        if known and now >= self._until:
            self._at = known = {}
        span = now - (self._began if self._at is None else self._begun)
        if known and span > _BRIEF:
            clocks = {thread: _clock(thread) for thread in known}
            self._at = {thread: clock for thread, clock in clocks.items() if clock - known[thread] > _MOSTLY * span}
        elif self._at is None:
            self._at = {}
        self._begun = now

    def used(self) -> float:
        """CPU seconds that they have spun since the call began."""
        if not self._at:
            return 0.0
        spent = sum(max(0.0, _clock(thread) - before) for thread, before in self._at.items())
        return min(spent, len(self._at) * max(0.0, self._until - self._begun))

    @property
    def are_there(self) -> bool:
        """Whether any spins, as far as is known."""
        return bool(self._at) and perf_counter() < self._until

    def run_on(self) -> bool | None:
        """Whether they run although they should have ceased to spin by now; None while that is not known."""
        now = perf_counter()
        if now < self._until:
            return None
        total = sum(_clock(thread) for thread in self._at or ())
        if self._last is None:
            self._last = now, total
        began, before = self._last
        return None if now - began < _LONG_ENOUGH else total - before > _RUNS_ON * (now - began)


def _all_clocks() -> dict[int, float]:
    """CPU seconds of every thread of this process but the calling one (S2)."""
    try:
        names = os.listdir("/proc/self/task")  # noqa: PTH208 - pathlib is dear to import
    except OSError:
        return {}
    if not 1 < len(names) <= _MOST or _clock_gettime is None:
        return {}
    me = get_native_id()
    return {thread: _clock(thread) for thread in map(int, names) if thread != me}


def _clock(thread: int) -> float:
    """CPU seconds of a thread of this process; 0 if it has ended. Its number makes the number of its clock on Linux."""
    try:
        return 0.0 if _clock_gettime is None else _clock_gettime((~thread << 3) | 6)
    except OSError:
        return 0.0
