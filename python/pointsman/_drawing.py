"""Draws a plan as the decision that it was: a tree, each branch with the figure that decided it.

Does not know how plans are made. `_html.py` and `_plot.py` draw the same for notebooks and as charts.
"""

from __future__ import annotations

from pointsman._native import human_bytes, human_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pointsman._plan import Candidate, Observation, Plan

# Candidates in a table: the fastest, and the best of each backend whatever its place.
_SHOWN = 8
PARTS = (("GIL-held", "held"), ("GIL-free", "free"), ("waiting", "wait"))
# Shares of the CPU time from which on a call counts as holding the GIL always, or hardly ever: words for the eye.
_MOSTLY = 0.9
_SELDOM = 0.3
# Share of a call's time from which on CPU time of its threads and programs is worth a branch; the planner warns, too.
_NESTED = 0.1
# Share of a call's time on the CPU below which it does not matter whether that held the GIL.
_SOME = 0.005
_KIND = {
    "cpu-bound": "it computes",
    "gil-free": "it computes without the GIL",
    "io-bound": "it waits",
    "mixed": "it does both",
}
_WIDTH = 28
# The backends that are engines of their own.
_CLUSTERS = ("dask", "ray")


def draw(plan: Plan) -> str:
    """Return the plan as text."""
    lines = [heading(plan), *tree(plan)]
    if plan.candidates:
        lines += ["", *_table(plan)]
    if plan.turning_points:
        lines += ["", "What would change the answer:", *(f"  {point}" for point in plan.turning_points)]
    lines += [f"! {warning}" for warning in plan.warnings]
    if plan.samples:
        lines += ["", _profile(plan)]
    if plan.actual is not None:
        lines += ["", happened(plan)]
    return "\n".join(lines)


def heading(plan: Plan) -> str:
    """What the plan is for."""
    return f"pointsman: {_calls(plan)} of {plan.function or 'a function'}"


def tree(plan: Plan) -> list[str]:
    """The branches of the decision, what was chosen, and why."""
    branches = _branches(plan)
    lines = []
    for number, (question, answer, twigs) in enumerate(branches):
        last = number == len(branches) - 1
        lines.append(f"{'└' if last else '├'}─ {question:<{_WIDTH}}{answer}".rstrip())
        lines += [f"{' ' if last else '│'}  {twig}" for twig in twigs]
    lines.append(f"   => {choice(plan)}{_promise(plan)}")
    return [*lines, *(f"   because {reason}" for reason in plan.reasons)]


def happened(plan: Plan) -> str:
    """What the run took, beside what was predicted for the part that was."""
    if plan.actual is None:
        return ""
    fields = plan.actual.as_dict()
    text = f"It took {human_seconds(fields['seconds'])} for {fields['calls']} call{'' if fields['calls'] == 1 else 's'}"
    after = fields.get("after_decision")
    if after is None or plan.estimated_seconds is None or not plan.candidates:
        return f"{text}."
    return f"{text}; after the decision {human_seconds(after)}, {human_seconds(plan.estimated_seconds)} were predicted."


def choice(plan: Plan) -> str:
    """The choice in a few words."""
    if plan.backend == "inline":
        return "plain loop on the caller's thread"
    if plan.backend == "asyncio":
        limit = f"at most {plan.max_workers} calls" if plan.max_workers else "as many calls as it pays to have"
        return f"event loop, {limit} at a time"
    if plan.executor:
        at_a_time = f", {plan.max_workers} calls at a time" if plan.max_workers else ""
        return f"the caller's own {plan.backend}{at_a_time}"
    if plan.backend in _CLUSTERS:
        # Nobody has asked yet, where the backend was said.
        at_a_time = f", {plan.max_workers} calls at a time" if plan.max_workers else ""
        return f"{plan.backend} cluster{at_a_time}"
    with_caller = ", the caller's thread among them" if plan.caller_shares else ""
    if plan.backend == "threads":
        return f"{plan.max_workers} threads{with_caller}"
    threads = f" x {plan.threads_per_worker} threads" if plan.threads_per_worker > 1 else ""
    plural = "es" if plan.processes != 1 else ""
    with_caller = " and the caller's thread" if plan.caller_shares else ""
    if plan.backend == "interpreters":
        return f"{plan.processes} worker interpreter{plural[-1:]}{with_caller}"
    return f"{plan.processes} worker process{plural}{threads}{with_caller}"


def _calls(plan: Plan) -> str:
    if plan.calls is None:
        return "an unknown number of calls"
    return "1 call" if plan.calls == 1 else f"{plan.calls} calls"


def _promise(plan: Plan) -> str:
    if plan.estimated_seconds is None:
        return ""
    seconds = human_seconds(plan.estimated_seconds)
    return f", {seconds} predicted, {plan.estimated_speedup:.2f} times the plain loop's speed"


def _branches(plan: Plan) -> list[tuple[str, str, list[str]]]:
    """(question, answer, what hangs on it) of every branch."""
    seen = plan.observation
    if seen is None:
        said = ["the code itself suggests: " + ", ".join(plan.hints)] if plan.hints else []
        return [("not measured", "", said)]
    figures = seen.as_dict()
    wall = seen.held + seen.free + seen.wait
    computing = seen.held + seen.free
    branches = [_one_call(seen, wall, partial=bool(figures.get("partial")))]
    if plan.hints:
        branches.append(("what does the code say?", _prior(plan.hints, seen.wait / wall if wall > 0 else 0.0), []))
    if wall > 0:
        kind = _KIND.get(plan.workload, plan.workload)
        answer = f"{computing / wall:.0%} of the time on the CPU: {kind} ({plan.workload})"
        branches.append(("does it compute or wait?", answer, []))
    if computing > _SOME * wall:
        held = seen.held / computing
        branches.append(("does it hold the GIL?", f"{held:.0%} of its CPU time: {_meaning_of(held)}", []))
    if figures.get("other_threads", 0.0) > _NESTED * wall:
        nested = f"{human_seconds(seen.other_threads)} of CPU in threads or programs of its own during one call"
        branches.append(("does it use more itself?", nested, []))
    if seen.argument_bytes or seen.result_bytes:
        travels = f"{human_bytes(seen.argument_bytes)} in, {human_bytes(seen.result_bytes)} out"
        branches.append(("what would travel?", travels, []))
    branches += [("must it stay here?", f"{backend} struck out: {why}", []) for backend, why in _struck(plan)]
    branches.append(_last(plan))
    return branches


def _one_call(seen: Observation, wall: float, *, partial: bool) -> tuple[str, str, list[str]]:
    parts = "   ".join(_part(name, getattr(seen, field), wall) for name, field in PARTS)
    if partial:
        return "one call takes", f"over {human_seconds(wall)}: it still ran when this was decided", [f"  {parts}"]
    of = f"mean of {seen.calls}" if seen.calls > 1 else "one measured"
    return "one call takes", f"{human_seconds(wall)} ({of})", [f"  {parts}"]


def _prior(hints: tuple[str, ...], waiting: float) -> str:
    return f"{', '.join(hints)}: a weak prior; measured: {waiting:.0%} waiting"


def _last(plan: Plan) -> tuple[str, str, list[str]]:
    """The last branch: the best of each way, with its figure; or that there was nothing to choose."""
    if not plan.candidates:
        left = "nothing" if plan.estimated_seconds is None else human_seconds(plan.estimated_seconds)
        return "is there enough to gain?", f"no: {left} of work is left", []
    best: dict[str, Candidate] = {}
    for candidate in plan.candidates:
        if not candidate.struck_out:
            best.setdefault(candidate.backend, candidate)
    chosen = _chosen(plan)
    if chosen is not None:
        best[chosen.backend] = chosen
    ways = sorted(best.values(), key=lambda candidate: candidate.seconds)
    twigs = []
    for number, way in enumerate(ways):
        arm = "└" if number == len(ways) - 1 else "├"
        tip = "▶" if way is chosen else "─"
        twigs.append(f"{arm}{tip} {label_of(way):<26}{human_seconds(way.seconds):>8}, limited by {_limit(way)}")
    return "which way is cheapest?", "the best of each way:", twigs


def _part(name: str, seconds: float, wall: float) -> str:
    return f"{name} {human_seconds(seconds)} {seconds / wall if wall > 0 else 0.0:4.0%}"


def _meaning_of(held: float) -> str:
    if held > _MOSTLY:
        return "one thread at a time"
    return "threads can share the cores" if held < _SELDOM else "threads help in part"


def _struck(plan: Plan) -> list[tuple[str, str]]:
    return sorted({(candidate.backend, candidate.struck_out) for candidate in plan.candidates if candidate.struck_out})


def label_of(candidate: Candidate) -> str:
    """A candidate in a few words."""
    if candidate.backend == "inline":
        return "plain loop"
    if candidate.backend in ("threads", "asyncio"):
        return f"{candidate.backend} {candidate.workers}"
    threads = f" x {candidate.threads_per_worker}" if candidate.threads_per_worker > 1 else ""
    caller = " + caller" if candidate.workers > candidate.processes * max(1, candidate.threads_per_worker) else ""
    return f"{candidate.backend} {candidate.processes}{threads}{caller}"


def _limit(candidate: Candidate) -> str:
    return "one call at a time" if candidate.backend == "inline" else str(candidate.limit)


def _chosen(plan: Plan) -> Candidate | None:
    """The candidate that the plan is; the nearest of its place, when the plan has grown since it was priced."""
    exact = (plan.backend, plan.processes, plan.threads_per_worker if plan.processes else 0)
    same = [candidate for candidate in plan.candidates if not candidate.struck_out and candidate.place == exact]
    return min(same, key=lambda candidate: abs(candidate.workers - plan.max_workers), default=None)


def rows(plan: Plan) -> list[tuple[str, str, str, str, bool]]:
    """(label, seconds, speed-up, limit, chosen) of the candidates worth showing, the fastest first."""
    serial = next((candidate.seconds for candidate in plan.candidates if candidate.backend == "inline"), None)
    chosen = _chosen(plan)
    shown: list[Candidate] = []
    best: set[str] = set()
    for candidate in plan.candidates:
        if candidate.struck_out:
            continue
        if len(shown) < _SHOWN or candidate.backend not in best or candidate is chosen:
            shown.append(candidate)
        best.add(candidate.backend)
    return [
        (
            label_of(candidate),
            human_seconds(candidate.seconds),
            f"{serial / candidate.seconds:.2f}x" if serial and candidate.seconds > 0 else "",
            _limit(candidate),
            candidate is chosen,
        )
        for candidate in shown
    ]


def _table(plan: Plan) -> list[str]:
    lines = [f"  {'candidate':<26}{'predicted':>12}{'speed-up':>10}  limited by"]
    for label, seconds, speed, limit, chosen in rows(plan):
        lines.append(f"{'>' if chosen else ' '} {label:<26}{seconds:>12}{speed:>10}  {limit}")
    return lines


def _profile(plan: Plan) -> str:
    seconds = sorted(sample.seconds for sample in plan.samples)
    middle = seconds[len(seconds) // 2]
    if len(seconds) == 1:
        return f"One call was sampled: {human_seconds(middle)} (plan.samples has it)."
    return (
        f"{len(seconds)} calls were sampled: {human_seconds(seconds[0])} to {human_seconds(seconds[-1])}, "
        f"half of them under {human_seconds(middle)} (plan.samples has each)."
    )
