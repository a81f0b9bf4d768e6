"""Search the best step and decay of a gradient descent: try every pair, keep the one with the least loss."""

import itertools
import random

from _timing import compare, size

POINTS = [(x / 50, 3.0 * x / 50 - 1.0 + random.Random(x).gauss(0, 0.1)) for x in range(50)]


def loss(parameters: tuple[float, float]) -> float:
    """What is left of the error after 200 rounds."""
    step, decay = parameters
    slope = offset = 0.0
    for _ in range(200):
        by_slope = by_offset = 0.0
        for x, y in POINTS:
            error = slope * x + offset - y
            by_slope += error * x
            by_offset += error
        slope -= step * by_slope / len(POINTS)
        offset -= step * by_offset / len(POINTS)
        step *= decay
    return sum((slope * x + offset - y) ** 2 for x, y in POINTS) / len(POINTS)


side = max(1, round(size(100) ** 0.5))
grid = list(itertools.product([0.02 * (i + 1) for i in range(side)], [1.0 - 0.002 * i for i in range(side)]))
losses = compare(loss, grid)
best = min(range(len(grid)), key=losses.__getitem__)
print(f"best of {len(grid)}: step {grid[best][0]:.2f}, decay {grid[best][1]:.3f}, loss {losses[best]:.4f}")
