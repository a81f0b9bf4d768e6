"""Compares the automatic choice with the best fixed one.

Runs everyday workloads under `pointsman.execute` and under fixed choices, and prints seconds, the regret (pointsman's
seconds over those of the best fixed choice), what was decided, and how true its prediction was. Run it alone on the
machine:

    python benches/decision.py [--only NAME] [--rounds N] [--peers] [--json FILE]

What it does not know: how pointsman decides.

Invariants:
    D1. Every measurement runs in a fresh process, and the strategies take turns, so that each pays its own start-up
        and what else the machine does falls on all. A figure is the median over the rounds.
    D2. The clock runs from the call until all results are there: imports and inputs are made before it starts, pools
        are started under it, and nobody's shutdown is timed.
    D3. A result that differs from the plain loop's is a failure, whatever its speed.
    D4. A fixed choice that takes far longer than the plain loop is cut short: it cannot be the best. pointsman is not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _fresh
import _table
from _workloads import WORKLOADS, Place, Workload, everyday

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Run = Callable[[contextlib.ExitStack], tuple[Iterable[Any], dict[str, Any]]]

OURS, LOOP = "pointsman", "loop"
GOALS = "goals: geometric mean 1.15, then 0.90; worst 1.60, then 1.20; where the loop is best 1.05 of it or 2 ms"
# Beyond this many times the plain loop a fixed choice is cut short. Arbitrary: any above 1 leaves the best unchanged.
_HOPELESS = 3.0
_START = 4.0
# Seconds after which a measurement counts as hung.
_HUNG = 120.0


# ----------------------------------------------------------------------------------- the strategies


def _ours(function: Callable[[Any], Any], data: Iterable[Any], _calls: int) -> Run:
    from pointsman import execute

    def run(_stack: contextlib.ExitStack) -> tuple[Iterable[Any], dict[str, Any]]:
        results, plan = execute(function, data, return_optimization_result=True)
        return results, {"plan": plan}

    return run


def _loop(function: Callable[[Any], Any], data: Iterable[Any], _calls: int) -> Run:
    return lambda _stack: ([function(item) for item in data], {})


def _threads(count: int) -> Callable[[Callable[[Any], Any], Iterable[Any], int], Run]:
    def prepare(function: Callable[[Any], Any], data: Iterable[Any], _calls: int) -> Run:
        from concurrent.futures import ThreadPoolExecutor

        def run(stack: contextlib.ExitStack) -> tuple[Iterable[Any], dict[str, Any]]:
            return list(stack.enter_context(ThreadPoolExecutor(count)).map(function, data)), {}

        return run

    return prepare


def _processes(function: Callable[[Any], Any], data: Iterable[Any], calls: int) -> Run:
    from concurrent.futures import ProcessPoolExecutor

    cores = _table.cores()

    def run(stack: contextlib.ExitStack) -> tuple[Iterable[Any], dict[str, Any]]:
        pool = stack.enter_context(ProcessPoolExecutor(cores))
        return list(pool.map(function, data, chunksize=math.ceil(calls / (4 * cores)))), {}

    return run


def _joblib(function: Callable[[Any], Any], data: Iterable[Any], _calls: int) -> Run:
    from joblib import Parallel, delayed

    return lambda _stack: (Parallel(n_jobs=-1)(delayed(function)(item) for item in data), {})


def _mpire(function: Callable[[Any], Any], data: Iterable[Any], calls: int) -> Run:
    from mpire.pool import WorkerPool

    def run(stack: contextlib.ExitStack) -> tuple[Iterable[Any], dict[str, Any]]:
        pool = stack.enter_context(WorkerPool(n_jobs=_table.cores()))
        return pool.map(function, data, iterable_len=calls), {}

    return run


FIXED = {
    LOOP: _loop,
    "threads 2": _threads(2),
    "threads 8": _threads(8),
    "threads 32": _threads(32),
    "processes": _processes,
}
PEERS = {"joblib": _joblib, "mpire": _mpire}
STRATEGIES = {OURS: _ours, **FIXED, **PEERS}


# ----------------------------------------------------------------------------------- one measurement


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Run one workload under one strategy, in a process of its own."""
    workload = WORKLOADS[question["workload"]]
    function, data = workload.prepare(Place(**question["place"]))
    run = STRATEGIES[question["strategy"]](function, data, workload.calls)
    with contextlib.ExitStack() as stack:
        begun = time.perf_counter()
        results, told = run(stack)
        seconds = time.perf_counter() - begun
        plan = told.get("plan")
        return {"seconds": seconds, "digest": _digest(results), "plan": _figures(plan) if plan is not None else None}


def _digest(results: Iterable[Any]) -> list[int]:
    """Give the number of results, and a checksum for each thousandth part of them (for each, where they are few)."""
    checks = [zlib.crc32(result if isinstance(result, bytes) else repr(result).encode()) for result in results]
    width = max(1, len(checks) // 1000)
    parts = (checks[start : start + width] for start in range(0, len(checks), width))
    return [len(checks), *(part[0] if width == 1 else zlib.crc32(repr(part).encode()) for part in parts)]


def _figures(plan: Any) -> dict[str, Any]:
    """Give what a plan decided and predicted, and what became of it: both figures are about the time after it."""
    shape = f"{plan.processes}x{plan.threads_per_worker}" if plan.backend == "processes" else str(plan.max_workers)
    seen = plan.observation
    return {
        "backend": "inline" if plan.backend == "inline" else f"{plan.backend} {shape}",
        "predicted": plan.estimated_seconds,
        "actual": plan.actual.after_decision if plan.actual is not None else None,
        "observation": seen.as_dict() if seen is not None else None,
        "candidates": [candidate.as_dict() for candidate in plan.candidates],
        "reasons": list(plan.reasons),
    }


# ----------------------------------------------------------------------------------- one workload


def measure(name: str, strategies: list[str], place: Place, rounds: int) -> dict[str, Any]:
    """Measure one workload under all strategies, in turn."""
    taken: dict[str, list[float]] = {strategy: [] for strategy in strategies}
    notes: dict[str, str] = {}
    plans: list[dict[str, Any]] = []
    expected: list[int] = []
    for round_ in range(rounds):
        # The plain loop goes first in the first round: it says when the others are hopeless, and what is right.
        order = [LOOP, *(s for s in strategies if s != LOOP)]
        order = order[round_:] + order[:round_] if round_ else order
        for strategy in order:
            if strategy in notes:
                continue
            limit = _HUNG
            if strategy not in (OURS, LOOP):
                limit = _START + _HOPELESS * max(taken[LOOP])
            question = {"workload": name, "strategy": strategy, "place": vars(place)}
            got = _fresh.ask(__file__, question, limit)
            if "complaint" in got:
                print(f"! {name}, {strategy}: {got['complaint']}", flush=True)
            if got.get("failed") or (expected and got["digest"] != expected):
                notes[strategy] = _why(strategy, got, limit, expected)
                continue
            if strategy == LOOP:
                expected = got["digest"]
            taken[strategy].append(got["seconds"])
            if got["plan"] is not None:
                plans.append({**got["plan"], "seconds": got["seconds"]})
    return _summary(name, taken, notes, plans)


def _why(strategy: str, got: dict[str, Any], limit: float, expected: list[int]) -> str:
    if not got.get("failed"):
        planned = f" (plan: {got['plan']['backend']})" if got["plan"] else ""
        return _difference(got["digest"], expected) + planned
    if got.get("late") and strategy != OURS:
        return f"over {limit:.0f} s"
    return str(got["failed"])


def _difference(found: list[int], expected: list[int]) -> str:
    if found[0] != expected[0]:
        return f"WRONG: {found[0]} results instead of {expected[0]}"
    wrong = [part for part, (a, b) in enumerate(zip(found[1:], expected[1:], strict=True)) if a != b]
    return f"WRONG: {len(wrong)} of {len(found) - 1} parts of the results differ, the first is number {wrong[0]}"


def _summary(name: str, taken: dict[str, list[float]], notes: dict[str, str], plans: list[Any]) -> dict[str, Any]:
    medians = {strategy: _table.median(values) for strategy, values in taken.items() if values}
    fixed = {strategy: value for strategy, value in medians.items() if strategy in FIXED}
    best = min(fixed, key=fixed.__getitem__)
    ours = medians.get(OURS)
    # The run whose seconds are the median stands for the others.
    plan = min(plans, key=lambda run: abs(run["seconds"] - (ours or 0.0))) if plans else None
    return {
        "name": name,
        "seconds": taken,
        "medians": medians,
        "notes": notes,
        "best": best,
        "regret": ours / fixed[best] if ours else None,
        "excess": ours - fixed[LOOP] if ours else None,
        "plan": plan,
        "backends": sorted({run["backend"] for run in plans}),
    }


# ----------------------------------------------------------------------------------- printing


def heading(strategies: list[str]) -> _table.Table:
    """Make the table, with a column for each strategy."""
    widths = [("workload", -25), *((strategy, max(9, len(strategy))) for strategy in strategies)]
    return _table.Table([*widths, ("regret", 7), ("decided", -16), ("predicted", 10), ("actual", 9)])


def print_row(table: _table.Table, row: dict[str, Any], strategies: list[str]) -> None:
    """Print a workload's figures; the best fixed choice has a star."""
    cells = []
    for strategy in strategies:
        star = "*" if strategy == row["best"] else ""
        seen = row["medians"].get(strategy)
        note = row["notes"].get(strategy, "")
        cells.append(star + _table.seconds(seen) if seen is not None else (note if len(note) < 10 else "failed"))
    plan = row["plan"] or {"backend": "-", "predicted": None, "actual": None}
    regret = "-" if row["regret"] is None else _table.ratio(row["regret"])
    shown = _table.seconds(plan["predicted"]), _table.seconds(plan["actual"])
    table.row(row["name"], *cells, regret, plan["backend"], *shown)
    if len(row["backends"]) > 1:
        print(f"  decided differently in other rounds: {', '.join(row['backends'])}")
    for strategy, note in row["notes"].items():
        if not note.startswith("over "):
            print(f"  {strategy}: {note}")


def print_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the figures over all workloads, and give them back."""
    regrets = {row["name"]: row["regret"] for row in rows if row["regret"] is not None}
    if not regrets:
        return {}
    worst = max(regrets, key=regrets.__getitem__)
    summary: dict[str, Any] = {"regret": _table.geometric_mean(list(regrets.values())), "worst": regrets[worst]}
    print(f"\nregret of pointsman: geometric mean {summary['regret']:.2f}, worst {regrets[worst]:.2f} ({worst})")
    print(GOALS)
    slower = [
        f"{row['name']} ({_table.ratio(row['regret'])}, {_table.seconds(row['excess'])} more)"
        for row in rows
        if row["regret"] and row["best"] == LOOP and row["excess"] > max(2e-3, 0.05 * row["medians"][LOOP])
    ]
    print(f"slower than a plain loop that is best: {', '.join(slower) or 'none'}")
    errors = [
        abs(plan["predicted"] / plan["actual"] - 1)
        for row in rows
        if (plan := row["plan"]) and plan["predicted"] and plan["actual"] and plan["actual"] > 0
    ]
    if errors:
        summary["prediction_error"] = _table.median(errors)
        print(f"error of the prediction: median {summary['prediction_error']:.0%} (goal 15%)")
    for strategy in (*FIXED, *PEERS):
        seen = [row["medians"][strategy] / row["medians"][row["best"]] for row in rows if strategy in row["medians"]]
        cut = sum(strategy in row["notes"] for row in rows)
        if seen:
            mean = _table.geometric_mean(seen)
            summary[strategy] = {"regret": mean, "worst": max(seen), "cut": cut}
            tail = f", {cut} cut short or failed and not counted" if cut else ""
            print(f"  always {strategy}: geometric mean {mean:.2f}, worst {_table.ratio(max(seen))}{tail}")
    return summary


# ----------------------------------------------------------------------------------- all of it


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Provide the server, in a process of its own, and the database."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        everyday("database.fill")(str(Path(folder, "bench.db")))
        script = str(Path(__file__).with_name("_workloads.py"))
        with subprocess.Popen(  # noqa: S603 - this interpreter, our own script
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                yield Place(port=int(server.stdout.readline()), folder=folder)
            finally:
                server.stdin.close()
                server.stdout.close()


def chosen(only: list[str]) -> dict[str, Workload]:
    """Select the workloads whose names contain one of the words."""
    return {name: w for name, w in WORKLOADS.items() if not only or any(word in name for word in only)}


def main() -> int:
    """Run the bench; 1 if pointsman failed somewhere, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="workloads whose name contains this"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measurements of each figure (default 3)")
    parser.add_argument("--peers", action="store_true", help="joblib's default and mpire, too")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    workloads = chosen(options.only)
    if not workloads or options.rounds < 1:
        parser.error("no such workload" if not workloads else "--rounds must be at least 1")
    strategies = [OURS, *FIXED, *(PEERS if options.peers else ())]
    _table.print_machine()
    print(f"seconds: medians of {options.rounds}, each in a fresh process; * is the best fixed choice\n")
    table = heading(strategies)
    table.head()
    begun = time.perf_counter()
    rows = []
    with _fresh.private_cache(), place() as here:
        for name in workloads:
            rows.append(measure(name, strategies, here, options.rounds))
            print_row(table, rows[-1], strategies)
    summary = print_summary(rows)
    print(f"the bench took {time.perf_counter() - begun:.0f} s")
    if options.json:
        figures = {"machine": _table.machine(), "rounds": options.rounds, "summary": summary, "workloads": rows}
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return int(any(OURS in row["notes"] for row in rows))


if __name__ == "__main__" and not _fresh.answering(answer):
    sys.exit(main())
