"""Times a job beside its plain loop. Does not know what the job does."""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pointsman

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def size(default: int) -> int:
    """Read `--size` of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=default, help=f"inputs (default {default})")
    return int(parser.parse_args().size)


def compare(function: Callable[[Any], Any], data: Sequence[Any]) -> list[Any]:
    """Run the job by pointsman and by a plain loop, print what both took, and return the results."""
    began = perf_counter()
    results, plan = pointsman.execute(function, data, return_optimization_result=True)
    ours = perf_counter() - began
    began = perf_counter()
    alone = [function(item) for item in data]
    loop = perf_counter() - began
    if results != alone:
        message = "the results differ from those of the plain loop"
        raise AssertionError(message)
    print(f"pointsman   {ours:8.3f} s  ({plan.backend}, {plan.max_workers} at a time)")
    print(f"plain loop  {loop:8.3f} s")
    return list(results)
