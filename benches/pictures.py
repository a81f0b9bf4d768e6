"""Measures what the pictures of the documentation show: the GIL, memory, the life of a future, four ways to wait.

    python benches/pictures.py [--rounds N] [--short] [--json FILE]

What it does not know: how anything is drawn.

Invariants:
    P1. Pools are the standard library's unless a row says otherwise: the pictures explain Python, not us.
    P2. Every measurement of seconds is the median over the rounds, pools warm; a time line is one real run, the last.
    P3. Memory is counted once where processes share it (the proportional set size of Linux), workers and all.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import _fresh
import _table

import pointsman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS = 8
DATA = bytes(range(256)) * 8192


def held(_n: int) -> int:
    """Compute in Python: the GIL is held."""
    total = 0
    for number in range(600_000):
        total += number * number % 7
    return total


def free(_n: int) -> int:
    """Compute in C: hashlib gives the GIL away."""
    return sum(hashlib.sha256(DATA).digest()[0] for _ in range(24))


def waits(_n: int) -> int:
    """Wait, as for an answer of another machine."""
    time.sleep(0.05)
    return 0


WORKS: dict[str, Callable[[int], int]] = {"computes in Python": held, "computes in C": free, "waits": waits}


# ----------------------------------------------------------------------------------- what the GIL does


def together(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of eight calls, one after the other and in pools of two and eight workers."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, list[float]]] = {work: {} for work in WORKS}
    with (
        ThreadPoolExecutor(2) as two,
        ThreadPoolExecutor(CALLS) as eight,
        ProcessPoolExecutor(2, mp_context=context) as processes,
    ):
        ways: dict[str, Callable[[Any], object]] = {
            "plain loop": lambda work: [work(n) for n in range(CALLS)],
            "2 threads": lambda work: list(two.map(work, range(CALLS))),
            "8 threads": lambda work: list(eight.map(work, range(CALLS))),
            "2 processes": lambda work: list(processes.map(work, range(CALLS))),
            "pointsman.execute": lambda work: pointsman.execute(work, range(CALLS)),
        }
        for round_ in range(rounds + 1):
            for name, work in WORKS.items():
                for way, run in ways.items():
                    begun = perf_counter()
                    run(work)
                    # The first round starts the pools.
                    if round_:
                        found[name].setdefault(way, []).append(perf_counter() - begun)
    return {name: {way: _table.median(taken) for way, taken in ways.items()} for name, ways in found.items()}


def steps(until: float, out: Any) -> None:
    """Compute in short steps until then, and note when each began."""
    seen = []
    while (now := perf_counter()) < until:
        seen.append(now)
        for _ in range(1500):
            pass
    out(seen)


def _slices(stamps: list[float], begin: float) -> list[tuple[float, float]]:
    """The spans of time in which a worker got on: a gap of many steps is time without the GIL or a core."""
    gaps = sorted(after - before for before, after in itertools.pairwise(stamps))
    usual = gaps[len(gaps) // 2] if gaps else 0.0
    spans: list[list[float]] = []
    for stamp in stamps:
        if spans and stamp - spans[-1][1] < 8 * usual + 0.0004:
            spans[-1][1] = stamp
        else:
            spans.append([stamp, stamp])
    return [(a - begin, b + usual - begin) for a, b in spans if b > a]


def time_lines(seconds: float = 0.08) -> dict[str, list[list[tuple[float, float]]]]:
    """When two workers got on with computing in Python, as threads and as processes."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    rows: list[list[float]] = []
    begin = perf_counter() + 0.02
    workers = [threading.Thread(target=_from, args=(begin, begin + seconds, rows.append)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found["threads"] = [_slices(row, begin) for row in rows]
    context = multiprocessing.get_context("spawn")
    results: Any = context.SimpleQueue()
    begin = perf_counter() + 1.5
    children = [context.Process(target=_from, args=(begin, begin + seconds, results.put)) for _ in range(2)]
    for child in children:
        child.start()
    rows = [results.get() for _ in children]
    for child in children:
        child.join()
    found["processes"] = [_slices(row, begin) for row in rows]
    return found


def _from(begin: float, until: float, out: Any) -> None:
    while perf_counter() < begin:
        time.sleep(0.0005)
    steps(until, out)


# ----------------------------------------------------------------------------------- memory


def memory(question: dict[str, Any]) -> dict[str, Any]:
    """Bytes of this process and its children with so many workers of a kind, in a process of its own."""
    kind, workers = question["kind"], question["workers"]
    data = bytearray(os.urandom(1 << 20) * 100) if question["data"] else None
    gate = threading.Barrier(workers + 1)
    if kind == "threads":
        pool: Any = ThreadPoolExecutor(workers)
        done = [pool.submit(_look, data, gate) for _ in range(workers)]
        gate.wait()
    elif kind == "pointsman processes":
        pool = pointsman.Executor(workers, backend="processes")
        done = [pool.submit(_hold, data) for _ in range(workers)]
    else:
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        done = [pool.submit(_hold, data) for _ in range(workers)]
    for future in done:
        future.result()
    return {"bytes": _size()}


def _look(data: Any, gate: threading.Barrier) -> int:
    gate.wait()
    return _hold(data)


_kept: list[Any] = []


def _hold(data: Any) -> int:
    """Keep what came, as a worker does that computes with it, and stay for long enough that every worker gets one."""
    _kept.append(data)
    time.sleep(0.6)
    return len(data or b"")


def _size() -> int:
    """Bytes of this process and all below it, each shared page counted once."""
    total = 0
    for pid in (os.getpid(), *_below(os.getpid())):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total


def _below(pid: int) -> Iterator[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    for child, parent in parents.items():
        above: int | None = parent
        while above:
            if above == pid:
                yield child
                break
            above = parents.get(above)


def memories(*, short: bool) -> dict[str, dict[str, int]]:
    """Bytes by kind of worker and their number, without data and with 100 MB that every worker looks at."""
    if not Path("/proc/self/smaps_rollup").exists():
        print("SKIPPED: memory (this system has no smaps_rollup)")
        return {}
    found: dict[str, dict[str, int]] = {}
    for data in (False, True):
        for kind in ("threads", "processes") if data else ("threads", "processes", "pointsman processes"):
            name = f"{kind}, 100 MB" if data else kind
            for workers in (2,) if short else (1, 2, 4, 8):
                got = _fresh.ask(__file__, {"kind": kind, "workers": workers, "data": data}, 120.0)
                if got.get("failed"):
                    print(f"! memory of {workers} {name}: {got['failed']}")
                    continue
                found.setdefault(name, {})[str(workers)] = got["bytes"]
    return found


# ----------------------------------------------------------------------------------- futures


def life(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds from the submit of a call of 20 ms until it began, ended, and its result was there."""
    found = {}
    for kind in ("threads", "processes"):
        with pointsman.Executor(2, backend=kind) as executor:
            executor.submit(_stamped, 0.0).result()
            runs = []
            for _ in range(max(5, 4 * rounds)):
                submitted = perf_counter()
                future = executor.submit(_stamped, 0.02)
                handed = perf_counter()
                began, ended = future.result()
                runs.append([handed - submitted, began - submitted, ended - submitted, perf_counter() - submitted])
        names = ("submit returns", "begins", "ends", "result")
        found[kind] = {name: _table.median(run[at] for run in runs) for at, name in enumerate(names)}
    return found


def _stamped(seconds: float) -> tuple[float, float]:
    began = perf_counter()
    time.sleep(seconds)
    return began, perf_counter()


LENGTHS = (0.09, 0.03, 0.06, 0.02, 0.05, 0.03)


def patterns() -> dict[str, dict[str, Any]]:
    """When six calls ran on two threads, and when the program had each result, in four ways of asking for them."""

    def call(number: int) -> tuple[int, str, float, float]:
        began = perf_counter()
        time.sleep(LENGTHS[number])
        return number, threading.current_thread().name, began, perf_counter()

    numbers = range(len(LENGTHS))

    def one_by_one(pool: Any) -> Iterator[Any]:
        for number in numbers:
            yield pool.submit(call, number).result()

    def all_then_all(pool: Any) -> Iterator[Any]:
        for future in [pool.submit(call, number) for number in numbers]:
            yield future.result()

    def as_they_come(pool: Any) -> Iterator[Any]:
        for future in as_completed([pool.submit(call, number) for number in numbers]):
            yield future.result()

    ways = {
        "submit and wait": one_by_one, "submit all, get all": all_then_all, "as completed": as_they_come,
        "map": lambda pool: pool.map(call, numbers),
    }  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        with pointsman.Executor(2) as pool:
            list(pool.map(time.sleep, [0.01, 0.01]))
            begun = perf_counter()
            rows = []
            for number, thread, began, ended in way(pool):
                got = perf_counter() - begun
                rows.append(
                    {"call": number, "thread": thread, "began": began - begun, "ended": ended - begun, "got": got}
                )
        threads = sorted({row["thread"] for row in rows})
        found[name] = {"calls": [{**row, "thread": threads.index(row["thread"])} for row in rows]}
    return found


def main() -> int:
    """Measure everything and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each figure (default 5)")
    parser.add_argument("--short", action="store_true", help="memory of two workers only")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    _table.print_machine()
    figures: dict[str, Any] = {"machine": _table.machine(), "calls": CALLS}
    figures["together"] = together(options.rounds)
    for work, ways in figures["together"].items():
        print(f"{work}: " + ", ".join(f"{way} {_table.seconds(value)}" for way, value in ways.items()))
    figures["time_lines"] = time_lines()
    for kind, rows in figures["time_lines"].items():
        print(f"two {kind} got on in {' and '.join(str(len(row)) for row in rows)} pieces")
    figures["memory"] = memories(short=options.short)
    for kind, sizes in figures["memory"].items():
        print(f"{kind}: " + ", ".join(f"{count}: {size / 1e6:.0f} MB" for count, size in sizes.items()))
    figures["life"] = life(options.rounds)
    for kind, moments in figures["life"].items():
        print(f"future on {kind}: " + ", ".join(f"{name} {_table.seconds(at)}" for name, at in moments.items()))
    figures["patterns"] = patterns()
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__" and not _fresh.answering(memory):
    sys.exit(main())
