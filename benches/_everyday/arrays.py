"""Work on numpy arrays."""

from __future__ import annotations

import numpy as np

_SIDE = 600
_LENGTH = 1_000_000


def matmul(seed: int) -> float:
    """Multiply two matrices; the BLAS may use threads of its own."""
    a = np.full((_SIDE, _SIDE), 1.0 + seed)
    return float((a @ a)[0, 0])


def elementwise(seed: int) -> float:
    """Sine of 8 MB; fresh temporaries, so it is bound by page faults and memory as much as by the CPU."""
    return round(float(np.sin(np.arange(_LENGTH, dtype=np.float64) + seed).sum()), 6)


def small_arrays(seed: int) -> float:
    """Many operations on small arrays, which hold the GIL."""
    a = np.arange(16.0) + seed
    total = 0.0
    for _ in range(1200):
        total += float((a * a)[3])
    return total


def tiny_array(array: np.ndarray) -> float:
    """Take some microseconds for one small array."""
    return float((array * 2 + 1).sum())


def total(array: np.ndarray) -> float:
    """Sum a large argument, several times."""
    return float(sum(np.sqrt(array).sum() for _ in range(5)))


def arrays(count: int) -> list[np.ndarray]:
    """Give 8 MB arrays, different ones."""
    return [np.full(_LENGTH, float(i % 7)) for i in range(count)]


def tiny_arrays(count: int) -> list[np.ndarray]:
    """Give arrays of 800 bytes, different ones."""
    return [np.arange(100.0) + i for i in range(count)]
