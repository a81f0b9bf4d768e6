"""What is seen and done while a measured call still runs: others are started beside it.

Does not know how it is decided, or what becomes of the calls that were started (`_engine` does both).

Invariants:
    K1. It runs on the pilot's thread, under the run's lock; nothing of the user's is pickled or called there.
"""

from __future__ import annotations

from time import perf_counter, thread_time

from pointsman import _asking, _native, _plain
from pointsman import _pilot as pilots
from pointsman._ending import starts_no_thread
from pointsman._errors import CannotTravelError
from pointsman._job import CLUSTERS
from pointsman._machine import has_gil
from pointsman._nested import is_importing
from pointsman._stretch import Stretch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from typing import Any

    from pointsman._job import Job
    from pointsman._learning import Recalled
    from pointsman._meaning import Verdict
    from pointsman._measure import Meter
    from pointsman._plan import Plan
    from pointsman.backends.processes import ProcessRun
    from pointsman.backends.threads import ThreadRun

# Seconds that a call must have run before processes are started beside it, unless an earlier one was measured: to start
# them takes as long, and a first call often computes because it imports.
_SURE = 0.012
# Seconds after which the process that forks workers is started for a call that computes: it takes a core meanwhile,
# which the calls need if this one was only importing and connecting. It needs as long as is left until `_SURE`.
_PREPARE = 0.006
# Seconds for which a first call that has a BLAS compute must have run before others start beside it: it imports and
# checks before it sets threads of its own to work, and those that share the cores take ten times as long.
_SHOWN = 0.05
_NESTING = frozenset({"linear algebra", "machine learning"})
# Share of its time for which a call that lasts has computed, from which on processes may be the answer.
BUSY = 0.5
# Share of its CPU time from which on a call holds the GIL enough for processes to be made ready beside it.
_HOLDS = 0.2
# Backends whose workers share no memory with the caller, and where calls travel further.
AWAY = (*_asking.APART, *CLUSTERS)
# Seconds of computing that are no mere waking up. Arbitrary from 1 to 5 ms.
_A_WHILE = 2e-3


def _unreached(items: list[Any] | range | Stretch, iterator: Any) -> int:
    return items.unreached() if isinstance(items, Stretch) else int(iterator.__length_hint__())


def _has_begun_to_compute(meter: Meter, seen: _native.Sample) -> bool:
    """Whether the call has computed for longer, since it was `seen`, than it had waited: to decide takes a while."""
    now = meter.peek()
    computed = now.cpu - seen.cpu if now is not None else 0.0
    return computed > max(_A_WHILE, seen.wall - seen.cpu)


class Looking:
    """The part of a run that a pilot calls; the rest of the run is what it is told here."""

    job: Job
    plan: Plan | None
    _meter: Meter | None
    _lock: threading.Lock
    # What runs now, and what the pilot has begun beside it.
    _running: tuple[list[Any] | range | Stretch, Iterator[Any]] | None
    _early: ThreadRun | ProcessRun | None
    _begun: int
    _left: int
    _crowded: bool
    _alone: _native.Observation | None
    _recalled: Recalled | None
    _trusting: bool
    _foreseen: bool
    _struck: dict[str, str]
    _verdict: Verdict | None
    _caller: int

    if TYPE_CHECKING:

        def decide(
            self, *, left: int | None = None, seen: _native.Observation | None = None, quick: bool = False
        ) -> Plan: ...
        def _judge(self) -> Verdict: ...
        def _prepare_processes(self) -> None: ...
        def _open(self, plan: Plan) -> ThreadRun | ProcessRun | Any: ...

    def may_watch(self) -> bool:
        """Whether another thread may look at a batch while it runs, and take from it what has not begun."""
        job, source = self.job, self.job.source
        able = job.backend == "auto" and source.sized and source.quiet and not job.lazy
        # To pickle what a module defines asks for the module, and whoever imports it may wait for the pilot.
        return able and has_gil() and not starts_no_thread() and not is_importing()

    def checkpoint(self) -> float:
        """Look at a batch that still runs, from the pilot's thread; the seconds until the next look, 0 for none.

        A long first call is reason enough to start others: waiting until it is over would cost its whole length.
        """
        began, busy = perf_counter(), thread_time()
        with self._lock:
            meter, running = self._meter, self._running
            seen = meter.peek() if meter is not None and running is not None else None
            if meter is None or running is None or seen is None:
                return 0.0
            items, iterator = running
            unreached = _unreached(items, iterator)
            left = (self.job.source.left() or 0) + unreached if self._early is None else self._early.growable()
            if not left:
                return 0.0
            # One call that does not end, or many that do? A call that was there at the last look has lasted since.
            begun = len(items) - unreached
            stuck = begun in (1, self._begun)
            self._begun = begun
            try:
                if self._early is None:
                    with pilots.brisk():
                        run = self._early_run(seen, begun, left, stuck=stuck)
                        if run is not None:
                            run.start()
                            self._early = run
                else:
                    # The call that runs is one of those to be planned for: the caller is busy with it.
                    plan = self.decide(left=left + 1, seen=meter.partial(seen, 1 if stuck else begun, partial=stuck))
                    if self.plan is not None and plan.backend == self.plan.backend:
                        self._early.grow(plan)
            except CannotTravelError as why:
                self._struck[self.plan.backend if self.plan is not None else "processes"] = str(why)
            finally:
                meter.note_look(seen, perf_counter() - began, thread_time() - busy)
            due = [point - seen.wall for point in (_PREPARE, _SURE) if seen.wall < point and self._early is None]
            return max(pilots.FIRST, min([seen.wall, *due]))

    def _ruled_out(self) -> dict[str, str]:
        """Return what may not be chosen now, and why: a lock that the running call holds is free when it is over."""
        verdict = self._verdict
        alone = verdict.alone_for(self._caller) if verdict is not None and self.job.backend == "auto" else ()
        return {"threads": "; ".join(alone)} | self._struck if alone else self._struck

    def _may_be_nested(self) -> bool:
        """Whether the code names what has threads of its own."""
        verdict = self._verdict or self._judge()
        return not _NESTING.isdisjoint(verdict.hints)

    def _expected(self, meter: Meter, part: _native.Observation, *, stuck: bool) -> _native.Observation | None:
        """Return what the call that runs will be like, if it may be as those remembered, or as the one before it."""
        known, cpu = self._recalled, part.held + part.free
        self._foreseen = self._trusting and known is not None and stuck and known.allows(cpu, part.wait)
        if stuck and self._alone is not None and not self._foreseen:
            return meter.like_the_first(self._alone, part)
        return known.observation() if self._foreseen and known is not None else None

    def _early_run(self, seen: _native.Sample, begun: int, left: int, *, stuck: bool) -> ThreadRun | ProcessRun | None:
        """Decide while a batch runs in its `begun`th call; the run to start beside it, if there shall be one."""
        meter, source = self._meter, self.job.source
        if meter is None or self._running is None:
            return None
        items, iterator = self._running
        part = meter.partial(seen, 1 if stuck else begun, partial=stuck)
        whole = self._expected(meter, part, stuck=stuck)
        early = not meter.looked and whole is None
        holds = meter.computing > BUSY and part.held > _HOLDS * (part.held + part.free)
        if "processes" not in self._struck and holds and not (early and seen.wall < _PREPARE):
            if early and self._verdict is None:
                # Both will be needed at once; and this first, since that takes the other core.
                self._judge()
            self._prepare_processes()
        if early and seen.wall < _SURE and meter.computing > BUSY and part.held > BUSY * seen.wall:
            # Only processes could help, and for them it is too soon.
            return None
        # This is not the caller's thread: nothing of the user's may be pickled here.
        if _plain.run_no_code(some := [*items[-1:], *source.spread(2)]):
            meter.size(some, [])
        plan = self.decide(left=left + 1, seen=whole or part, quick=True)
        if plan.backend in AWAY and not (early and seen.wall < _SURE):
            plan = self.decide(left=left + 1, seen=whole or part)
        # Threads that spin may have been set to work by the call, after all: then nobody's cores are free.
        hasty = plan.backend in AWAY and ((early and seen.wall < _SURE) or meter.spinners.are_there)
        hidden = plan.backend in AWAY and not _plain.run_no_code([self.job.function])
        unseen = meter.spinners.are_there or (early and seen.wall < _SHOWN)
        hasty = hasty or (unseen and plan.backend != "inline" and self._may_be_nested())
        outdated = plan.backend == "threads" and _has_begun_to_compute(meter, seen)
        if plan.backend == "inline" or hasty or hidden or outdated or (meter.unsettled and not self._foreseen):
            return None
        self._left = left + 1
        self._crowded = True
        if meter.calls:
            self._alone = meter.observation()
        # What the caller's loop has not reached is anybody's.
        rest = items.cut() if isinstance(items, Stretch) else _native.cut(items, iterator)
        if type(items) is range:
            self._running = items[: len(items) - len(rest)], iterator
        source.put_back(rest)
        self.plan = plan
        meter.company = plan.backend == "threads"
        meter.crowd(seen)
        return self._open(plan)
