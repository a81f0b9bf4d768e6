"""Makes tables and charts of what the benches measured, each from the JSON that its bench writes.

What it does not know: how anything was measured, or where pages and pictures are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import _svg
import _table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OURS = "pointsman"
_FIXED = ("loop", "threads 2", "threads 8", "threads 32", "processes")
_PEERS = ("joblib", "mpire")
_NAMES = {
    "loop": "a plain loop", "threads 2": "2 threads", "threads 8": "8 threads", "threads 32": "32 threads",
    "processes": "processes, one per core", "joblib": "joblib's default", "mpire": "mpire's default",
}  # fmt: skip


@dataclass
class Section:
    """What a bench has to say: Markdown, pictures by name, and a shorter table for the README."""

    text: str
    drawings: dict[str, _svg.Drawing] = field(default_factory=dict)
    short: str = ""
    # Parts of the page that stand by themselves, by name.
    parts: dict[str, str] = field(default_factory=dict)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], figures_from: int = 1) -> str:
    """Give a Markdown table; columns from `figures_from` on are aligned to the right."""
    rule = ["---" if number < figures_from else "---:" for number in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# ----------------------------------------------------------------------------------- one function for each bench


def decision(figures: dict[str, Any]) -> Section:
    """The automatic choice against the best fixed one."""
    rows, summary = figures["workloads"], figures["summary"]
    rows = [row for row in rows if row.get("best")]
    shown = [name for name in _PEERS if any(name in row["medians"] for row in rows)]
    lines = []
    for row in rows:
        plan = row["plan"] or {}
        best = row["medians"][row["best"]]
        ours = row["medians"].get(OURS)
        lines.append([
            row["name"], f"{_NAMES.get(row['best'], row['best'])}, {_table.seconds(best)}", _table.seconds(ours),
            _table.ratio(row["regret"]) if row["regret"] else "failed",
            *(_table.ratio(row["medians"][name] / best) if name in row["medians"] else "cut short" for name in shown),
            plan.get("backend", "-"),
        ])  # fmt: skip
    head = ["workload", "best fixed choice", OURS, "ratio", *(f"{name}, ratio" for name in shown), "decided"]
    ratios = {
        row["name"]: {name: value / row["medians"][row["best"]] for name, value in row["medians"].items()}
        for row in rows
    }
    worst = max((row for row in rows if row["regret"]), key=lambda row: row["regret"], default=None)
    if "regret" not in summary or worst is None:
        return Section("pointsman's own measurements failed in this run.")
    short = [["**pointsman decides**", f"**{summary['regret']:.2f}**", f"**{_table.ratio(summary['worst'])}**", ""]]
    for name in (*_FIXED, *shown):
        seen, cut = _against_best(rows, name)
        if seen:
            label = _NAMES[name] if name in _PEERS else f"always {_NAMES[name]}"
            mean, most = _table.geometric_mean(seen), _table.ratio(max(seen))
            least = "at least " if cut else ""
            short.append([label, f"{least}{mean:.2f}", f"{least}{most}", f"{cut} of {len(rows)}" if cut else ""])
    brief = table(["choice", "times the best fixed choice (geometric mean)", "worst", "gave up on"], short)
    error = summary.get("prediction_error")
    said = (
        f"Over {len(rows)} workloads, medians of {figures['rounds']} runs, each in a fresh process that pays its own "
        f"start-up. The 1 is the best of the five fixed choices for each workload, as if one knew it beforehand. "
        f"pointsman was worst at *{worst['name']}* ({_table.ratio(worst['regret'])})."
    )
    if error is not None:
        said += f" Its predictions were off by {error:.0%} (median)."
    said += (
        " What takes more than three times as long as the plain loop is given up on, and counted as three times the "
        "loop: less than it took."
    )
    drawing = _svg.ratios(
        "The automatic choice against the best fixed one",
        "Each row is a workload; further left is faster. Grey ticks: the five fixed choices.",
        ratios, [OURS, *shown], _FIXED,
    )  # fmt: skip
    text = f"{said}\n\n{brief}\n\n![{drawing.title}](benchmarks/decision.svg)\n\n{table(head, lines, 2)}"
    return Section(text, {"decision": drawing}, brief)


def _against_best(rows: list[dict[str, Any]], name: str) -> tuple[list[float], int]:
    """Times the best fixed choice that a choice took on each workload, and how often it was given up on."""
    seen, cut = [], 0
    for row in rows:
        best = row["medians"][row["best"]]
        if name in row["medians"]:
            seen.append(row["medians"][name] / best)
        elif str(row["notes"].get(name, "")).startswith("over "):
            seen.append(3.0 * row["medians"]["loop"] / best)
            cut += 1
    return seen, cut


_DISPATCHED = (
    ("processes", "one by one"), ("processes", "50,000 submits, then all results"), ("processes", "map, call by call"),
    ("processes", "80 MB arrays as arguments"), ("processes", "first result of a program"),
    ("threads", "one by one"), ("threads", "30,000 submits, then all results"), ("threads", "map, call by call"),
)  # fmt: skip


def dispatch(figures: dict[str, Any]) -> Section:
    """What it costs to send a call elsewhere."""
    groups: dict[str, dict[str, float]] = {}
    lines, ours_of_all = [], set()
    for row in figures["rows"]:
        medians, peers = row["medians"], row.get("peers") or {}
        mine = [name for name in row["ours"] if name in medians]
        others = [name for name in peers if name in medians]
        if not mine or not others or row["measure"] == "idle_share":
            continue
        plain = row["measure"] == "cores_used"
        best = max(mine, key=medians.__getitem__) if plain else min(mine, key=medians.__getitem__)
        ours_of_all.update(mine)
        told = []
        for name in others:
            ratio = medians[best] / medians[name] if plain else medians[name] / medians[best]
            value = f"{medians[name]:.2f}" if plain else _table.seconds(medians[name])
            told.append(f"{name} {value} ({_table.ratio(ratio)})")
        own = f"{medians[best]:.2f} cores" if plain else _table.seconds(medians[best])
        lines.append([f"{row['section']}: {row['name']}", f"{best} {own}", ", ".join(told)])
        if (row["section"], row["name"]) in _DISPATCHED:
            order = sorted([best, *others], key=medians.__getitem__)
            groups[f"{row['section']}: {row['name']}"] = {name: medians[name] for name in order}
    if not lines:
        return Section("Nothing was measured in this run.")
    rendered = table(["work", "pointsman, time of a call", "peers (times ours)"], lines, 3)
    if not groups:
        return Section(rendered)
    drawing = _svg.bars(
        "What it costs to send a call elsewhere", "Seconds per call; shorter is better.", groups, sorted(ours_of_all)
    )
    picture = f"![{drawing.title}](benchmarks/dispatch.svg)"
    return Section(f"{picture}\n\n{rendered}", {"dispatch": drawing})


def bridge(figures: dict[str, Any]) -> Section:
    """From plain code into coroutines and back."""
    rows = {
        name: row.get("medians", row)
        for name, row in figures.get("rows", figures).items()
        if isinstance(row, dict) and "smartasync" in row.get("medians", row)
    }
    lines, groups = [], {}
    for name, medians in rows.items():
        ours = medians["smartasync"]
        order = sorted(medians, key=medians.__getitem__)
        groups[name] = {contender: medians[contender] for contender in order}
        told = [
            f"{n} {_table.seconds(medians[n])} ({_table.ratio(medians[n] / ours)})" for n in order if n != "smartasync"
        ]
        lines.append([name, _table.seconds(ours), ", ".join(told)])
    drawing = _svg.bars(
        "Between plain code and coroutines", "Seconds per call; shorter is better.", groups, ["smartasync"]
    )
    rendered = table(["way", "smartasync", "peers (times ours)"], lines, 1)
    return Section(f"![{drawing.title}](benchmarks/bridge.svg)\n\n{rendered}", {"bridge": drawing})


def joblib_peers(figures: dict[str, Any]) -> Section:
    """Our workers and loky, below joblib."""
    lines = [
        [name, _table.seconds(work["pointsman"]), _table.seconds(work["loky"]), f"{work['ratio']:.2f}"]
        for name, work in figures["works"].items()
    ]
    return Section(table(["work", "pointsman", "loky", "ours over loky's"], lines))


def stealing(figures: dict[str, Any]) -> Section:
    """What work stealing buys."""
    ways = ["one queue", "stealing", "fixed shares"]
    lines = [
        [work, *(_table.seconds(medians[way]) if way in medians else "-" for way in ways)]
        for work, medians in figures["works"].items()
    ]
    return Section(table(["work", *ways], lines))


def web_app(figures: dict[str, Any]) -> Section:
    """For how long the loop of a web application stands still."""
    lines = [
        [name, str(found["rate"]), _table.seconds(found["median"]), _table.seconds(found["longest"])]
        for name, found in figures["applications"].items()
    ]
    rendered = table(["", "answers per second", "stall of the loop, median", "longest"], lines)
    return Section(
        f"{rendered}\n\nThe longest stall of the same loop without load was {_table.seconds(figures['idle'])}."
    )
