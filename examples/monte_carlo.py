"""Estimate pi by throwing darts, each batch with a seed of its own."""

import random

from _timing import compare, size

DARTS = 20_000


def hits(seed: int) -> int:
    """Darts of a batch that hit the quarter of a circle."""
    darts = random.Random(seed)
    return sum(darts.random() ** 2 + darts.random() ** 2 < 1.0 for _ in range(DARTS))


batches = size(100)
print(f"pi is about {4 * sum(compare(hits, range(batches))) / (batches * DARTS):.4f}")
