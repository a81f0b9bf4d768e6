"""Plans that follow from what the caller asked for, without measuring anything.

Does not know how calls are measured or priced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman import _advice
from pointsman._job import CLUSTERS
from pointsman._plan import Plan

if TYPE_CHECKING:
    from pointsman._job import Job

# Backends whose workers share no memory with the caller.
APART = ("processes", "interpreters")


def fixed(job: Job) -> Plan | None:
    """Return the plan that follows from the options alone; None if there is something to decide."""
    if job.backend == "processes" or (job.backend == "auto" and job.terms.needs_process):
        return said(job, "processes", job.max_workers or _whole_cores())
    if job.backend == "interpreters":
        return said(job, "interpreters", job.max_workers or _whole_cores())
    if job.backend in CLUSTERS:
        return said(job, job.backend, job.max_workers or 0)
    if job.backend == "threads" and job.max_workers is not None:
        return said(job, "threads", job.max_workers)
    if job.backend == "inline" or job.max_workers == 1:
        return said(job, "inline", 1)
    return None


def said(job: Job, backend: str, workers: int) -> Plan:
    """Return the plan that the options dictate."""
    asked = f"backend={job.backend!r} and max_workers={job.max_workers!r} were asked for"
    return Plan(
        backend=backend,
        max_workers=workers,
        processes=workers if backend in APART else 0,
        chunksize=job.chunksize or 1,
        function=job.name,
        calls=job.source.left(),
        calls_left=job.source.left(),
        warnings=(_advice.NOT_SAMPLED,) if job.profile else (),
        reasons=(asked,) if job.backend != "auto" else _stoppable(job),
    )


def _stoppable(job: Job) -> tuple[str, ...]:
    return ("only a call in a process of its own can be stopped",) if job.terms.needs_process else ()


def _whole_cores() -> int:
    from math import ceil

    from pointsman._machine import facts

    return max(1, ceil(facts().cores))
