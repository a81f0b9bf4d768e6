"""Standard output and error of workers: whole lines, whatever their length, though many processes write to one pipe.

A pipe takes 4 KiB in one piece; pieces of longer lines mix with those of other processes. So each write holds a lock
that all workers of a program share, and a line is written at once.

Does not know what is written, or who reads it.

Invariants:
    L1. The lock belongs to the process and not to its memory: the system gives it back when the process dies.
    L2. A child that a worker forks has no lock that its parent holds.
    L3. That lock does not exclude threads of its own process: one of theirs lies around it. Whoever writes within a
        write on one thread, as a handler of a signal may, passes both.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from io import BufferedWriter, FileIO, TextIOWrapper
from time import sleep

from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from _typeshed import ReadableBuffer

# The longest line that is whole. Arbitrary: longer than anybody reads; memory is taken as it is filled.
_LONGEST = 1 << 20

# Seconds between two looks at a pipe that does not wait. Arbitrary.
_PAUSE = 0.001


class _Turn:
    """Which thread of this process writes, and how many writes it has begun, one within the other."""

    __slots__ = ("depth", "mutex")

    def __init__(self) -> None:
        self.mutex = RLock()
        self.depth = 0


class _Place:
    """A pipe or a file: the descriptor that is its lock, and whose turn it is."""

    __slots__ = ("lock", "turn")

    def __init__(self) -> None:
        self.lock = os.memfd_create("pointsman-streams")
        self.forked()

    def forked(self) -> None:
        """Let nobody wait for a thread that stayed in the parent (L2)."""
        self.turn = _Turn()


class _Shared(FileIO):
    """A descriptor that other processes write to as well."""

    def __init__(self, descriptor: int, place: _Place) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._place = place

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it while no other worker writes, and no other thread of this one."""
        lock, turn = self._place.lock, self._place.turn
        with turn.mutex:
            turn.depth += 1
            try:
                if turn.depth == 1:
                    # That of `fcntl` would have to be imported, which a handler of a signal may find half done.
                    os.lockf(lock, os.F_LOCK, 1)
                left = memoryview(data)
                while left:
                    written = super().write(left)
                    if written is None:
                        # A pipe that does not wait, and is full.
                        sleep(_PAUSE)
                    else:
                        left = left[written:]
            finally:
                turn.depth -= 1
                if turn.depth == 0:
                    os.lockf(lock, os.F_ULOCK, 1)
        return len(memoryview(data))


def share() -> None:
    """Have this process, and those forked from it, write whole lines."""
    places: dict[tuple[int, int], _Place] = {}
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            continue
        try:
            status = os.fstat(stream.fileno())
        except (OSError, ValueError):
            continue
        # Both may be one pipe.
        place = places.get((status.st_dev, status.st_ino))
        if place is None:
            try:
                place = places[status.st_dev, status.st_ino] = _Place()
            except OSError:
                # No descriptor is left: lines are as whole as the pipe keeps them.
                continue
        raw = _Shared(stream.fileno(), place)
        raw.name = f"<{name}>"
        shared = TextIOWrapper(
            BufferedWriter(raw, _LONGEST), stream.encoding, stream.errors, newline="\n", line_buffering=True
        )
        shared.mode = "w"  # type: ignore[misc]
        setattr(sys, name, shared)
        setattr(sys, f"__{name}__", shared)
    for place in places.values():
        at_fork(place.forked)
