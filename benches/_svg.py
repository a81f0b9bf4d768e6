"""Draws charts and pictures as small SVG files that can be read on light and on dark pages.

A drawing stands on a ground of its own, and takes its colours from the reader's scheme: no page around it is asked.

What it does not know: what is drawn, and where the figures come from.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import _table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Colours by what they stand for: on light, on dark. The tones of peers differ in lightness too, for those who see few
# colours.
_COLOURS = {
    "ground": ("#ffffff", "#16181d"),
    "edge": ("#d5d9e0", "#343943"),
    "rule": ("#e3e6eb", "#2b3039"),
    "ink": ("#1d2129", "#e6e8ec"),
    "soft": ("#5a6270", "#9aa3b2"),
    "ours": ("#12855a", "#3ecf8e"),
    "one": ("#3564b8", "#7da7f2"),
    "two": ("#b8541f", "#f0965f"),
    "three": ("#8a4fb0", "#c795ea"),
    "four": ("#8d939e", "#737b89"),
    "five": ("#a5861a", "#dcc05a"),
    "pale": ("#e9f4ef", "#1d2f28"),
    "mist": ("#eef1f6", "#21252d"),
    "alarm": ("#c23b3b", "#ff8080"),
}
SERIES = ("ours", "one", "two", "three", "five", "four")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def _style() -> str:
    # Set twice, and not by variables: some programs that draw SVG know neither variables nor schemes.
    def rules(shade: int) -> str:
        return "".join(
            f".{name}{{fill:{tones[shade]}}}.{name}-line{{stroke:{tones[shade]};fill:none}}"
            for name, tones in _COLOURS.items()
        )

    return f"text{{font-family:{_FONT}}}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}"


class Drawing:
    """A picture of `width` times `height` units, with what it says in words for those who cannot see it."""

    def __init__(self, width: float, height: float, title: str, words: str = "") -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []
        self.title, self._words = title, words

    def rect(self, x: float, y: float, width: float, height: float, tone: str, *, round_: float = 2.0) -> None:
        """Add a filled box."""
        self._parts.append(
            f'<rect class="{tone}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" height="{height:.1f}" '
            f'rx="{round_:g}"/>'
        )

    def frame(self, x: float, y: float, width: float, height: float, tone: str, *, dashed: bool = False) -> None:
        """Add the outline of a box."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect class="{tone}-line" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" '
            f'stroke-width="1.4"{dash}/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, tone: str, *, thick: float = 1.0, dashed: bool = False,
        arrow: bool = False,
    ) -> None:  # fmt: skip
        """Add a straight line, with a head at its end if it is an arrow."""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(
            f'<path class="{tone}-line" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke-width="{thick:g}"{dash}/>'
        )
        if arrow:
            angle = math.atan2(y2 - y1, x2 - x1)
            sides = [(x2 + 8 * math.cos(angle + turn), y2 + 8 * math.sin(angle + turn)) for turn in (2.65, -2.65)]
            self._polygon([(x2, y2), *sides], tone)

    def text(
        self, x: float, y: float, words: str, *, tone: str = "ink", size: float = 12, anchor: str = "start",
        bold: bool = False, code: bool = False,
    ) -> None:  # fmt: skip
        """Add a line of text whose baseline is at `y`."""
        weight = ' font-weight="600"' if bold else ""
        family = " style=\"font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\"" if code else ""
        self._parts.append(
            f'<text class="{tone}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"{weight}{family}>'
            f"{escape(words)}</text>"
        )

    def mark(self, x: float, y: float, number: int, *, large: bool = False) -> None:
        """Add the mark of a series: series differ in shape as well as in colour."""
        tone, r = SERIES[number % len(SERIES)], 5.5 if large else 4.2
        shape = number % 4
        if shape == 0:
            self._parts.append(f'<circle class="{tone}" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>')
        elif shape == 1:
            self.rect(x - r + 0.6, y - r + 0.6, 2 * r - 1.2, 2 * r - 1.2, tone, round_=0.5)
        elif shape == 2:
            self._polygon([(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)], tone)
        else:
            self._polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], tone)

    def _polygon(self, corners: Sequence[tuple[float, float]], tone: str) -> None:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._parts.append(f'<polygon class="{tone}" points="{points}"/>')

    def __str__(self) -> str:
        """Give the file's text."""
        ground = (
            f'<rect class="ground" x="0.5" y="0.5" width="{self.width - 1:g}" height="{self.height - 1:g}" rx="8"/>'
            f'<rect class="edge-line" x="0.5" y="0.5" width="{self.width - 1:g}" height="{self.height - 1:g}" rx="8"/>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img">\n<title>{escape(self.title)}</title>\n'
            f"<desc>{escape(self._words)}</desc>\n<style>{_style()}</style>\n{ground}\n" + "\n".join(self._parts)
        ) + "\n</svg>\n"

    def write(self, path: Path) -> None:
        """Write the file, and its folder if it is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(self), encoding="utf-8")


def legend(drawing: Drawing, x: float, y: float, names: Sequence[str]) -> None:
    """Say which mark is whose, in one line."""
    for number, name in enumerate(names):
        drawing.mark(x, y - 4, number)
        drawing.text(x + 10, y, name, size=12, tone="soft")
        x += 30 + 6.8 * len(name)


def _steps(least: float, most: float) -> list[float]:
    """Round figures between the two, a few for each power of ten."""
    powers = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 1)
    many = math.log10(most / least) > 2.2
    found = [base * 10.0**power for power in powers for base in ((1,) if many else (1, 2, 5))]
    return [step for step in found if least <= step <= most]


def ratios(
    title: str, under: str, rows: Mapping[str, Mapping[str, float]], names: Sequence[str], faint: Sequence[str] = ()
) -> Drawing:
    """Draw ratios as marks on a logarithmic line for each row; 1 is drawn as the line to be compared with.

    `names` have marks and stand in the legend; those of `faint` are dots without a name of their own.
    """
    left, right, top, step = 214.0, 726.0, 84.0, 21.0
    height = top + step * len(rows) + 44
    drawing = Drawing(760, height, title, under)
    seen = [value for row in rows.values() for name, value in row.items() if name in (*names, *faint)]
    least, most = min(0.8, *seen) / 1.08, max(1.25, *seen) * 1.08

    def at(value: float) -> float:
        return left + (right - left) * math.log(value / least) / math.log(most / least)

    drawing.text(24, 30, title, size=16, bold=True)
    drawing.text(24, 49, under, size=12, tone="soft")
    legend(drawing, 28, 72, names)
    bottom = top + step * len(rows)
    for value in _steps(least, most):
        drawing.line(at(value), top, at(value), bottom, "rule")
        drawing.text(at(value), bottom + 18, f"{value:g}", size=11, tone="soft", anchor="middle")
    drawing.line(at(1.0), top, at(1.0), bottom, "soft", thick=1.4)
    for number, (label, row) in enumerate(rows.items()):
        y = top + step * (number + 0.5)
        drawing.text(left - 12, y + 4, label, size=12, anchor="end")
        for name in faint:
            if name in row:
                drawing.rect(at(row[name]) - 1, y - 4, 2, 8, "four", round_=0)
        for order, name in reversed(list(enumerate(names))):
            if name in row:
                drawing.mark(at(row[name]), y, order, large=order == 0)
    drawing.text(right, bottom + 35, "times as long (logarithmic)", size=11, tone="soft", anchor="end")
    return drawing


def bars(
    title: str, under: str, groups: Mapping[str, Mapping[str, float]], ours: Sequence[str], *, show: object = None
) -> Drawing:
    """Draw bars of seconds on a logarithmic scale, a group for each piece of work; ours are coloured."""
    as_text = show if callable(show) else _table.seconds
    left, right, top, step, gap = 214.0, 640.0, 66.0, 19.0, 12.0
    count = sum(len(group) for group in groups.values())
    height = top + sum(26 + step * len(group) + gap for group in groups.values()) + 14
    drawing = Drawing(760, height, title, under)
    seen = [value for group in groups.values() for value in group.values() if value > 0]
    least, most = min(seen, default=0.1) / 2, max(seen, default=1.0)
    drawing.text(24, 30, title, size=16, bold=True)
    drawing.text(24, 49, under, size=12, tone="soft")
    y = top
    for label, group in groups.items():
        drawing.text(24, y + 15, label, size=13, bold=True)
        y += 26
        for name, value in group.items():
            own = name in ours
            width = (right - left) * math.log(value / least) / math.log(most / least) if value > 0 else 0.0
            drawing.text(left - 12, y + 12, name, size=12, anchor="end", bold=own)
            drawing.rect(left, y + 2, width, step - 5, "ours" if own else "four")
            drawing.text(left + width + 8, y + 12, str(as_text(value)), size=12, tone="ink" if own else "soft")
            y += step
        y += gap
    if count:
        drawing.text(736, height - 12, "logarithmic scale", size=11, tone="soft", anchor="end")
    return drawing
