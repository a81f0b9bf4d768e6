"""Draws a plan's candidates as a chart: predicted seconds and speed-up over workers, a line for each backend.

Does not know how plans are made. Needs matplotlib, imported here only, and touches none of its global state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman._errors import InvalidArgumentError, MissingExtraError

if TYPE_CHECKING:
    from pointsman._plan import Candidate, Plan


def draw_plot(plan: Plan) -> Any:
    """Return a matplotlib `Figure` with the candidates of the plan."""
    lines = series(plan)
    if not lines:
        message = f"this plan has no candidates to plot: {'; '.join(plan.reasons) or 'nothing was priced'}"
        raise InvalidArgumentError(message)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as why:
        message = "Plan.plot() needs matplotlib, which is not installed; install it with: pip install 'pointsman[plot]'"
        raise MissingExtraError(message) from why
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    figure.suptitle(f"{plan.function or 'a function'}: predicted for each choice")
    seconds, speed = figure.subplots(1, 2)
    serial = next((candidate.seconds for candidate in plan.candidates if candidate.backend == "inline"), None)
    for label, points in lines.items():
        workers = [candidate.workers for candidate in points]
        seconds.plot(workers, [candidate.seconds for candidate in points], marker="o", label=label)
        if serial:
            speed.plot(workers, [serial / candidate.seconds for candidate in points], marker="o", label=label)
    if plan.estimated_seconds:
        seconds.plot([plan.max_workers], [plan.estimated_seconds], "*", markersize=16, color="black", label="chosen")
        speed.plot([plan.max_workers], [plan.estimated_speedup], "*", markersize=16, color="black", label="chosen")
    for axes, title in ((seconds, "seconds"), (speed, "times the plain loop's speed")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("workers")
        axes.set_ylabel(title)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    return figure


def series(plan: Plan) -> dict[str, list[Candidate]]:
    """The candidates that could be chosen, by what they are, with workers ascending; the best of equals."""
    lines: dict[str, dict[int, Candidate]] = {}
    for candidate in plan.candidates:
        if candidate.struck_out or candidate.seconds <= 0:
            continue
        mixed = candidate.processes and candidate.threads_per_worker > 1
        label = "plain loop" if candidate.backend == "inline" else "processes x threads" if mixed else candidate.backend
        # They come with the fastest first.
        lines.setdefault(label, {}).setdefault(candidate.workers, candidate)
    return {label: [points[workers] for workers in sorted(points)] for label, points in lines.items()}
