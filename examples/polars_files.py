"""Reduce many files with polars, and run a Python function over the groups of a table."""

import tempfile
from pathlib import Path

import polars as pl
from _timing import compare, size


def totals(path: Path) -> dict[str, float]:
    """Scan one file; polars computes without the GIL, on threads of its own, and the plan says so."""
    table = pl.scan_csv(path).group_by("kind").agg(pl.col("amount").sum()).sort("kind").collect()
    return dict(table.iter_rows())


def longest_run(group: tuple[tuple[object, ...], pl.DataFrame]) -> tuple[str, int]:
    """Find the longest time for which amounts only rose: a loop in Python, which polars has no expression for."""
    (kind, *_), table = group
    best = run = 0
    last = float("-inf")
    for amount in table["amount"]:
        run = run + 1 if amount > last else 1
        best, last = max(best, run), amount
    return str(kind), best


def table(rows: int, seed: int) -> pl.DataFrame:
    """A table of amounts of seven kinds."""
    return pl.DataFrame(
        {
            "kind": [f"kind {number % 7}" for number in range(rows)],
            "amount": [float((number * 7919 + seed) % 1009) for number in range(rows)],
        }
    )


files = size(40)
with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, f"part-{number}.csv") for number in range(files)]
    for number, path in enumerate(paths):
        table(20_000, number).write_csv(path)
    sums = compare(totals, paths)
print(f"{len(sums)} files, first: {sums[0]['kind 0']:.0f}")

runs = dict(compare(longest_run, [*table(5000 * files, 0).group_by("kind", maintain_order=True)]))
print(f"longest runs: {runs}")
