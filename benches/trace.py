"""What a trace costs: the same calls of about 10 microseconds with and without `pointsman.trace`.

    python benches/trace.py [--rounds N] [--calls N] [--only inline|threads|processes|submit]

Each round runs every backend with and without, which take turns to be first; a ratio is that of the runs of one round,
and `median` is the median of those. `best` is the fastest run with over the fastest run without, which says more
on a machine that others use, too. The time with a trace includes beginning and ending it, and so the writing of the
file. `off` is the first of two runs without, over the second: what the comparison itself is worth.

What it does not know: how calls are recorded.

Invariants:
    T1. Workers are warm: each backend ran before.
    T2. Each run's results are compared with what they should be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import pointsman

if TYPE_CHECKING:
    from collections.abc import Callable


def call(loops: int) -> int:
    """Compute for some microseconds."""
    total = 0
    for number in range(loops):
        total += number
    return total


def loops_for(seconds: float) -> int:
    """How many loops last that long here."""
    loops = 100
    # A few hundred loops cost less each than ten thousand, whose sums are larger numbers.
    for _ in range(5):
        best = min(_timed(lambda: call(loops)) for _ in range(300))  # noqa: B023 - called at once
        loops = max(1, round(loops * seconds / best))
    return loops


def _timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def ways(items: list[int]) -> dict[str, Callable[[], list[int]]]:
    """Each way to run the calls."""
    pool = pointsman.Executor(2, backend="threads")
    found: dict[str, Callable[[], list[int]]] = {
        name: lambda name=name, more=more: pointsman.execute(call, items, backend=name, **more)  # type: ignore[misc]
        for name, more in {"inline": {}, "threads": {"max_workers": 2}, "processes": {"max_workers": 2}}.items()
    }
    found["submit"] = lambda: [future.result() for future in [pool.submit(call, item) for item in items]]
    return found


def main() -> None:
    """Run the rounds and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    loops = loops_for(10e-6)
    items = [loops] * options.calls
    expected = [call(loops)] * options.calls
    each = min(_timed(lambda: call(loops)) for _ in range(300))
    print(f"{options.calls} calls of {each * 1e6:.1f} us, {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.json")  # noqa: PTH118 - a bench of speed, not of style

        def plain(way: Callable[[], list[int]]) -> float:
            began = perf_counter()
            got = way()
            took = perf_counter() - began
            assert got == expected
            return took

        def traced(way: Callable[[], list[int]]) -> float:
            began = perf_counter()
            with pointsman.trace(path) as trace:
                got = way()
            took = perf_counter() - began
            assert got == expected
            assert trace.calls >= options.calls
            return took

        chosen = {name: way for name, way in ways(items).items() if not options.only or name in options.only}
        costs: dict[str, list[float]] = {name: [] for name in chosen}
        fastest = {name: (float("inf"), float("inf")) for name in chosen}
        noise: dict[str, list[float]] = {name: [] for name in chosen}
        for way in chosen.values():
            traced(way)
        for number in range(options.rounds):
            for name, way in chosen.items():
                if number % 2:
                    first, with_it, second = plain(way), traced(way), plain(way)
                else:
                    with_it, first, second = traced(way), plain(way), plain(way)
                costs[name].append(with_it / ((first + second) / 2))
                noise[name].append(first / second)
                with_best, best = fastest[name]
                fastest[name] = min(with_best, with_it), min(best, first, second)
    print(f"{'traced/not':<12}{'median':>8}{'best':>8}{'off':>8}")
    for name in chosen:
        with_best, best = fastest[name]
        print(f"{name:<12}{median(costs[name]):>8.3f}{with_best / best:>8.3f}{median(noise[name]):>8.3f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
