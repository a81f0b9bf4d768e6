"""Adds to a priced plan what its price does not say: preferences, what the code itself suggests, warnings with figures.

Does not know how candidates are priced, or how calls are run.

Invariants:
    A1. A choice that is changed here is another candidate of the same plan, and a reason says so with both figures.
"""

from __future__ import annotations

from pointsman._native import human_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman._job import Job
    from pointsman._meaning import Verdict
    from pointsman._plan import Candidate, Plan

NOT_SAMPLED = "profile: nothing was measured before this was decided, so there are no samples"
UNREAD = "so little work is not worth reading the function for what it writes"
NOT_MEASURED = "sample_size: the options had decided already, so no calls were measured first"

# Threads are preferred for waiting work when they take at most this many times as long. Arbitrary from 1.05 to 1.25:
# predictions are no better than that, and threads share memory, start sooner and leave nothing to pickle.
_CLOSE = 1.1
# CPU seconds in threads of its own per second of a call from which on the calls count as parallel themselves. The
# planner's warning starts there, too.
_NESTED = 0.1
# What the code may promise without its results being for others: with anything else None is what it should return.
_PURE = frozenset({"numpy", "hashlib", "compression"})
# Sampled calls from which on their all returning None tells anything.
_FEW = 2


def advise(plan: Plan, job: Job, verdict: Verdict | None, threads: int, *, only_none: bool) -> None:
    """Complete a plan in place. `threads` are those that one call started."""
    if job.nested and job.backend == "auto":
        _leave_cores_to_nested(plan)
    if job.prefer_threads and job.backend == "auto":
        _prefer_threads(plan)
    plan.caller_shares = plan.caller_shares and job.caller_shares
    if verdict is not None:
        read(plan, verdict, only_none=only_none)
    if threads > 0:
        _warn(
            plan,
            f"nested parallelism: a call starts up to {threads} threads of its own; "
            f"workers times threads should stay near the core count",
        )


def read(plan: Plan, verdict: Verdict, *, only_none: bool) -> None:
    """Add what the code says of the work, and of a `return` that may be missing."""
    plan.hints = verdict.hints
    if only_none and _looks_pure(plan, verdict):
        _warn(
            plan,
            f"every sampled call of {plan.function} returned None, and nothing that it does outlives the call: "
            f"is a `return` missing?",
        )


def _warn(plan: Plan, warning: str) -> None:
    plan.warnings = (*plan.warnings, warning)


def _looks_pure(plan: Plan, verdict: Verdict) -> bool:
    seen = plan.observation
    if seen is None or seen.calls < _FEW:
        return False
    computes = seen.held + seen.free > seen.wait
    return computes and verdict.may_travel and _PURE.issuperset(verdict.hints)


def _leave_cores_to_nested(plan: Plan) -> None:
    """Let no more threads run calls than leave each the cores that its own threads keep busy.

    Worker processes need no such limit: each is given its share of the cores as the most threads of its BLAS.
    """
    seen = plan.observation
    if seen is None or not plan.candidates:
        return
    wall = seen.held + seen.free + seen.wait
    if wall <= 0 or seen.other_threads <= _NESTED * wall:
        return
    from pointsman._machine import facts

    cores = facts().cores
    busy = (seen.held + seen.free + seen.other_threads) / wall
    most = max(1, round(cores / busy))
    if plan.backend != "threads" or plan.max_workers <= most:
        return
    before = f"{plan.max_workers} threads"
    allowed = [way for way in _open(plan) if way.backend != "threads" or way.workers <= most]
    if not allowed:
        return
    way = min(allowed, key=lambda way: way.seconds)
    _take(
        plan,
        way,
        f"one call keeps {busy:.1f} of {cores:g} cores busy with threads of its own, so at most {most} calls at a time "
        f"in threads: not {before} (auto_adjust_for_nested_parallelism)",
    )
    _warn(
        plan,
        f"nested parallelism: {before} were lowered to at most {most}, since one call keeps {busy:.1f} cores busy; "
        f"limit its own threads (threadpoolctl) to run more calls at a time",
    )


def _prefer_threads(plan: Plan) -> None:
    """Take threads for calls that wait, if they are about as fast as the processes that were chosen."""
    if plan.workload != "io-bound" or plan.backend != "processes":
        return
    chosen = [way.seconds for way in _open(plan) if way.place == plan.place]
    threads = [way for way in _open(plan) if way.backend == "threads"]
    if not chosen or not threads:
        return
    way = min(threads, key=lambda way: way.seconds)
    best = min(chosen)
    if way.seconds <= _CLOSE * best:
        _take(
            plan,
            way,
            f"{way.workers} threads are preferred for waiting work (prefer_threads_for_io): "
            f"{human_seconds(way.seconds)} against {human_seconds(best)} in processes",
        )


def _open(plan: Plan) -> Iterable[Candidate]:
    return [way for way in plan.candidates if not way.struck_out]


def _take(plan: Plan, way: Candidate, reason: str) -> None:
    """Make another candidate the choice (A1)."""
    plan.backend, plan.max_workers, plan.processes = way.backend, way.workers, way.processes
    plan.threads_per_worker, plan.chunksize = way.threads_per_worker, way.chunksize
    if plan.estimated_seconds is not None:
        plan.estimated_seconds = way.seconds
    serial = [other.seconds for other in plan.candidates if other.backend == "inline"]
    if serial and way.seconds > 0:
        plan.estimated_speedup = serial[0] / way.seconds
    plan.caller_shares = way.backend != "inline"
    # The last sentence was about the choice that this one replaces.
    plan.reasons = (*plan.reasons[:-1], reason)
