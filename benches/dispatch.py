"""Measures what it costs to send a call elsewhere.

Runs calls that do next to nothing, or move much data, on pointsman's workers and on those of its peers, and prints the
time of a call, the ratio peer / ours, and the ratio hoped for. Run it alone on the machine:

    python benches/dispatch.py [--only WORD] [--rounds N] [--quick | --full] [--json FILE]

What it does not know: how any of the pools works.

Invariants:
    B1. Every measurement runs in a fresh process with nothing but its pool, and the contenders take turns: only ratios
        within one run are worth anything. A figure is the median over the rounds.
    B2. All pools have two workers, and are warm unless the row says that they are fresh.
    B3. Without --full, peers whose time is proportional to the number of calls make fewer; times are per call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import _fresh
import _measures
import _table
from _everyday import plain
from _peers import POOLS, installed

if TYPE_CHECKING:
    from collections.abc import Mapping

Goals: TypeAlias = "Mapping[str, float | None]"

PROCESSES, THREADS = "processes", "threads"
CF, POOL, LOKY, JOBLIB, MPIRE = "ProcessPoolExecutor", "multiprocessing.Pool", "loky", "joblib", "mpire"
TPE, TP = "ThreadPoolExecutor", "ThreadPool"
OUR_PROCESSES = ("Executor", "map", "execute")
OUR_THREADS = ("Executor on threads", "map on threads", "execute on threads")
_FLOATS = 10_000_000
_LONG_CALL = (
    "the call itself takes 1 ms, the peer's whole way one or two switch intervals of the GIL (5 ms): 6 to 10 at most"
)
_SENT_AGAIN = "sent with each call: nothing tells a program that an array has been written to since the last one"
# Seconds after which a measurement counts as hung.
_HUNG = 200.0


@dataclass(frozen=True)
class Row:
    """One piece of work.

    `peers` maps contenders to the ratio hoped for, or None. `bound` is what our own figure should be at most (for cores
    used: at least). Without --full, peers make `quick` calls; without a `quick` their number matters, and stays. `note`
    says what bounds the ratio, where something outside of the pools does.
    """

    section: str
    name: str
    measure: str
    function: str
    calls: int
    peers: Goals
    ours: tuple[str, ...] = OUR_PROCESSES[:1]
    items: str = "numbers"
    quick: int | None = None
    peer_calls: int | None = None
    bound: float | None = None
    needs: str = field(default="")
    note: str = ""

    @property
    def unit(self) -> bool:
        """Whether the figure is seconds; else it is a plain number."""
        return self.measure not in ("cores_used", "idle_share")


@dataclass
class Record:
    """An input whose class is the program's own: this is the main module of each process that is measured."""

    number: int
    name: str


def _process_rows() -> list[Row]:
    every = {CF: 25.0, LOKY: 40.0, POOL: None, MPIRE: None}
    per_call = {CF: 300.0, LOKY: 300.0, MPIRE: 300.0, POOL: 80.0}
    own_chunks = {POOL: 1.5, CF: 4.0, LOKY: None, JOBLIB: None, MPIRE: None, "plain loop": None}
    large = {CF: 20.0, LOKY: 20.0, MPIRE: 20.0, JOBLIB: 5.0}

    def row(name: str, measure: str, function: str, calls: int, peers: Goals, **more: Any) -> Row:
        return Row(PROCESSES, name, measure, function, calls, peers, **more)

    rows = [
        row("one by one", "one_by_one", "identity", 3000, every, quick=300),
        row("one by one, 1 ms idle before each", "after_idle", "identity", 200, {CF: 8.0, LOKY: 8.0, POOL: None}),
        row("50,000 submits, then all results", "many", "identity", 50_000, {CF: 150.0, LOKY: 150.0}, quick=5000),
        row("map, call by call", "mapped", "identity", 200_000, per_call, ours=OUR_PROCESSES, quick=10_000),
        row("map, own chunks", "chunked", "identity", 200_000, own_chunks, ours=OUR_PROCESSES),
    ]
    for micros, calls in ((10, 60_000), (50, 15_000), (1000, 800)):
        rows.append(
            row(
                f"cores used, calls of {micros} us", "cores_used", f"steps_{micros}", calls,
                {POOL: 1.0, CF: None}, ours=OUR_PROCESSES, bound=1.85 if micros == 50 else None,
            )
        )  # fmt: skip
    rows += [
        row(
            f"one by one, {label} calls, parent spins",
            "while_spinning",
            function,
            200,
            {CF: 20.0},
            peer_calls=40,
            note=note,
        )
        for label, function, note in (
            ("1 us", "tiny", ""),
            ("50 us", "steps_50", ""),
            ("1 ms", "steps_1000", _LONG_CALL),
        )
    ]
    for label, items, calls in (
        ("str", "words", 20_000),
        ("dict", "dicts", 20_000),
        ("object of a class of the program's", "records", 20_000),
        ("1 MB bytes", "blocks", 200),
    ):
        rows += [
            row(
                f"{label}, one by one", "one_by_one", "identity", calls // 10, {CF: 10.0, POOL: None, LOKY: None},
                items=items, quick=min(200, calls // 10),
            ),
            row(
                f"{label}, map in own chunks", "chunked", "identity", calls, {POOL: 1.3},
                ours=OUR_PROCESSES, items=items,
            ),
        ]  # fmt: skip
    starts = {"forkserver, warm": 1.5, "ProcessPool, spawn": 2.5, "ProcessPool, fork": None, LOKY: None}
    first = {CF: 3.0, LOKY: 3.0, MPIRE: 3.0}
    rows += [
        row("80 MB arrays as arguments", "one_by_one", "length", 4, large, items="arrays", needs="numpy"),
        row("the same 80 MB array again", "one_by_one", "length", 6, large, items="one array", needs="numpy"),
        row("80 MB array as result", "one_by_one", "array_of", 6, large, items="sizes", needs="numpy"),
        row("80 MB array, first call with one", "first_large", "length", 1, first, items="arrays", needs="numpy"),
        row(
            "the same array in 50 calls", "mapped", "length", 50, {CF: None, JOBLIB: None},
            ours=OUR_PROCESSES, items="one array", needs="numpy", quick=6, note=_SENT_AGAIN,
        ),
        row("first result of a program", "first_result", "identity", 1, starts),
        row("first result of a second pool", "second_result", "identity", 1, {"ProcessPool, fork": 2.0}),
    ]  # fmt: skip
    return rows


def _thread_rows() -> list[Row]:
    def row(name: str, measure: str, calls: int, peers: Goals, **more: Any) -> Row:
        return Row(
            THREADS,
            name,
            measure,
            calls=calls,
            peers=peers,
            **{"function": "identity", "ours": OUR_THREADS[:1], **more},
        )

    return [
        row("one by one", "one_by_one", 10_000, {TPE: 4.0, TP: None}, quick=3000),
        row("one by one, 1 ms idle before each", "after_idle", 200, {TPE: None, TP: None}),
        row("30,000 submits, then all results", "many", 30_000, {TPE: 30.0, TP: None}),
        row("map, call by call", "mapped", 200_000, {TPE: 80.0, TP: None}, ours=OUR_THREADS, quick=30_000),
        row("map, own chunks", "chunked", 200_000, {TP: 1.0, "plain loop": None}, ours=OUR_THREADS),
        row("asyncio.gather of 3,000", "gathered", 3000, {"asyncio.to_thread": 12.0}),
        row("one by one, 1 us calls, another thread spins", "while_spinning", 100, {TPE: 1.0}, function="tiny"),
        row("CPU of an idle pool", "idle_share", 50, {TPE: None}, bound=0.001),
    ]


def _scale_rows() -> list[Row]:
    return [
        Row(section, f"map of {calls:,}", "mapped_again", "identity", calls, {}, ours=ours)
        for section, ours in ((PROCESSES, OUR_PROCESSES), (THREADS, OUR_THREADS))
        for calls in (1_000, 10_000, 100_000, 1_000_000)
    ]


# ----------------------------------------------------------------------------------- one measurement


def _items(kind: str, calls: int) -> Any:
    if kind == "numbers":
        return range(calls)
    if kind == "words":
        return [f"word {i:015}" for i in range(calls)]
    if kind == "dicts":
        return [{f"key {j}": i * j for j in range(10)} for i in range(calls)]
    if kind == "records":
        return [Record(i, f"record {i}") for i in range(calls)]
    if kind == "blocks":
        return [bytes([i % 251]) * 1_000_000 for i in range(calls)]
    if kind == "sizes":
        return [_FLOATS] * calls
    import numpy as np

    if kind == "one array":
        return [np.ones(_FLOATS)] * calls
    return [np.full(_FLOATS, float(i)) for i in range(calls)]


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Measure one contender once, in a process of its own."""
    name, measure = question["contender"], question["measure"]
    function = getattr(plain, question["function"])
    # One more, to warm the pool with: it shall not know those that are timed.
    *items, spare = _items(question["items"], question["calls"] + 1)
    if measure in _measures.OWN_POOL:
        return {"figure": _measures.OWN_POOL[measure](name, function, items)}
    pool = POOLS[name]()
    _measures.warm(pool, function, spare)
    figure = _measures.WARM_POOL[measure](pool, function, items)
    pool.close()
    return {"figure": figure}


# ----------------------------------------------------------------------------------- one row


def measure(row: Row, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure all contenders of a row, in turn."""
    contenders = [name for name in (*row.ours, *row.peers) if installed(name)]
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    failures: dict[str, str] = {}
    for round_ in range(rounds):
        turn = round_ % len(contenders)
        for name in contenders[turn:] + contenders[:turn]:
            if name in failures:
                continue
            calls = row.calls
            if name in row.peers:
                calls = (row.quick if quick else None) or row.peer_calls or calls
            question = {**asdict(row), "contender": name, "calls": calls}
            got = _fresh.ask(__file__, question, _HUNG)
            if "complaint" in got:
                print(f"! {row.name}, {name}: {got['complaint']}", flush=True)
            if got.get("failed"):
                failures[name] = got["failed"]
            else:
                figures[name].append(got["figure"])
    return {
        **asdict(row),
        "figures": figures,
        "medians": {name: _table.median(values) for name, values in figures.items() if values},
        "failures": failures,
    }


# ----------------------------------------------------------------------------------- printing

_COLUMNS = (
    ("work", -45), ("ours is", -19), ("ours", 8), ("peer", -21), ("peer's", 8), ("ratio", 6), ("goal", 5), ("", -6),
)  # fmt: skip


def print_row(table: _table.Table, row: Row, measured: dict[str, Any]) -> None:
    """Print a line for each of ours against each peer."""
    medians = measured["medians"]
    show = _table.seconds if row.unit else (lambda value: f"{value:.2f}" if value > 0.01 else f"{value:.5f}")
    label = row.name
    for mine in row.ours:
        if mine not in medians:
            continue
        if row.bound is not None or not row.peers:
            larger = row.measure == "cores_used"
            kept = row.bound is None or (medians[mine] >= row.bound if larger else medians[mine] <= row.bound)
            goal = "" if row.bound is None else f"{row.bound:g}"
            table.row(label, mine, show(medians[mine]), "", "", "", goal, "" if kept else "MISSED")
            label = ""
        for peer, goal_ in row.peers.items():
            if peer not in medians:
                continue
            ratio = medians[peer] / medians[mine] if row.unit else medians[mine] / max(medians[peer], 1e-9)
            if row.measure == "idle_share":
                table.row(label, mine, show(medians[mine]), peer, show(medians[peer]), "", "", "")
                continue
            missed = goal_ is not None and ratio < goal_
            table.row(
                label, mine, show(medians[mine]), peer, show(medians[peer]), _table.ratio(ratio),
                "" if goal_ is None else f"{goal_:g}", "MISSED" if missed else "",
            )  # fmt: skip
            label = ""
    if row.note:
        print(f"  ({row.note})")
    for name, why in measured["failures"].items():
        print(f"  {row.name}, {name} failed: {why}")


def print_flatness(measured: list[dict[str, Any]]) -> dict[str, float]:
    """Print how much the cost of a call depends on their number."""
    spans = {}
    for mine in (*OUR_PROCESSES, *OUR_THREADS):
        seen = [row["medians"][mine] for row in measured if not row["peers"] and mine in row["medians"]]
        if seen:
            spans[mine] = max(seen) / min(seen)
            missed = "  MISSED" if spans[mine] > 1.5 else ""
            print(f"dearest over cheapest call, {mine}: {spans[mine]:.2f} (goal at most 1.5){missed}")
    return spans


def main() -> int:
    """Run the bench; 1 if one of ours failed somewhere, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="rows whose section and name contain this"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measurements of each figure (default 3)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer calls for slow peers (the default)")
    size.add_argument("--full", action="store_true", help="as many calls for slow peers as for ours: half an hour")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    rows = [
        row
        for row in (*_process_rows(), *_thread_rows(), *_scale_rows())
        if (not options.only or any(word in f"{row.section}: {row.name}" for word in options.only))
        and (not row.needs or _table.version(row.needs))
    ]
    if not rows or options.rounds < 1:
        parser.error("no such row" if not rows else "--rounds must be at least 1")
    _table.print_machine()
    print(f"time of a call, medians of {options.rounds}, each in a fresh process; ratio: peer's over ours")
    begun = time.perf_counter()
    table, section = _table.Table(_COLUMNS), ""
    measured = []
    with _fresh.private_cache():
        for row in rows:
            if row.section != section:
                section = row.section
                print(f"\n{section}")
                table.head()
            measured.append(measure(row, options.rounds, quick=not options.full))
            print_row(table, row, measured[-1])
    print()
    spans = print_flatness(measured)
    print(f"the bench took {time.perf_counter() - begun:.0f} s")
    if options.json:
        figures = {"machine": _table.machine(), "rounds": options.rounds, "rows": measured, "flatness": spans}
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return int(any(mine in row["failures"] for row in measured for mine in row["ours"]))


if __name__ == "__main__" and not _fresh.answering(answer):
    sys.exit(main())
