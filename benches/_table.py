"""Figures as people read them: tables of plain text, seconds with a unit, medians and geometric means.

What it does not know: where the figures come from.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Describe what the figures were taken on."""
    names = ("pointsman", "joblib", "loky", "mpire", "numpy")
    return {
        "cores": cores(),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": _processor(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in names if (found := version(name))},
    }


def print_machine() -> None:
    """Print the machine in two lines."""
    facts = machine()
    print(f"{facts['cores']} cores ({facts['processor']}), CPython {facts['python']}, {facts['system']}")
    print(f"load before the start {facts['load']}; " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a pseudo-file
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"


def version(name: str) -> str | None:
    """Give the version that is installed, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def median(values: Iterable[float]) -> float:
    """Return the middle value, the mean of both if there are two."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def geometric_mean(values: Sequence[float]) -> float:
    """Return the mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def seconds(value: float | None) -> str:
    """Three digits and a unit."""
    if value is None:
        return "-"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns")):
        if value * factor >= 1.0 or unit == "ns":
            scaled = value * factor
            return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"
    raise AssertionError


def ratio(value: float) -> str:
    """Three digits."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


class Table:
    """Rows that are printed one by one, under a heading with columns of fixed width.

    Parameters
    ----------
    columns
        Heading and width in characters; a negative width aligns to the left.

    """

    def __init__(self, columns: Sequence[tuple[str, int]]) -> None:
        self._columns = columns

    def head(self) -> None:
        """Print the heading."""
        self.row(*(name for name, _ in self._columns))
        print("-" * (sum(abs(width) + 1 for _, width in self._columns) - 1))

    def row(self, *cells: str) -> None:
        """Print a row at once, so that a long run can be watched."""
        padded = (
            cell.ljust(-width) if width < 0 else cell.rjust(width)
            for cell, (_, width) in zip(cells, self._columns, strict=True)
        )
        print(" ".join(padded).rstrip(), flush=True)
