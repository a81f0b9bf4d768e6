"""Measures what work stealing buys on uneven work.

The same calls on four threads in three ways: one queue for all threads, a queue for each thread with stealing, and a
fixed share for each thread. Calls wait (they sleep), so that threads and not cores are what is short:

    python benches/stealing.py [--rounds N] [--json FILE]

Three kinds of work: *flat* (submitted from outside, every eighth call 20 times as long as the others), *sorted* (the
long ones all in the first thread's share), and *tree* (each call submits two smaller ones, from inside).

What it does not know: how the schedulers work.

Invariants:
    S1. The contenders take turns, in one process; a figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import wait
from pathlib import Path

import _table

import pointsman

THREADS = 4
SHORT, LONG = 0.0005, 0.010


def flat() -> list[float]:
    """Every eighth call is a long one."""
    return [LONG if n % 8 == 0 else SHORT for n in range(240)]


def ordered() -> list[float]:
    """The long ones come first."""
    return sorted(flat(), reverse=True)


def calls(executor: pointsman.Executor, seconds: list[float]) -> None:
    """Submit each call by itself."""
    wait([executor.submit(time.sleep, one) for one in seconds])


def shares(executor: pointsman.Executor, seconds: list[float]) -> None:
    """Give each thread a fixed share, as a pool without stealing or a common queue would."""
    size = -(-len(seconds) // THREADS)
    parts = [seconds[at : at + size] for at in range(0, len(seconds), size)]
    wait([executor.submit(lambda part=part: [time.sleep(one) for one in part]) for part in parts])


def tree(executor: pointsman.Executor, depth: int = 7) -> None:
    """Let calls submit calls; the largest part is the oldest."""
    leaves: list[object] = []

    def branch(left: int) -> None:
        time.sleep(SHORT)
        if left:
            leaves.extend(executor.submit(branch, left - 1) for _ in range(2))

    executor.submit(branch, depth).result()
    while len(leaves) < 2 ** (depth + 1) - 2:
        time.sleep(SHORT / 10)
    wait(leaves)  # type: ignore[arg-type]


def _timed(work: object, *args: object) -> float:
    begun = time.perf_counter()
    work(*args)  # type: ignore[operator]
    return time.perf_counter() - begun


def main() -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    rounds, medians = options.rounds, {}
    with (
        pointsman.Executor(THREADS) as common,
        pointsman.Executor(THREADS, scheduler=pointsman.WorkStealingScheduler()) as stealing,
    ):
        contenders = {
            "flat": {
                "one queue": (calls, common, flat()),
                "stealing": (calls, stealing, flat()),
                "fixed shares": (shares, common, flat()),
            },
            "sorted": {
                "one queue": (calls, common, ordered()),
                "stealing": (calls, stealing, ordered()),
                "fixed shares": (shares, common, ordered()),
            },
            "tree": {"one queue": (tree, common), "stealing": (tree, stealing)},
        }
        print(f"milliseconds on {THREADS} threads, medians of {rounds}")
        for work, ways in contenders.items():
            figures: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    figures[name].append(_timed(*way))
            medians[work] = {name: _table.median(taken) for name, taken in figures.items()}
            shown = (f"{name} {1000 * seconds:.1f}" for name, seconds in medians[work].items())
            print(f"{work:8}", ",  ".join(shown), flush=True)
    if options.json:
        text = json.dumps({"machine": _table.machine(), "rounds": rounds, "works": medians}, indent=1)
        Path(options.json).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
