"""Draws the demo's comparisons: with colours and lines on a terminal, as plain text in a pipe.

What it does not know: where the figures come from.

Invariants:
    V1. Nothing is shown that is not in a `Comparison`; ratios are worked out here, from the figures shown.
    V2. A pipe gets neither colours nor box-drawing characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ._words import human_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .demo import Comparison

# Columns of the bars: what the other columns leave on a terminal of this width, within reason.
BARS, OTHERS = (8, 28), 72
FIGURES = (("held", " GIL-held, ", "red"), ("free", " GIL-free, ", "green"), ("wait", " waiting", "blue"))
# Rich's guess for a pipe is 80 columns, where the widest rows would break.
PIPE_WIDTH = 120
# As good as the best fixed choice: within what a repeated run differs by, or too short to matter.
CLOSE, CLOSE_SECONDS = 1.10, 0.002


def show(comparisons: Sequence[Comparison], cores: int, seconds: float) -> None:
    """Print one table per workload and a summary. `seconds` is what the demo took."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH, no_color=True)
    plain = not console.is_terminal
    bar = min(max(console.width - OTHERS, BARS[0]), BARS[1])
    for comparison in comparisons:
        console.print(_heading(comparison))
        for reason in comparison.reasons:
            console.print(Padding(reason, (0, 0, 0, 13)), style="dim", markup=False)
        console.print(_choices(comparison, bar, plain=plain))
        console.print()
    console.print(_summary(comparisons, plain=plain))
    console.print(f"{cores} cores, {seconds:.0f} s in all.", style="dim")


def _heading(comparison: Comparison) -> Text:
    one = comparison.one_call
    heading = Text()
    heading.append(comparison.title, style="bold")
    heading.append(f"  ({comparison.calls:,} calls, {comparison.workload})\n")
    heading.append("  one call   ")
    if one is None:
        heading.append("not measured")
    else:
        for name, label, style in FIGURES:
            heading.append(human_seconds(one[name]), style=style)
            heading.append(label)
    heading.append("\n  decision   ")
    heading.append(comparison.decision, style="bold cyan")
    return heading


def _choices(comparison: Comparison, width: int, *, plain: bool) -> Table:
    table = Table(box=None if plain else box.ROUNDED, pad_edge=not plain)
    table.add_column("choice")
    table.add_column("predicted", justify="right")
    table.add_column("actual", justify="right")
    table.add_column("", width=width)
    longest = max(comparison.actual, *(choice.actual for choice in comparison.fixed))
    automatic = "green" if _is_close(comparison) else "yellow"
    rows: list[tuple[str, float | None, float, str]] = [
        (f"pointsman: {comparison.decision}", comparison.predicted, comparison.actual, f"bold {automatic}"),
        *((choice.name, choice.predicted, choice.actual, "") for choice in comparison.fixed),
    ]
    for name, predicted, actual, style in rows:
        bar = ("#" if plain else "█") * max(1, round(width * actual / longest))
        table.add_row(name, _seconds(predicted), _seconds(actual), bar, style=style)
    return table


def _summary(comparisons: Iterable[Comparison], *, plain: bool) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=not plain)
    table.add_column("work")
    table.add_column("pointsman chose")
    for name in ("predicted", "actual"):
        table.add_column(name, justify="right")
    table.add_column("best fixed choice")
    for name in ("actual", "ratio"):
        table.add_column(name, justify="right")
    for comparison in comparisons:
        best = comparison.best
        table.add_row(
            comparison.title,
            comparison.decision,
            _seconds(comparison.predicted),
            _seconds(comparison.actual),
            best.name,
            _seconds(best.actual),
            f"{comparison.actual / best.actual:.2f}",
            style="green" if _is_close(comparison) else "yellow",
        )
    return table


def _is_close(comparison: Comparison) -> bool:
    best = comparison.best.actual
    return comparison.actual <= max(CLOSE * best, best + CLOSE_SECONDS)


def _seconds(value: float | None) -> str:
    return "" if value is None else human_seconds(value)
