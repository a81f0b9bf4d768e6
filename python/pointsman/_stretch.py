"""A stretch of a list's inputs, gone through where they are.

To copy a part of a list touches each object in it twice more, which takes a good part of a tiny call.

Does not know jobs, or what the calls do.

Invariants:
    G1. Each input is the loop's or was cut off, never both: one native step finds out where the loop is, and ends it.
"""

from __future__ import annotations

from itertools import islice

from pointsman import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Stretch:
    """The items of `whole` from `start` to `end`. For one loop, which another thread may cut short."""

    __slots__ = ("_end", "_start", "_through", "_whole")

    def __init__(self, whole: list[Any], start: int, end: int) -> None:
        self._whole, self._start, self._end = whole, start, end
        self._through: Any = iter(())

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, cut: slice) -> list[Any]:
        places = range(self._start, self._end)[cut]
        return self._whole[places.start : places.stop]

    def __iter__(self) -> Iterator[Any]:
        self._through = iter(self._whole)
        self._through.__setstate__(self._start)
        return islice(self._through, len(self))

    def unreached(self) -> int:
        """How many the loop has not come to."""
        return max(0, self._end - len(self._whole) + int(self._through.__length_hint__()))

    def cut(self) -> list[Any]:
        """End the loop after the item that it has, and return those behind."""
        rest = _native.cut_before(self._whole, self._through, self._end)
        self._end -= len(rest)
        return rest
