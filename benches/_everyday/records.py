"""Work on records: named tuples and dataclasses, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Row(NamedTuple):
    """A line of a table."""

    number: int
    name: str
    price: float
    pieces: int
    tags: list[str]


def summary(row: Row) -> tuple[int, str, float, str]:
    """Take a microsecond or two for a row."""
    return row.number, row.name.title(), round(row.price * row.pieces * 1.19, 2), ",".join(sorted(row.tags))


def rows(count: int) -> list[Row]:
    """Give rows, different ones."""
    return [Row(i, f"customer name {i}", i / 7, i % 13, [f"b{i % 5}", "a", "c"]) for i in range(count)]


@dataclass
class Particle:
    """A point that moves."""

    x: float
    y: float
    path: list[tuple[float, float]] = field(default_factory=list)


def move(particle: Particle) -> Particle:
    """Take some 300 us for a new particle."""
    x, y = particle.x, particle.y
    path = []
    for step in range(1, 1_500):
        x, y = x + y / step, y - x / step
        if step % 100 == 0:
            path.append((x, y))
    return Particle(x, y, path)


def particles(count: int) -> list[Particle]:
    """Give particles, different ones."""
    return [Particle(i / 7, i / 11) for i in range(count)]
