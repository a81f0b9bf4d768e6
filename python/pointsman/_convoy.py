"""Tells threads that pass the GIL to and fro: beside each other they run calls slower than one of them would alone.

A call that lets go of the GIL for a microsecond, thousands of times, looks as if it hardly held it. Each time another
thread waits, that costs a switch of threads; so what tells is how many of these there are, and that nothing is gained.

Does not know which calls these are, or what else could run them.

Invariants:
    V1. Cores that others have taken meanwhile are no convoy: those make no thread give up its core by itself.
"""

from __future__ import annotations

from time import perf_counter

from pointsman import _switching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pointsman.backends.threads import ThreadRun

# Seconds of a call from which on a convoy may cost no more than calls do, seconds from one look to the next, of the run
# after which it tells, and after which nobody asks any more. Arbitrary.
LEAST, PAUSE = 1e-5, 1e-3
_TELLING, _LONGEST = 0.02, 0.25
# Calls that tell.
_FEW = 8
# Switches in a second, and for each call, that a convoy makes at least. Arbitrary: two threads that let go of the GIL
# for a statement of 2 us each make 50,000, threads that compute without it for a millisecond at a time 2,000.
_MANY, _EACH = 5000.0, 5
# Times the plain loop's speed from which on they may stay. Calls measured by themselves seem longer than they are by up
# to a half, for being the first.
_GAINED = 1.5


class Convoy:
    """Watches a run whose calls take `mean` seconds each alone; says in `struck` why threads are the wrong place."""

    def __init__(self, run: ThreadRun, mean: float, struck: dict[str, str]) -> None:
        self._run, self._mean, self._struck = run, mean, struck
        self._began, self._switches = perf_counter(), _switching.of_process()

    def review(self) -> bool | None:
        """Whether the rest had better run elsewhere; None while that is not known."""
        now = _switching.of_process()
        if now is None or self._switches is None:
            return False
        calls = self._run.observed()[0]
        elapsed = perf_counter() - self._began
        if calls < _FEW or elapsed < _TELLING:
            return None
        gained, switches = calls * self._mean / elapsed, now - self._switches
        if gained < _GAINED and switches > max(_MANY * elapsed, _EACH * calls):
            why = f"the threads pass the GIL to and fro: they have run {gained:.2g} times as fast as a plain loop"
            self._struck.setdefault("threads", why)
            return True
        return None if elapsed < _LONGEST else False
