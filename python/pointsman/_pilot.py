"""Looks at calls of the caller's thread that last, while they run.

Daemon threads for the program, asleep in native code until what they watch has lasted for so long. They do not know
what is decided: they call `checkpoint` of the run that they watch.

Invariants:
    P1. A pilot watches one run at a time; others do without. `watch` and `land` come in pairs, on one thread.
    P2. A look that fails is logged, and the run is not looked at again until it is watched anew. The pilot goes on.
    P3. In a forked child nothing is watched, and there is no pilot until something is.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager

from pointsman import _native
from pointsman._ending import cannot_start
from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Watched(Protocol):
        """What can be looked at."""

        def checkpoint(self) -> float:
            """Look at the call that runs; the seconds until the next look, or 0 for none."""


# Seconds after which a call is looked at for the first time. Arbitrary from 1 to 5 ms: shorter calls are over before
# others could be started, longer ones waste what others could do meanwhile.
FIRST = 0.001
# The same for a batch of calls that follow a measured one: it is made to last a millisecond.
LATER = 0.005
# Seconds after which the call that is looked at hands over the GIL meanwhile. A look starts threads and processes and
# may import: with the usual 5 ms for each of those steps it lasted 85 ms.
_BRISK = 1e-5


class Pilot:
    """A thread that looks at one run after another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """Be as new: in a forked child the thread does not exist, and what was watched is the parent's (P3)."""
        self._alarm: _native.Alarm | None = None
        self._watched: Watched | None = None
        self._busy = threading.Lock()
        self._starting = threading.Lock()

    def start(self) -> _native.Alarm:
        """Have the thread started, if it is not, and return what wakes it."""
        if self._alarm is None:
            with self._starting:
                if self._alarm is None:
                    alarm = _native.Alarm()
                    try:
                        threading.Thread(target=self._look, args=(alarm,), name=self._name, daemon=True).start()
                    except RuntimeError as why:
                        # Nobody looks at the end of the program, or where no more threads are to be had.
                        if "shutdown" in str(why):
                            cannot_start()
                        return alarm
                    self._alarm = alarm
        return self._alarm

    def watch(self, run: Watched, after: float) -> None:
        """Look at `run` if its calls last `after` seconds, unless another is watched (P1)."""
        if not self._busy.acquire(blocking=False):
            return
        self._watched = run
        self.start().set(after)

    def land(self, run: Watched) -> None:
        """Stop watching `run`, if it is watched."""
        if self._watched is run:
            self._watched = None
            if self._alarm is not None:
                self._alarm.clear()
            self._busy.release()

    def _look(self, alarm: _native.Alarm) -> None:
        while True:
            alarm.wait()
            run = self._watched
            if run is None:
                continue
            try:
                pause = run.checkpoint()
            except BaseException:  # noqa: BLE001 - the job goes on, the pilot too, and the log has it (P2)
                from pointsman import _log

                _log.logger().exception("the look at a running call failed; the job goes on without it")
                pause = 0.0
            if pause:
                alarm.set_again(pause)


# One looks at calls that are measured, one sends to workers while the caller is in a call.
looking = Pilot("pointsman-pilot")
sending = Pilot("pointsman-sender")


def _forget() -> None:
    looking.forget()
    sending.forget()


at_fork(_forget)


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
