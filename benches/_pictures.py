"""Draws what `pictures.py` measured, for the page that explains threads, processes and futures.

What it does not know: how anything was measured.
"""

from __future__ import annotations

from typing import Any

import _table
from _pages import Section, table
from _svg import Drawing

_WAYS = ("plain loop", "2 threads", "8 threads", "2 processes", "pointsman.execute")


def section(figures: dict[str, Any]) -> Section:
    """Every picture, and the tables that go with some of them."""
    drawings = {
        "together": together(figures["together"], figures["calls"]),
        "time-lines": time_lines(figures["time_lines"]),
        "future": future(figures["life"]),
        "patterns": patterns(figures["patterns"]),
    }
    parts = {name: f"![{drawing.title}](benchmarks/{name}.svg)" for name, drawing in drawings.items()}
    parts["together"] += "\n\n" + table(
        ["a call", *_WAYS],
        [
            [f"{name}", *(_table.seconds(ways[way]) if way in ways else "-" for way in _WAYS)]
            for name, ways in figures["together"].items()
        ],
    )
    if figures.get("memory"):
        drawings["memory"] = memory(figures["memory"])
        counts = sorted({count for sizes in figures["memory"].values() for count in sizes}, key=int)
        rows = [
            [kind, *(f"{sizes[count] / 1e6:.0f} MB" if count in sizes else "-" for count in counts)]
            for kind, sizes in figures["memory"].items()
        ]
        parts["memory"] = f"![{drawings['memory'].title}](benchmarks/memory.svg)\n\n" + table(
            ["workers", *counts], rows
        )
    return Section("", drawings, parts=parts)


def _head(drawing: Drawing, under: str) -> None:
    drawing.text(24, 30, drawing.title, size=16, bold=True)
    drawing.text(24, 49, under, size=12, tone="soft")


def together(works: dict[str, dict[str, float]], calls: int) -> Drawing:
    """Seconds of the same calls in several ways, a panel for each kind of work."""
    step, left, right = 22.0, 170.0, 660.0
    height = 66 + sum(34 + step * len(ways) for ways in works.values()) + 12
    drawing = Drawing(
        760, height, "What the GIL does to threads",
        f"{calls} calls of three kinds of work: as a plain loop, on threads, in processes, and by pointsman.",
    )  # fmt: skip
    _head(drawing, f"Seconds of {calls} calls; shorter is better. Pools were warm.")
    y = 66.0
    for name, ways in works.items():
        drawing.text(24, y + 16, f"A call {name}", size=13, bold=True)
        y += 26
        most = max(ways.values())
        for way, seconds in ways.items():
            own = way.startswith("pointsman")
            # Of no use: as slow as the plain loop.
            useless = not own and way != "plain loop" and seconds > 0.8 * ways["plain loop"]
            tone = "ours" if own else "alarm" if useless else "four" if way == "plain loop" else "one"
            width = (right - left) * seconds / most
            drawing.text(left - 12, y + 12, way, anchor="end", bold=own)
            drawing.rect(left, y + 2, width, step - 7, tone)
            drawing.text(left + width + 8, y + 13, _table.seconds(seconds), tone="ink" if own else "soft")
            y += step
        y += 8
    return drawing


def time_lines(kinds: dict[str, list[list[list[float]]]]) -> Drawing:
    """When two workers got on."""
    left, right, row = 130.0, 736.0, 26.0
    most = max((end for rows in kinds.values() for spans in rows for _, end in spans), default=0.08)
    drawing = Drawing(
        760, 66 + len(kinds) * (34 + 2 * row) + 26, "Two workers that compute in Python",
        "With threads one gets on while the other stands still; with processes both get on.",
    )  # fmt: skip
    _head(drawing, "A real run. Coloured: this worker gets on. Empty: it waits for the GIL, or for a core.")

    def at(seconds: float) -> float:
        return left + (right - left) * min(max(seconds, 0.0), most) / most

    y = 70.0
    for kind, rows in kinds.items():
        title = {"threads": "Two threads, one GIL", "processes": "Two processes, a GIL each"}.get(kind, kind)
        drawing.text(24, y + 12, title, size=13, bold=True)
        y += 22
        for number, spans in enumerate(rows):
            drawing.text(left - 12, y + 14, f"{kind.removesuffix('s').removesuffix('e')} {number + 1}", anchor="end")
            drawing.rect(left, y + 2, right - left, row - 8, "mist")
            for begin, end in spans:
                drawing.rect(at(begin), y + 2, at(end) - at(begin), row - 8, ("one", "two")[number % 2], round_=1)
            y += row
        y += 12
    for tick in range(0, int(most * 1000) + 1, 20):
        drawing.text(at(tick / 1000), y + 8, f"{tick} ms", size=11, tone="soft", anchor="middle" if tick else "start")
    return drawing


def memory(kinds: dict[str, dict[str, int]]) -> Drawing:
    """Bytes over the number of workers."""
    rows = [(kind, count, size) for kind, sizes in kinds.items() for count, size in sizes.items()]
    left, right, step = 220.0, 660.0, 17.0
    height = 70 + sum(12 + step * len(sizes) for sizes in kinds.values()) + 14
    drawing = Drawing(
        760, height, "Memory of threads and of processes",
        "Threads share one memory; each process has its own interpreter, and its own copy of what it is sent.",
    )  # fmt: skip
    _head(
        drawing, "Bytes of the program and its workers, pages that they share counted once. 100 MB: each looks at it."
    )
    most, y, last = max(size for _, _, size in rows), 70.0, ""
    for kind, count, size in rows:
        if kind != last:
            y, last = y + 12, kind
        thread = kind.startswith("threads")
        drawing.text(
            left - 12, y + 11, f"{count} {kind}" if count != "1" else f"1 {_one(kind)}", size=11.5, anchor="end"
        )
        width = (right - left) * size / most
        drawing.rect(left, y + 2, width, step - 5, "two" if thread else "ours" if kind.startswith("points") else "one")
        drawing.text(left + width + 8, y + 12, f"{size / 1e6:.0f} MB", size=11.5, tone="soft")
        y += step
    return drawing


def _one(kind: str) -> str:
    return kind.replace("processes", "process").replace("threads", "thread")


def future(kinds: dict[str, dict[str, float]]) -> Drawing:
    """The states of a future, and when they were reached."""
    drawing = Drawing(
        760, 300, "The life of a future",
        "submit returns a pending future; a worker begins the call and it is running; then it has its result, "
        "its exception, or was cancelled.",
    )  # fmt: skip
    _head(drawing, "You have it at once; its result comes later.")
    boxes = (
        ("PENDING", "queued", 96),
        ("RUNNING", "a worker has begun", 328),
        ("FINISHED", "a result, or an error", 560),
    )
    for name, words, x in boxes:
        drawing.rect(x, 84, 150, 52, "pale", round_=6)
        drawing.frame(x, 84, 150, 52, "ours")
        drawing.text(x + 75, 107, name, size=13, anchor="middle", bold=True)
        drawing.text(x + 75, 125, words, size=11, tone="soft", anchor="middle")
    drawing.text(24, 78, "submit(fn, x)", size=12, code=True)
    drawing.line(48, 88, 92, 106, "soft", thick=1.4, arrow=True)
    drawing.line(246, 110, 324, 110, "soft", thick=1.4, arrow=True)
    drawing.line(478, 110, 556, 110, "soft", thick=1.4, arrow=True)
    drawing.line(171, 138, 171, 164, "alarm", thick=1.4, arrow=True)
    drawing.frame(96, 168, 150, 30, "alarm", dashed=True)
    drawing.text(171, 188, "CANCELLED", anchor="middle", bold=True)
    drawing.text(256, 188, "cancel(): only before it begins", size=11.5, tone="soft")
    drawing.text(635, 158, "result(), exception()", size=11.5, anchor="middle", code=True)
    drawing.text(403, 158, "done() is False", size=11.5, anchor="middle", code=True)
    drawing.text(24, 226, "A call of 20 ms, counted from when submit was called:", size=12, bold=True)
    y = 248.0
    for kind, moments in kinds.items():
        told = ", ".join(f"{name} {_table.seconds(at)}" for name, at in moments.items())
        drawing.text(24, y, f"on {kind}:", size=12, tone="soft")
        drawing.text(120, y, told, size=12)
        y += 20
    return drawing


_CODE = {
    "submit and wait": "pool.submit(f, x).result(), again and again",
    "submit all, get all": "[f.result() for f in futures]",
    "as completed": "for f in as_completed(futures)",
    "map": "for value in pool.map(f, data)",
}


def patterns(ways: dict[str, dict[str, Any]]) -> Drawing:
    """Six calls on two threads, and when the program had each result."""
    left, right, row = 130.0, 726.0, 20.0
    most = max(call["got"] for way in ways.values() for call in way["calls"]) * 1.12
    drawing = Drawing(
        760, 66 + len(ways) * (3 * row + 44) + 22, "Four ways to wait for six calls on two threads",
        "Waiting for each call before the next is submitted uses one thread; the other three use both.",
    )  # fmt: skip
    _head(drawing, "A real run. Bars: calls on the two threads. Marks below: when the program had that result.")

    def at(seconds: float) -> float:
        return left + (right - left) * seconds / most

    y = 72.0
    for name, way in ways.items():
        drawing.text(24, y + 10, name, size=13, bold=True)
        drawing.text(right, y + 10, _CODE.get(name, ""), size=11.5, tone="soft", anchor="end", code=True)
        y += 18
        for number in range(2):
            drawing.text(left - 12, y + 14 + row * number, f"thread {number + 1}", size=11.5, tone="soft", anchor="end")
            drawing.rect(left, y + 2 + row * number, right - left, row - 4, "mist")
        drawing.text(left - 12, y + 14 + 2 * row, "the program", size=11.5, tone="soft", anchor="end")
        # Results that come at the same moment stand side by side.
        free = 0.0
        for call in way["calls"]:
            tone = ("one", "two", "three", "five", "ours", "four")[call["call"] % 6]
            top = y + 2 + row * min(call["thread"], 1)
            drawing.rect(at(call["began"]), top, at(call["ended"]) - at(call["began"]) - 1, row - 4, tone)
            drawing.text(
                at((call["began"] + call["ended"]) / 2),
                top + 12,
                str(call["call"] + 1),
                size=11,
                anchor="middle",
                tone="ground",
            )
            free = max(free, at(call["got"]) - 2)
            drawing.rect(free, y + 2 * row + 2, 5, row - 6, tone, round_=1)
            free += 6.5
        total = max(call["got"] for call in way["calls"])
        drawing.text(free + 6, y + 13 + 2 * row, _table.seconds(total), size=11.5, tone="soft", anchor="start")
        y += 3 * row + 26
    return drawing
