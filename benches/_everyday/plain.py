"""Work that imports next to nothing: computing in pure Python, sleeping, and calls that cost only their way."""

from __future__ import annotations

import functools
import time
from typing import Any

# Steps of `crunch` in a millisecond, roughly, on the machine on which the sizes were chosen.
STEPS = 20_000


def crunch(steps: int) -> int:
    """Compute in pure Python."""
    total = 0
    for i in range(steps):
        total += i * i % 7
    return total


def tiny(x: int) -> int:
    """Do next to nothing."""
    return x * x + 1


def small(x: int) -> int:
    """Compute for some 20 us."""
    return crunch(400) + x


def sleep(x: int) -> int:
    """Wait for 10 ms."""
    time.sleep(0.01)
    return x


def half_and_half(x: int) -> int:
    """Compute for 5 ms and wait for 5 ms."""
    total = crunch(5 * STEPS)
    time.sleep(0.005)
    return total + x


def computes_later(x: int) -> int:
    """Wait at the beginning of the list, compute further on."""
    if x < 20:
        time.sleep(0.005)
        return x
    return crunch(4 * STEPS) + x


def dear_later(x: int) -> int:
    """Cost nothing at the beginning of the list, much further on."""
    return crunch(20 if x < 4_000 else 4 * STEPS) + x


def mostly_computes(x: int) -> int:
    """Wait for 1 ms and compute for 9 ms."""
    time.sleep(0.001)
    return crunch(9 * STEPS) + x


def computes_then_waits(x: int) -> int:
    """Compute for 1 ms and wait for 4 ms."""
    total = crunch(STEPS)
    time.sleep(0.004)
    return total + x


def waits_later(x: int) -> int:
    """Compute at the beginning of the list, wait further on."""
    if x < 300:
        return crunch(STEPS) + x
    time.sleep(0.003)
    return x


def read_large(data: bytes) -> int:
    """Compute with a large argument."""
    return sum(data[::3])


def write_large(x: int) -> bytes:
    """Compute a large result."""
    return bytes([x % 251, crunch(4 * STEPS) % 251]) * 500_000


def identity(x: Any) -> Any:
    """Give back what came."""
    return x


def length(array: Any) -> int:
    """Take a large argument and look at its last element only."""
    return len(array) if array[-1] >= 0 else 0


@functools.cache
def _kept(count: int) -> Any:
    import numpy as np

    return np.ones(count)


def array_of(count: int) -> Any:
    """Give a large result that was there before."""
    return _kept(count)


def steps_10(x: int) -> int:
    """Compute for some 10 us."""
    return crunch(200) + x


def steps_50(x: int) -> int:
    """Compute for some 50 us."""
    return crunch(1000) + x


def steps_1000(x: int) -> int:
    """Compute for some 1 ms."""
    return crunch(20_000) + x
