"""Sweep a simulation over its parameter: how the share of predators settles in a small ecosystem."""

from _timing import compare, size

STEPS = 4000


def predators(appetite: float) -> float:
    """Mean number of predators over the second half of the simulated time."""
    prey, hunters, total = 10.0, 5.0, 0.0
    for step in range(STEPS):
        eaten = appetite * prey * hunters
        prey += 0.005 * (1.1 * prey - eaten)
        hunters += 0.005 * (0.1 * eaten - 0.4 * hunters)
        if step >= STEPS // 2:
            total += hunters
    return total / (STEPS - STEPS // 2)


count = size(200)
appetites = [0.2 + 0.4 * number / count for number in range(count)]
means = compare(predators, appetites)
most = max(range(count), key=means.__getitem__)
print(f"most predators ({means[most]:.2f}) at an appetite of {appetites[most]:.3f}")
