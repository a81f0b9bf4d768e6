"""Fit a line to every group of a pandas table, and read the tables of many files."""

import math
import tempfile
from pathlib import Path

import pandas as pd
from _timing import compare, size


def theil_sen(group: tuple[str, pd.DataFrame]) -> tuple[str, float]:
    """The median slope over all pairs of points: robust, and a loop in Python."""
    name, table = group
    points = list(zip(table["day"], table["price"], strict=True))
    slopes = sorted((q - p) / (b - a) for i, (a, p) in enumerate(points) for b, q in points[i + 1 :])
    return name, slopes[len(slopes) // 2]


def daily_means(path: Path) -> pd.Series:
    """Read one file and reduce it: a small result travels, the table does not."""
    return pd.read_csv(path).groupby("shop")["price"].mean().round(6)


def prices(shops: int, days: int) -> pd.DataFrame:
    """A table with a price for each shop and day."""
    rows = [
        (f"shop {shop}", day, 10 + shop * 0.01 * day + math.sin(day * (shop + 1)))
        for shop in range(shops)
        for day in range(days)
    ]
    return pd.DataFrame(rows, columns=["shop", "day", "price"])


shops = size(60)
# Iterating over a groupby gives pairs of a name and a table: they are the inputs.
slopes = dict(compare(theil_sen, [*prices(shops, 250).groupby("shop")]))
print(f"steepest: {max(slopes, key=lambda shop: slopes[shop])}")

with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, f"day-{number}.csv") for number in range(shops)]
    for number, path in enumerate(paths):
        prices(20, 200 + number).to_csv(path, index=False)
    # Series do not compare to one truth value, so the results are held against the loop's as dictionaries.
    means = compare(lambda path: daily_means(path).to_dict(), paths)
print(f"{len(means)} files, mean of the first shop in the first: {means[0]['shop 0']:.3f}")
