"""Makes the run of a plan: the part of a job that a backend runs.

Does not know who decided, or how calls are measured.
"""

from __future__ import annotations

from pointsman._ending import stay_if_daemon
from pointsman._job import CLUSTERS
from pointsman._records import NamedTuple

# With the rest, although many jobs need neither: amid a job a thread would load them that fights for the GIL with the
# call it looks at, which takes both three times as long.
from pointsman.backends.processes import ProcessRun
from pointsman.backends.threads import ThreadRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Any

    from pointsman._job import Job
    from pointsman._plan import Plan


class Caller(NamedTuple):
    """Where a job stands: its caller's context variables, the index of its first input that is left, and more.

    `daemon` says of which kind the caller's thread is, `mean` how many seconds a call takes, if that is known, and
    `sample` holds an input that was called.
    """

    context: Context
    base: int
    daemon: bool
    mean: float | None
    sample: list[Any]


def open_run(job: Job, plan: Plan, caller: Caller) -> ThreadRun | ProcessRun | Any:
    """Make the run of a plan that is not inline."""
    # New workers could not be had, or would not be waited for.
    stay_if_daemon()
    try:
        return _made(job, plan, caller)
    except RuntimeError:
        stay_if_daemon()
        raise


def _made(job: Job, plan: Plan, caller: Caller) -> ThreadRun | ProcessRun | Any:
    if job.lent is not None:
        from pointsman.backends.foreign import ForeignRun

        return ForeignRun(job, plan, job.lent)
    if plan.backend == "threads":
        return ThreadRun(job, plan, caller.context, caller.base, daemon=caller.daemon)
    if plan.backend in CLUSTERS:
        from pointsman.backends.clusters import ClusterRun

        return ClusterRun(job, plan, caller.mean)
    if plan.backend == "interpreters":
        from pointsman.backends.interpreters import InterpreterRun

        return InterpreterRun(job, plan, caller.mean, caller.base, caller.sample)
    return ProcessRun(job, plan, caller.mean, caller.base)
