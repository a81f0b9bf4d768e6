"""Looks at a measured call that lasts, while it runs.

One daemon thread for the program, asleep in native code until a measured call has lasted `FIRST` seconds. Does not know
what is decided: it calls `checkpoint` of the run that it watches.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pointsman import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds after which a call is looked at for the first time. Arbitrary from 1 to 5 ms: shorter calls are over before
# others could be started, longer ones waste what others could do meanwhile.
FIRST = 0.001
# The same for a batch of calls that follow a measured one: it is made to last a millisecond.
LATER = 0.005
# Seconds after which the call that is looked at hands over the GIL meanwhile. A look starts threads and processes and
# may import: with the usual 5 ms for each of those steps it lasted 85 ms.
_BRISK = 1e-5


class Watched(Protocol):
    """What can be looked at."""

    def checkpoint(self) -> float:
        """Look at the call that runs; the seconds until the next look, or 0 for none."""


_alarm: _native.Alarm | None = None
_watched: Watched | None = None
_busy = threading.Lock()
_owner = 0


def watch(run: Watched, after: float) -> None:
    """Look at `run` if its batch lasts `after` seconds. Only one run is watched at a time; others do without."""
    global _alarm, _watched, _owner  # noqa: PLW0603 - one pilot per process
    if not _busy.acquire(blocking=False):
        return
    if _alarm is None or _owner != os.getpid():
        _alarm, _owner = _native.Alarm(), os.getpid()
        threading.Thread(target=_pilot, args=(_alarm,), name="pointsman-pilot", daemon=True).start()
    _watched = run
    _alarm.set(after)


def land(run: Watched) -> None:
    """Stop watching `run`."""
    global _watched  # noqa: PLW0603 - one pilot per process
    if _watched is run and _alarm is not None:
        _watched = None
        _alarm.clear()
        _busy.release()


@contextmanager
def brisk() -> Iterator[None]:
    """Let the call that is looked at hand over the GIL at once.

    Not while others run beside it: many threads that pass the GIL so often get nothing done.
    """
    usual = sys.getswitchinterval()
    short = min(_BRISK, usual)
    sys.setswitchinterval(short)
    try:
        yield
    finally:
        # Unless the program has set another meanwhile. What is read back is rounded.
        if sys.getswitchinterval() < 2 * short:
            sys.setswitchinterval(usual)


def _pilot(alarm: _native.Alarm) -> None:
    while True:
        alarm.wait()
        run = _watched
        if run is None:
            continue
        try:
            pause = run.checkpoint()
        except Exception:  # noqa: BLE001 - the job goes on, and the log has it
            from pointsman import _log

            _log.logger().exception("the look at a running call failed; the job goes on without it")
            pause = 0.0
        if pause:
            alarm.set_again(pause)
