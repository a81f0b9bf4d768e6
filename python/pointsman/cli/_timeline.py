"""Reads a trace and adds up what a report shows of it.

What it does not know: how a page looks.

Invariants:
    T1. A file that is no trace of ours, or a damaged one, is `Unreadable`, with what is wrong and where.
    T2. The time of a row is shared out once: a call within another call counts for the outer one only.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SLOWEST = 25
ENDINGS = ("value", "raised", "died", "cancelled")
MOVES = ("send", "receive", "dispatch", "transfer")
# Numbers of rows from which on they belong to coroutines (`pointsman._trace`).
COROUTINES = 1 << 30


class Unreadable(Exception):  # noqa: N818 - it is what the file is
    """The file is no trace, or a damaged one."""


@dataclass(slots=True)
class Call:
    """A call of the trace, in microseconds; None where nothing was measured."""

    name: str
    began: float
    lasted: float
    ending: str
    job: int
    index: int | None
    queue: float | None
    dispatch: float
    cpu: float | None
    held: float | None
    transfer: float


@dataclass(slots=True)
class Row:
    """A thread, or a lane of a worker process, with its calls and transfers in the order of their beginnings."""

    pid: int
    tid: int
    label: str
    calls: list[Call] = field(default_factory=list)
    moves: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass(slots=True)
class Shares:
    """Where the time of a row went, in microseconds."""

    held: float = 0.0
    free: float = 0.0
    waiting: float = 0.0
    unknown: float = 0.0
    transfer: float = 0.0
    idle: float = 0.0

    def add(self, other: Shares) -> None:
        """Add another row's."""
        for part in self.__slots__:
            setattr(self, part, getattr(self, part) + getattr(other, part))


@dataclass(slots=True)
class Timeline:
    """A trace that was read."""

    head: dict[str, Any]
    rows: list[Row]
    own: int

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of the trace, with their plans."""
        jobs: list[dict[str, Any]] = self.head["jobs"]
        return jobs

    def calls(self) -> list[Call]:
        """All calls."""
        return [call for row in self.rows for call in row.calls]

    def span(self) -> tuple[float, float]:
        """From the first thing that happened to the last."""
        starts = [call.began - call.dispatch for call in self.calls()]
        ends = [call.began + call.lasted + call.transfer for call in self.calls()]
        starts += [move[0] for row in self.rows for move in row.moves] + [job["began"] for job in self.jobs]
        ends += [move[0] + move[1] for row in self.rows for move in row.moves]
        ends += [job["ended"] for job in self.jobs if job["ended"] is not None]
        return (min(starts), max(ends)) if starts and ends else (0.0, 1.0)


def read(path: Path) -> Timeline:
    """Read a trace.

    Raises
    ------
    OSError
        If there is no such file.
    Unreadable
        If it is no trace of ours, or a damaged one.

    """
    try:
        whole = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        message = f"it is not text: {error.reason} at byte {error.start}"
        raise Unreadable(message) from error
    except json.JSONDecodeError as error:
        message = f"it is not JSON, or cut off: {error.msg} at line {error.lineno}, column {error.colno}"
        raise Unreadable(message) from error
    except RecursionError as error:
        raise Unreadable("it is nested too deep for a trace") from error
    head = whole.get("otherData") if isinstance(whole, dict) else None
    if not isinstance(head, dict) or head.get("tool") != "pointsman" or not isinstance(whole.get("traceEvents"), list):
        raise Unreadable("it is no trace of pointsman: write one with pointsman.trace(...) or --trace")
    if head.get("format") != 1:
        message = f"its format is {head.get('format')!r}, and this version of pointsman reads format 1"
        raise Unreadable(message)
    try:
        return Timeline(head, _rows(whole["traceEvents"], _checked(head)), int(head["pid"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"it is damaged: {type(error).__name__}: {error}"
        raise Unreadable(message) from error


def _checked(head: dict[str, Any]) -> int:
    for job in head["jobs"]:
        figures = [
            job["began"],
            *([] if job["ended"] is None else [job["ended"]]),
            *(one["at"] for one in job["plans"]),
        ]
        for figure in figures:
            _figure(figure)
        if not isinstance(job["function"], str) or not all(isinstance(one["plan"], dict) for one in job["plans"]):
            raise TypeError("a job is not what it should be")
    _figure(head["seconds"])
    return int(head["pid"])


def _figure(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        message = f"{value!r} is not a number"
        raise TypeError(message)
    return float(value)


def _rows(events: list[Any], own: int) -> list[Row]:
    rows: dict[tuple[int, int], Row] = {}
    names: dict[tuple[int, int], str] = {}
    for event in events:
        if event["ph"] == "M":
            if event["name"] == "thread_name":
                names[event["pid"], event["tid"]] = str(event["args"]["name"])
            continue
        if event["ph"] != "X":
            continue
        place = int(event["pid"]), int(event["tid"])
        row = rows.get(place)
        if row is None:
            row = rows[place] = Row(*place, "")
        began, lasted = _figure(event["ts"]), _figure(event["dur"])
        if event["cat"] == "call":
            row.calls.append(_call(event, began, lasted))
        elif event["name"] in MOVES:
            row.moves.append((began, lasted, event["name"]))
    for place, row in rows.items():
        row.calls.sort(key=lambda call: (call.began, -call.lasted))
        row.moves.sort()
        row.label = _label(row, names.get(place, ""), own)
    # The caller, workers, threads, coroutines.
    return sorted(rows.values(), key=lambda row: (_rank(row, own), row.pid, row.tid))


def _rank(row: Row, own: int) -> int:
    if row.pid != own:
        return 1
    if row.tid >= COROUTINES:
        return 3
    return 0 if row.label == "caller" else 2


def _call(event: dict[str, Any], began: float, lasted: float) -> Call:
    args = event["args"]
    known = {name: None if args.get(name) is None else _figure(args[name]) for name in ("queue", "cpu", "gil")}
    ending = args.get("ending", "value")
    if ending not in ENDINGS or not isinstance(event["name"], str):
        message = f"no call ends in {ending!r}"
        raise ValueError(message)
    return Call(
        name=event["name"],
        began=began,
        lasted=lasted,
        ending=ending,
        job=int(args["job"]),
        index=args.get("index"),
        queue=known["queue"],
        dispatch=_figure(args.get("dispatch", 0)),
        cpu=known["cpu"],
        held=known["gil"],
        transfer=_figure(args.get("transfer", 0)),
    )


def _label(row: Row, name: str, own: int) -> str:
    if row.pid != own:
        # A lane of our own workers is told by its process; others have names, and process ids of other hosts.
        return f"worker {row.pid}" if not name or name.startswith("lane ") else name
    if row.tid >= COROUTINES or not name:
        return name or f"thread {row.tid}"
    return "caller" if name == "MainThread" else name


def _windows(row: Row, jobs: dict[int, tuple[float, float]]) -> list[tuple[float, float]]:
    """The times for which a row could have been busy, without overlaps.

    Those of the jobs that it took part in, from its first call on: a worker that has not started is not idle, nor is a
    thread while a job runs elsewhere. Single calls need nobody before them or after.
    """
    first = min([call.began - call.dispatch for call in row.calls[:1]] + [move[0] for move in row.moves[:1]])
    spans = [(max(first, jobs[number][0]), jobs[number][1]) for number in {call.job for call in row.calls} & set(jobs)]
    spans += [(call.began, call.began + call.lasted) for call in row.calls if call.job not in jobs]
    merged: list[tuple[float, float]] = []
    for began, ended in sorted(spans):
        if merged and began <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], ended)
        else:
            merged.append((began, ended))
    return merged


def shares(row: Row, jobs: list[dict[str, Any]]) -> Shares:
    """Where a row's time went (T2)."""
    sum_ = Shares()
    until = -math.inf
    spent = 0.0
    for call in row.calls:
        if call.began < until - 0.01:
            continue
        until = call.began + call.lasted
        spent += call.lasted
        sum_.transfer += call.dispatch + call.transfer
        if call.cpu is None:
            sum_.unknown += call.lasted
            continue
        cpu = min(call.cpu, call.lasted)
        held = cpu if call.held is None else min(call.held, cpu)
        sum_.held += held
        sum_.free += cpu - held
        sum_.waiting += call.lasted - cpu
    sum_.transfer += sum(lasted for _began, lasted, name in row.moves if name in ("send", "receive"))
    if not (row.calls or row.moves):
        return sum_
    spans = {job["job"]: (job["began"], job["ended"]) for job in jobs if job["ended"] is not None}
    there = sum(ended - began for began, ended in _windows(row, spans))
    sum_.idle = max(0.0, there - spent - sum_.transfer)
    return sum_


def packed(timeline: Timeline) -> dict[str, Any]:
    """The calls as columns of bytes, for a page: JSON of 100,000 objects would take a browser seconds."""
    origin, end = timeline.span()
    names: dict[str, int] = {}
    columns: dict[str, array[Any]] = {
        "began": array("d"),
        "lasted": array("f"),
        "queue": array("f"),
        "dispatch": array("f"),
        "cpu": array("f"),
        "held": array("f"),
        "transfer": array("f"),
        "index": array("i"),
        "name": array("H"),
        "job": array("i"),
        "ending": array("B"),
    }
    moves: dict[str, array[Any]] = {"began": array("d"), "lasted": array("f"), "kind": array("B")}
    rows = []
    unknown = math.nan
    for row in timeline.rows:
        for call in row.calls:
            columns["began"].append(call.began - origin)
            columns["lasted"].append(call.lasted)
            columns["queue"].append(unknown if call.queue is None else call.queue)
            columns["dispatch"].append(call.dispatch)
            columns["cpu"].append(unknown if call.cpu is None else call.cpu)
            columns["held"].append(unknown if call.held is None else call.held)
            columns["transfer"].append(call.transfer)
            columns["index"].append(-1 if call.index is None or call.index >= 1 << 31 else call.index)
            columns["name"].append(min(names.setdefault(call.name, len(names)), 65535))
            columns["job"].append(call.job)
            columns["ending"].append(ENDINGS.index(call.ending))
        for began, lasted, name in row.moves:
            moves["began"].append(began - origin)
            moves["lasted"].append(lasted)
            moves["kind"].append(MOVES.index(name))
        rows.append(
            {"label": row.label, "calls": len(row.calls), "moves": len(row.moves), "own": row.pid == timeline.own}
        )
    jobs = [
        {
            "job": job["job"],
            "label": _job_label(job),
            "began": job["began"] - origin,
            "ended": (end if job["ended"] is None else job["ended"]) - origin,
            "failed": bool(job["failure"]),
        }
        for job in timeline.jobs
    ]
    return {
        "span": end - origin,
        "names": list(names),
        "rows": rows,
        "jobs": jobs,
        "calls": {name: _text(column) for name, column in columns.items()},
        "moves": {name: _text(column) for name, column in moves.items()},
    }


def _job_label(job: dict[str, Any]) -> str:
    if not job["plans"]:
        return str(job["function"])
    plan = job["plans"][-1]["plan"]
    return f"{job['function']} → {plan.get('backend', '?')}"


def _text(column: array[Any]) -> str:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return base64.b64encode(column.tobytes()).decode("ascii")
