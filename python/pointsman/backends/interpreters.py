"""Worker interpreters: chunks go out sized by measured cost, results come back, and the caller may take part.

Does not know how calls travel (the standard library's pool carries them) or who decided.

Invariants:
    I1. Where the planner chose interpreters, no call fails for having been sent to one: what cannot be loaded there is
        found out before the first call goes; a call that then imports a barred module in its course is begun again on
        the caller's thread, and no other is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman import _default
from pointsman._errors import BarredError
from pointsman._standard_job import Chunk, StandardJob
from pointsman.backends.processes import ProcessRun

if TYPE_CHECKING:
    from pointsman._interpreters import Interpreters
    from pointsman._job import Job
    from pointsman._plan import Plan
    from pointsman._standard_worker import Sent

# Chunks in flight for each worker: one that runs and one behind it.
_DEPTH = 2


class InterpreterRun(ProcessRun):
    """What is left of a job, on worker interpreters; the caller's thread takes part if the plan says so.

    `sample` holds an input or none; where the planner chose, it is loaded in a worker before any call is sent.
    """

    def __init__(self, job: Job, plan: Plan, mean: float | None, base: int, sample: list[Any]) -> None:
        count = max(1, plan.processes)
        pool: Interpreters = _default.interpreters(count)
        if job.backend == "auto":
            pool.try_out(job.function, sample)
        native = InterpreterJob(pool, job, base)
        self.take_up(job, native, plan, mean, base, lanes=count, depth=_DEPTH if pool.size <= count else 1)
        self._job = native

    def feed(self, *, helps: bool = True) -> bool:
        """Send chunks until the workers have enough; whether any was sent."""
        return not self._job.barred and super().feed(helps=helps)


class InterpreterJob(StandardJob):
    """A job of many calls whose calls that are barred from interpreters are made here, if the planner sent them."""

    def __init__(self, pool: Interpreters, job: Job, base: int) -> None:
        super().__init__(
            pool,
            job.function,
            star=job.source.star,
            keep_going=job.keep_going,
            base=base,
            number=job.number,
            ordered=job.ordered,
        )
        # Not the job itself: chunks that were cancelled lie in the pool for a while, and would keep its inputs alive.
        self._called, self._mends = job.function, job.backend == "auto"
        self.barred: bool = False

    def unpack(self, sent: Sent, chunk: Chunk, number: int) -> tuple[Any, BaseException | None]:
        """Return the value or the exception of a call of a chunk."""
        value, error = super().unpack(sent, chunk, number)
        if not (self._mends and isinstance(error, BarredError)) or chunk.items is None:
            return value, error
        self.barred = True
        item = chunk.items[number]
        try:
            return (self._called(*item) if self._star else self._called(item)), None
        except Exception as why:  # noqa: BLE001 - it takes its turn among the results
            return None, why
