"""Asks the planner about a job, within what its caller asked for; or says what follows from that without the planner.

Does not know how calls are measured, or when it is time to ask.
"""

from __future__ import annotations

from pointsman import _advice, _clusters, _default, _planner, _slim
from pointsman._drawing import choice
from pointsman._ending import is_ending, is_waited_for, starts_no_thread
from pointsman._errors import InvalidArgumentError
from pointsman._job import CLUSTERS, check_backend, is_async
from pointsman._learning import check_travels
from pointsman._machine import has_gil
from pointsman._nested import imports_for_a_call
from pointsman._plan import Plan
from pointsman.backends import inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pointsman import _native
    from pointsman._job import Job
    from pointsman._measure import Meter

# Work that is over before a first process has started, and the share of its time from which on a call holds the GIL.
# That takes 18 ms as a rule (`Machine.process_first`), and the caller has done its part by then.
_SOON_OVER, _HELD = 0.015, 0.9
# Work from which on workers are started before all is measured, and looks at a call, or seconds that one takes, from
# which on that share tells. Arbitrary: three times what a start takes, and what a millisecond brings.
_WORTH_STARTING, _LOOKS, _LONG = 0.06, 5, 1e-3
# Calls that take less (seconds) must gain this share of their time in processes, to each of which one is carried in so
# many seconds: `MARGIN_OF_TINY`, `TINY` and `Machine.process_dispatch` of the planner.
_TINY, _TINY_GAINS, _CARRYING = 10e-6, 0.25, 0.15e-6

_ENDING = "the program is ending, and nothing can be started"

# Backends whose workers share no memory with the caller.
APART = ("processes", "interpreters")


def fixed(job: Job) -> Plan | None:
    """Return the plan that follows from the options alone; None if there is something to decide.

    Raises `InvalidArgumentError` if calls that shall be stopped would mean something else where they can be.
    """
    if job.lent is not None:
        plan = said(job, job.backend, job.lent.workers)
        plan.executor, plan.reasons = job.lent.kind, (f"backend= is an executor of the caller's, a {job.backend}",)
        return plan
    if job.backend in ("auto", *APART) and imports_for_a_call():
        plan = said(job, "inline", 1)
        plan.reasons = ("this worker imports a module, which those that it started would import, too",)
        return plan
    if job.backend == "auto" and job.terms.needs_process:
        _check_stoppable(job)
        return said(job, "processes", job.max_workers or _whole_cores())
    if job.backend == "processes":
        return said(job, "processes", job.max_workers or _whole_cores())
    if job.backend == "interpreters":
        return said(job, "interpreters", job.max_workers or _whole_cores())
    if job.backend in CLUSTERS:
        return said(job, job.backend, job.max_workers or 0)
    if job.backend == "threads" and job.max_workers is not None:
        return said(job, "threads", job.max_workers)
    if job.backend == "inline" or job.max_workers == 1:
        return said(job, "inline", 1)
    if _may_start_nothing(job) and not job.awaits:
        # Neither is there much to measure with: what has not been imported by now cannot be any more.
        plan = said(job, "inline", 1)
        plan.reasons = (_ENDING,)
        return plan
    return None


def check_given(job: Job, plan: Plan) -> None:
    """Raise `InvalidArgumentError` if a plan that is to be followed cannot be, or not with what else was asked for."""
    if not plan.executor:
        check_backend(plan.backend)
    message = None
    if plan.executor and job.lent is None:
        message = "no executor was given; an executor of yours does not travel in a plan: give it as backend= again"
    elif plan.backend == "asyncio" and not job.awaits:
        message = f"{job.name} is no coroutine function, so no event loop can run it: make a plan for this function"
    elif (asked := _contradicted(job, plan)) is not None:
        message = f"{asked}: leave out one of the two, or let optimize() make a plan within that"
    if message is not None:
        message = f"the plan says {choice(plan)}, and {message}"
        raise InvalidArgumentError(message)


def _contradicted(job: Job, plan: Plan) -> str | None:
    """What was asked for that the plan does not keep, in words."""
    most = job.max_workers
    # Threads whose number nobody has said may be none beside the caller's own, as in `fixed`.
    within = {job.backend, "inline"} if job.backend == "threads" and most is None else {job.backend}
    if job.lent is not None and not plan.executor:
        return f"backend= an executor of yours, the {job.backend}"
    if job.backend != "auto" and plan.backend not in within:
        said_too = f" and max_workers={most}" if job.backend == "threads" and plan.backend == "inline" else ""
        return f"backend={job.backend!r}{said_too} something else"
    if most is not None and (plan.max_workers > most or (plan.backend == "asyncio" and 0 < plan.max_workers < most)):
        return f"max_workers={most} something else"
    if most is not None and plan.backend in CLUSTERS and not plan.max_workers:
        return f"max_workers={most} another number than all workers that there are"
    if job.chunksize not in (None, plan.chunksize) and plan.backend != "asyncio":
        return f"chunks of {plan.chunksize}, and chunksize={job.chunksize} something else"
    if job.terms.timeout is not None and plan.backend == "threads" and not is_async(job.asked):
        return f"timeout={job.terms.timeout:g} must be able to stop a call, which no thread can be"
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
        warnings=_unmeasured(job),
        reasons=(asked,) if job.backend != "auto" else _stoppable(job),
    )


def _may_start_nothing(job: Job) -> bool:
    """Whether the program has come to its end, and does not wait for this job."""
    return job.backend == "auto" and is_ending() and not is_waited_for()


def is_soon_over(job: Job, meter: Meter, expected: float) -> bool:
    """Whether only processes could help with `expected` seconds of work, and the first would come too late.

    To ask the planner takes a millisecond or two, the first time, which so little work should not cost.
    """
    return (
        expected < _SOON_OVER
        and job.backend == "auto"
        and meter.held > _HELD * meter.wall
        and has_gil()
        and not (_default.processes_running() or _default.interpreters_running())
        and _clusters.facts() is None
    )


def is_for_processes(job: Job, meter: Meter, left: int | None) -> bool:
    """Whether processes will be taken for `left` calls, as it seems before all is measured: many, with the GIL held.

    Of tiny calls all is measured in some milliseconds, and what it takes to carry them decides.
    """
    seen = any(sample.on_cpu_samples >= _LOOKS for sample in meter.samples) or meter.mean >= _LONG
    worth = meter.mean >= _TINY and (left is None or left * meter.mean > _WORTH_STARTING)
    return seen and worth and job.backend == "auto" and meter.held > _HELD * meter.wall and has_gil()


def _is_too_tiny(mean: float, left: int | None) -> bool:
    """Whether carrying calls of `mean` seconds to processes, and starting these, takes too much of what is gained."""
    # An unknown number of calls is priced for a second of work.
    alone = 1.0 if left is None else left * mean
    carried = alone / _whole_cores() + alone / mean * _CARRYING + _SOON_OVER if mean > 0 else 0.0
    return mean < _TINY and carried > (1.0 - _TINY_GAINS) * alone


def _unmeasured(job: Job) -> tuple[str, ...]:
    """What was asked for and cannot be had where nothing is measured."""
    profile = (_advice.NOT_SAMPLED,) if job.profile else ()
    return (*profile, _advice.NOT_MEASURED) if job.sample_size is not None else profile


def trifle(job: Job, seen: _native.Observation, left: int | None, all_calls: int | None, seconds: float) -> Plan:
    """Return the plan for what is left of a job if it takes so few `seconds` that nothing can be gained."""
    plan = said(job, "inline", 1)
    plan.calls, plan.calls_left = all_calls, left
    plan.observation, plan.workload = _planner.observed(seen), seen.workload
    plan.estimated_seconds = seconds if left is not None else None
    plan.reasons, plan.warnings = ("too little is left to gain anything",), ()
    return plan


def _stoppable(job: Job) -> tuple[str, ...]:
    return ("only a call in a process of its own can be stopped",) if job.terms.needs_process else ()


def _check_stoppable(job: Job) -> None:
    first = job.source.take(1)
    job.source.put_back(first)
    if first:
        sample = first[0] if job.source.star else tuple(first)
        check_travels(job.terms, job.asked, job.source.kinds(1) or [sample])


def _whole_cores() -> int:
    from math import ceil

    from pointsman._machine import facts

    return max(1, ceil(facts().cores))


def priced(
    job: Job,
    seen: _native.Observation,
    left: int | None,
    all_calls: int | None,
    struck: dict[str, str],
    backends: list[str] | None,
    cluster: Any,
) -> Plan:
    """Ask the planner about the `left` calls of a job of `all_calls`, but for the backends that are `struck` out."""
    if ends := _may_start_nothing(job):
        struck = struck | dict.fromkeys(("threads", *APART), _ENDING)
    elif job.backend == "auto" and starts_no_thread():
        struck = struck | {"threads": "the program is ending, and no thread can be started"}
    return _planner.decide(
        seen,
        calls=left,
        max_workers=job.max_workers or (inline.MOST_LAZY if job.lazy else None),
        chunksize=job.chunksize,
        threads_running=_default.threads_running(),
        processes_running=_default.processes_running(),
        interpreters_running=_default.interpreters_running(),
        caller_shares=job.caller_shares,
        struck=struck,
        backends=backends,
        target_chunk_seconds=job.target,
        function=job.name,
        all_calls=all_calls,
        cluster=cluster,
        carried=job.carried or (0.0, 0.0),
        # Nothing can be imported any more, and nothing is started.
        **({} if ends else _start_up(job, seen, left, struck)),
    )


def _start_up(job: Job, seen: _native.Observation, left: int | None, struck: dict[str, str]) -> dict[str, Any]:
    tiny = _is_too_tiny(seen.held + seen.free + seen.wait, left)
    unasked = tiny or "processes" in struck or _default.processes_running() > 0
    return _default.start_up(job.function, None if unasked else _needs(job))


def _needs(job: Job) -> set[str] | None:
    """Which modules workers need where the function may travel without its own; None if it may not. Found out once."""
    if job.needs is None:
        job.needs = (_slim.needs(job.function, job.example) if job.backend == "auto" else None,)
    return job.needs[0]


def prepare_processes(job: Job) -> str | None:
    """Let the process that forks workers boot while it is still being decided whether there shall be any.

    Returns why there can be none, if so.
    """
    from pointsman import _pool
    from pointsman._machine import facts

    if facts().cores > 1:
        try:
            _pool.prepare(job.function, _needs(job))
        except OSError as why:
            return f"no process can be started: {why}"
    return None
