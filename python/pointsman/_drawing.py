"""Draws a plan as the decision that it was: a tree, each branch with the figure that decided it.

Does not know how plans are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman._native import human_bytes, human_seconds

if TYPE_CHECKING:
    from pointsman._plan import Candidate, Observation, Plan

_SHOWN = 8
_PARTS = (("GIL-held", "held"), ("GIL-free", "free"), ("waiting", "wait"))
# Shares of the CPU time from which on a call counts as holding the GIL always, or hardly ever: words for the eye.
_MOSTLY = 0.9
_SELDOM = 0.3


def draw(plan: Plan) -> str:
    """Return the plan as text."""
    lines = [f"pointsman: {_calls(plan)} of {plan.function or 'a function'}"]
    seen = plan.observation
    if seen is None:
        lines.append("└─ not measured")
    else:
        lines += _tree(plan, seen)
    lines.append(f"   => {choice(plan)}{_promise(plan)}")
    lines += [f"   because {reason}" for reason in plan.reasons]
    if plan.candidates:
        lines += ["", *_table(plan)]
    if plan.turning_points:
        lines += ["", "What would change the answer:", *(f"  {point}" for point in plan.turning_points)]
    lines += [f"! {warning}" for warning in plan.warnings]
    if plan.actual is not None:
        lines += ["", f"It took {human_seconds(plan.actual.seconds)} for {plan.actual.calls} calls."]
    return "\n".join(lines)


def choice(plan: Plan) -> str:
    """The choice in a few words."""
    if plan.backend == "inline":
        return "plain loop on the caller's thread"
    with_caller = ", the caller's thread among them" if plan.caller_shares else ""
    if plan.backend == "threads":
        return f"{plan.max_workers} threads{with_caller}"
    threads = f" x {plan.threads_per_worker} threads" if plan.threads_per_worker > 1 else ""
    plural = "es" if plan.processes != 1 else ""
    with_caller = " and the caller's thread" if plan.caller_shares else ""
    return f"{plan.processes} worker process{plural}{threads}{with_caller}"


def _calls(plan: Plan) -> str:
    return "an unknown number of calls" if plan.calls is None else f"{plan.calls} calls"


def _promise(plan: Plan) -> str:
    if plan.estimated_seconds is None:
        return ""
    seconds = human_seconds(plan.estimated_seconds)
    return f", {seconds} predicted, {plan.estimated_speedup:.2f} times the plain loop's speed"


def _tree(plan: Plan, seen: Observation) -> list[str]:
    wall = seen.held + seen.free + seen.wait
    cpu = (seen.held + seen.free) / wall if wall > 0 else 0.0
    lines = [
        f"├─ one call takes {human_seconds(wall)} (mean of {seen.calls})",
        "│    " + "   ".join(_part(name, getattr(seen, field), wall) for name, field in _PARTS),
        f"├─ does it compute or wait?   {cpu:.0%} of the time on the CPU: {plan.workload}",
    ]
    if seen.held + seen.free > 0:
        held = seen.held / (seen.held + seen.free)
        lines.append(f"├─ does it hold the GIL?      {held:.0%} of its CPU time: {_meaning_of(held)}")
    if seen.argument_bytes or seen.result_bytes:
        lines.append(
            f"├─ what would travel?         {human_bytes(seen.argument_bytes)} in, {human_bytes(seen.result_bytes)} out"
        )
    for backend, why in _struck(plan):
        lines.append(f"├─ struck out: {backend}: {why}")
    lines.append("└─ the cheapest of the candidates below")
    return lines


def _part(name: str, seconds: float, wall: float) -> str:
    return f"{name} {human_seconds(seconds)} {seconds / wall if wall > 0 else 0.0:4.0%}"


def _meaning_of(held: float) -> str:
    if held > _MOSTLY:
        return "one thread at a time"
    return "threads can share the cores" if held < _SELDOM else "threads help in part"


def _struck(plan: Plan) -> list[tuple[str, str]]:
    return sorted({(candidate.backend, candidate.struck_out) for candidate in plan.candidates if candidate.struck_out})


def _label(candidate: Candidate) -> str:
    if candidate.backend == "inline":
        return "plain loop"
    if candidate.backend == "threads":
        return f"threads {candidate.workers}"
    threads = f" x {candidate.threads_per_worker}" if candidate.threads_per_worker > 1 else ""
    return f"processes {candidate.processes}{threads}"


def _rows(plan: Plan) -> list[tuple[str, str, str, str, bool]]:
    """(label, seconds, speed-up, limit, chosen) of the candidates worth showing."""
    serial = next((candidate.seconds for candidate in plan.candidates if candidate.backend == "inline"), None)
    rows = []
    for candidate in [candidate for candidate in plan.candidates if not candidate.struck_out][:_SHOWN]:
        chosen = (candidate.backend, candidate.workers, candidate.processes) == (
            plan.backend,
            plan.max_workers,
            plan.processes,
        )
        speed = f"{serial / candidate.seconds:.2f}x" if serial and candidate.seconds > 0 else ""
        rows.append((_label(candidate), human_seconds(candidate.seconds), speed, candidate.limit, chosen))
    return rows


def _table(plan: Plan) -> list[str]:
    rows = _rows(plan)
    lines = [f"  {'candidate':<18}{'predicted':>12}{'speed-up':>10}  limited by"]
    for label, seconds, speed, limit, chosen in rows:
        lines.append(f"{'>' if chosen else ' '} {label:<18}{seconds:>12}{speed:>10}  {limit}")
    return lines


def draw_html(plan: Plan) -> str:
    """Return the plan for a notebook."""
    from html import escape

    rows = "".join(
        f"<tr style='font-weight:{'bold' if chosen else 'normal'}'><td style='text-align:left'>{escape(label)}</td>"
        f"<td>{seconds}</td><td>{speed}</td><td>{escape(limit)}</td></tr>"
        for label, seconds, speed, limit, chosen in _rows(plan)
    )
    tree = "\n".join(str(line) for line in draw(plan).split("\n\n")[0].splitlines())
    table = (
        f"<table><tr><th>candidate</th><th>predicted</th><th>speed-up</th><th>limited by</th></tr>{rows}</table>"
        if rows
        else ""
    )
    return f"<pre style='line-height:1.3'>{escape(tree)}</pre>{table}"
