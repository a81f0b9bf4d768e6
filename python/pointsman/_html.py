"""Draws a plan for a notebook: the tree, the candidates as bars, and what would change the answer.

Does not know how plans are made, and asks nobody: no script, no font and no picture from elsewhere. Names of the user's
are escaped. Colours are those of the page around it, or follow its light or dark scheme.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pointsman._drawing import happened, heading, rows, tree

if TYPE_CHECKING:
    from pointsman._plan import Plan

_STYLE = """
.pointsman { color-scheme: light dark; font: 13px/1.45 system-ui, sans-serif; max-width: 60rem; padding: .8em 1em;
  border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 6px; }
.pointsman pre { font: 12.5px/1.5 ui-monospace, Menlo, Consolas, monospace; margin: .4em 0 .8em; background: none;
  color: inherit; white-space: pre; overflow-x: auto; }
.pointsman table { font: inherit; border-collapse: collapse; margin: 0 0 .8em; color: inherit; }
.pointsman tr, .pointsman th, .pointsman td { background: none; color: inherit; }
.pointsman th, .pointsman td { text-align: left; padding: .15em 1em .15em 0; border: 0; white-space: nowrap; }
.pointsman th { font-weight: 600; opacity: .7; }
.pointsman td.figure, .pointsman th.figure { text-align: right; font-variant-numeric: tabular-nums; }
.pointsman tr.chosen td { font-weight: 700; }
.pointsman .bar { display: inline-block; height: .7em; min-width: 2px; background: #8a8f98; border-radius: 2px; }
.pointsman tr.chosen .bar { background: #1f9d63; }
.pointsman p { margin: .3em 0; }
.pointsman ul { margin: .2em 0 .8em; padding-left: 1.3em; }
.pointsman .warning { border-left: 3px solid #d08700; padding-left: .6em; }
"""
# Width of the longest bar, in em.
_LONGEST = 12.0


def draw_html(plan: Plan) -> str:
    """Return the plan for a notebook."""
    parts = [f"<b>{escape(heading(plan))}</b>", f"<pre>{escape(chr(10).join(tree(plan)))}</pre>", _table(plan)]
    if plan.turning_points:
        points = "".join(f"<li>{escape(point)}</li>" for point in plan.turning_points)
        parts.append(f"<b>What would change the answer</b><ul>{points}</ul>")
    parts += [f"<p class='warning'>{escape(warning)}</p>" for warning in plan.warnings]
    if plan.actual is not None:
        parts.append(f"<p>{escape(happened(plan))}</p>")
    return f"<div class='pointsman'><style>{_STYLE}</style>{''.join(parts)}</div>"


def _table(plan: Plan) -> str:
    shown = rows(plan)
    if not shown:
        return ""
    # The speed-up is what the eye should compare: plain figures of seconds may span a factor of a thousand.
    speeds = [float(speed.rstrip("x") or 0.0) for _label, _seconds, speed, _limit, _chosen in shown]
    most = max(speeds) or 1.0
    head = "<tr><th>candidate</th><th class='figure'>predicted</th><th class='figure'>speed-up</th><th></th>"
    lines = [f"{head}<th>limited by</th></tr>"]
    for (label, seconds, speed, limit, chosen), times in zip(shown, speeds, strict=True):
        bar = f"<span class='bar' style='width:{_LONGEST * times / most:.2f}em'></span>"
        lines.append(
            f"<tr{' class=chosen' if chosen else ''}><td>{escape(label)}</td><td class='figure'>{escape(seconds)}</td>"
            f"<td class='figure'>{escape(speed)}</td><td>{bar}</td><td>{escape(limit)}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"
