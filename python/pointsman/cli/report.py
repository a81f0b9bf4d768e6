"""`pointsman report`: one page, complete in itself, of what a trace says.

What it does not know: how a trace is taken, or what its file looks like (`_timeline` reads it).

Invariants:
    R1. The page loads nothing: no script, no font, no picture from elsewhere.
    R2. Whatever names functions and workers have, they are text on the page.
"""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from pointsman._errors import InvalidArgumentError
from pointsman._html import draw_html
from pointsman._plan import Plan

from . import _timeline
from ._words import human_seconds

PARTS = (
    ("held", "computing, GIL held"),
    ("free", "computing without the GIL"),
    ("waiting", "waiting (for others, a lock, the GIL, a core)"),
    ("unknown", "running, not measured"),
    ("transfer", "dispatch and transfer"),
    ("idle", "idle"),
)
# Rows of the table of workers; the rest are summed up in its last row.
MOST_ROWS = 16


@click.command()
@click.argument("trace", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The page.  [default: beside the trace]"
)
def report(trace: Path, output: Path | None) -> None:
    """Make a page of TRACE, a file that `pointsman.trace` or `--trace` has written.

    The page shows when each worker ran what, where the time went, the decisions with their figures, predictions beside
    what happened, and the slowest calls. It needs nothing but a browser.
    """
    output = output or trace.with_suffix(".html")
    if output == trace:
        raise click.BadParameter("the page would replace the trace", param_hint="'--output'")
    try:
        timeline = _timeline.read(trace)
    except OSError as error:
        raise click.BadParameter(f"{trace}: {error.strerror}", param_hint="'TRACE'") from error
    except _timeline.Unreadable as error:
        raise click.BadParameter(f"{trace} cannot be read: {error}", param_hint="'TRACE'") from error
    try:
        output.write_text(page(timeline, trace.name), encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output}: {error.strerror}", param_hint="'--output'") from error
    click.echo(output)


def page(timeline: _timeline.Timeline, title: str) -> str:
    """The page as HTML."""
    home = files("pointsman.cli")
    parts = {
        "TITLE": escape(title),
        "STYLE": home.joinpath("report.css").read_text(encoding="utf-8"),
        "SCRIPT": home.joinpath("report.js").read_text(encoding="utf-8"),
        "SUMMARY": _summary(timeline),
        "SHARES": _shares(timeline),
        "DECISIONS": _decisions(timeline),
        "REALITY": _reality(timeline),
        "SLOWEST": _slowest(timeline),
        # "</script>" within a name must not end the data.
        "DATA": json.dumps(_timeline.packed(timeline)).replace("<", "\\u003c"),
    }
    text = home.joinpath("report.html").read_text(encoding="utf-8")
    # Piece by piece, so that nothing that was put in is looked at for names.
    first, *rest = text.split("{{")
    pieces = [first]
    for piece in rest:
        name, _, after = piece.partition("}}")
        pieces += [parts[name], after]
    return "".join(pieces)


def _micros(value: float | None) -> str:
    return "-" if value is None else human_seconds(value * 1e-6)


def _summary(timeline: _timeline.Timeline) -> str:
    calls, head = timeline.calls(), timeline.head
    origin, end = timeline.span()
    bad = {ending: sum(call.ending == ending for call in calls) for ending in _timeline.ENDINGS[1:]}
    workers = {(row.pid, row.tid) for row in timeline.rows if row.calls}
    began = datetime.fromtimestamp(float(head.get("began") or 0)).astimezone()
    facts = [
        ("calls", f"{len(calls):,}"),
        ("jobs", f"{len(timeline.jobs):,}"),
        ("from first to last", _micros(end - origin)),
        ("threads and workers", f"{len(workers):,}"),
        *((ending, f"{count:,}") for ending, count in bad.items() if count),
    ]
    tiles = "".join(
        f"<div class='tile{' bad' if name in bad else ''}'><b>{escape(figure)}</b><span>{escape(name)}</span></div>"
        for name, figure in facts
    )
    line = f"{began:%Y-%m-%d %H:%M:%S}, Python {head.get('python', '?')}, pointsman {head.get('version', '?')}"
    return f"<p class='quiet'>{escape(line)}</p><div class='tiles'>{tiles}</div>"


def _bar(one: _timeline.Shares, whole: float) -> str:
    pieces = []
    for part, name in PARTS:
        value = getattr(one, part)
        if value > 0 and whole > 0:
            told = f"{name}: {_micros(value)}, {value / whole:.1%}"
            pieces.append(f"<i class='{part}' style='width:{100 * value / whole:.3f}%' title='{escape(told)}'></i>")
    return f"<div class='bar'>{''.join(pieces)}</div>"


def _sum(one: _timeline.Shares) -> float:
    return float(sum(getattr(one, part) for part, _name in PARTS))


def _shares(timeline: _timeline.Timeline) -> str:
    each = [(row, _timeline.shares(row, timeline.jobs)) for row in timeline.rows]
    total = _timeline.Shares()
    for _row, one in each:
        total.add(one)
    whole = _sum(total)
    if not whole:
        return "<p class='quiet'>Nothing ran.</p>"
    legend = "".join(
        f"<li><i class='{part}'></i>{escape(name)} <b>{getattr(total, part) / whole:.1%}</b>"
        f" <span class='quiet'>{_micros(getattr(total, part))}</span></li>"
        for part, name in PARTS
        if getattr(total, part) > 0
    )
    longest = max(_sum(one) for _row, one in each)
    shown = sorted(each, key=lambda pair: pair[1].idle - _sum(pair[1]))[:MOST_ROWS]
    kept = {id(row) for row, _one in shown}
    rows = "".join(
        f"<tr><th>{escape(row.label)}</th><td class='wide'><div style='width:{100 * _sum(one) / longest:.2f}%'>"
        f"{_bar(one, _sum(one))}</div></td><td>{len(row.calls):,}</td><td>{_micros(_sum(one) - one.idle)}</td></tr>"
        for row, one in each
        if id(row) in kept
    )
    left = len(each) - len(shown)
    more = f"<p class='quiet'>and {left:,} more, which were busy for less</p>" if left else ""
    head = "<tr><th></th><td class='wide'></td><td>calls</td><td>busy</td></tr>"
    return f"{_bar(total, whole)}<ul class='legend'>{legend}</ul><table class='rows'>{head}{rows}</table>{more}"


def _plan(fields: dict[str, Any]) -> Plan | None:
    try:
        return Plan.from_json(json.dumps(fields))
    except InvalidArgumentError:
        return None


def _decisions(timeline: _timeline.Timeline) -> str:
    parts = []
    for number, job in enumerate(timeline.jobs):
        plans = _steps(job)
        inner = "".join(
            f"<p class='quiet'>decided {_micros(at)} after the beginning</p>"
            f"{draw_html(plan) if plan is not None else '<p>This plan is damaged.</p>'}"
            for at, plan in plans
        )
        if not plans:
            inner = "<p class='quiet'>It ended before anything was decided.</p>"
        failure = f" <em class='bad'>{escape(job['failure'])}</em>" if job["failure"] else ""
        place = _place(plans[-1][1]) if plans else "measured only"
        name = f"<b>{escape(job['function'])}</b> <span>{escape(place)}</span>{failure}"
        moves = len(plans) - 1
        changed = f" <span>moved {'once' if moves == 1 else f'{moves} times'}</span>" if moves > 0 else ""
        parts.append(f"<details{' open' if number < 2 else ''}><summary>{name}{changed}</summary>{inner}</details>")  # noqa: PLR2004
    return "".join(parts) or "<p class='quiet'>No job was planned: single calls need no plan.</p>"


def _steps(job: dict[str, Any]) -> list[tuple[float, Plan | None]]:
    """The plans of a job, from each place the last: those before it had rougher figures."""
    steps: list[tuple[float, Plan | None]] = []
    for one in job["plans"]:
        plan = _plan(one["plan"])
        before = steps[-1][1] if steps else None
        if plan is not None and before is not None and plan.place == before.place:
            steps.pop()
        steps.append((one["at"] - job["began"], plan))
    return steps


def _place(plan: Plan | None) -> str:
    if plan is None:
        return "?"
    if plan.backend == "inline":
        return "plain loop"
    # The words of the table below it.
    if plan.processes and plan.caller_shares:
        return f"{plan.backend} {plan.processes} + caller"
    return f"{plan.backend} {plan.max_workers}"


def _reality(timeline: _timeline.Timeline) -> str:
    rows = []
    for job in timeline.jobs:
        plan = _plan(job["plans"][-1]["plan"]) if job["plans"] else None
        if plan is None or plan.actual is None or plan.estimated_seconds is None:
            continue
        predicted, actual = plan.estimated_seconds, plan.actual.after_decision
        if not predicted or not actual:
            continue
        most, ratio = max(predicted, actual), actual / predicted
        bars = "".join(
            f"<div class='pair {kind}'><i style='width:{100 * value / most:.2f}%'></i>"
            f"<span>{human_seconds(value)}</span></div>"
            for kind, value in (("predicted", predicted), ("actual", actual))
        )
        odd = " class='bad'" if not 0.5 <= ratio <= 2 else ""  # noqa: PLR2004 - what an eye should stop at
        rows.append(
            f"<tr><th>{escape(job['function'])}</th><td>{escape(_place(plan))}</td>"
            f"<td class='wide'>{bars}</td><td{odd}>{ratio:.2f}</td></tr>"
        )
    if not rows:
        return "<p class='quiet'>No job with a prediction ran to its end.</p>"
    head = "<tr><th>function</th><td>where</td><td class='wide'>predicted, and what it took</td><td>ratio</td></tr>"
    return (
        "<p class='quiet'>Seconds from the last decision to the end of the job.</p>"
        f"<table class='rows reality'>{head}{''.join(rows)}</table>"
    )


def _slowest(timeline: _timeline.Timeline) -> str:
    found = sorted(
        ((call.lasted, row.label, call) for row in timeline.rows for call in row.calls), key=lambda one: -one[0]
    )[: _timeline.SLOWEST]
    if not found:
        return "<p class='quiet'>No call was made.</p>"
    origin = timeline.span()[0]
    lines = []
    for lasted, label, call in found:
        ending = "" if call.ending == "value" else f" <em class='bad'>{call.ending}</em>"
        place = "" if call.index is None else f"<span class='quiet'>item {call.index}</span>"
        cells = (call.queue, call.dispatch, call.cpu, call.held, call.transfer)
        lines.append(
            f"<tr data-at='{call.began - origin:.3f}' data-for='{lasted:.3f}' tabindex='0'>"
            f"<th>{escape(call.name)} {place}{ending}</th><td>{escape(label)}</td><td><b>{_micros(lasted)}</b></td>"
            + "".join(f"<td>{_micros(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    names = ("worker", "ran", "queued", "dispatch", "CPU", "GIL held", "transfer")
    head = "<tr><th>call</th>" + "".join(f"<td>{name}</td>" for name in names) + "</tr>"
    return f"<div class='scroll'><table class='rows slow'>{head}{''.join(lines)}</table></div>"
