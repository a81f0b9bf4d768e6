"""The inputs of a job: one cursor over one or several iterables.

Does not know functions, backends or results. Iterating runs the user's code, so it happens on the caller's thread only.
"""

from __future__ import annotations

from collections.abc import Sized
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Collections that can be cut without running anybody's code.
_SEQUENCES = (list, tuple, range, str, bytes)


class Source:
    """Inputs still to be run, in order.

    Parameters
    ----------
    iterables
        One iterable of inputs, or several whose items are the arguments of one call each (ended by the shortest).

    """

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self.star = len(iterables) != 1
        self._sequence: Any = None
        self._iterator: Iterator[Any] = iter(())
        self._taken = 0
        self._back: list[Any] = []
        self._ended = False
        self._kept: list[Any] | None = None
        self._length: int | None = None
        if self.star:
            self._iterator = zip(*iterables, strict=False)
            lengths = [len(data) for data in iterables if isinstance(data, Sized)]
            if lengths and len(lengths) == len(iterables):
                self._length = min(lengths)
        else:
            data = iterables[0]
            if type(data) in _SEQUENCES:
                self._sequence = data
            else:
                self._iterator = iter(data)
            if isinstance(data, Sized):
                self._length = len(data)
        self.sized = self._length is not None

    def keep(self) -> list[Any]:
        """From now on keep every input that is taken; returns the list that fills."""
        self._kept = []
        return self._kept

    def take(self, count: int) -> list[Any]:
        """Take up to `count` inputs; fewer only at the end."""
        if self._back:
            items, self._back = self._back[:count], self._back[count:]
            if len(items) < count:
                items += self._pull(count - len(items))
            return items
        return self._pull(count)

    def _pull(self, count: int) -> list[Any]:
        if self._sequence is not None:
            items = self._sequence[self._taken : self._taken + count]
            if type(items) is not list:
                items = list(items)
        else:
            items = list(islice(self._iterator, count))
        self._taken += len(items)
        if len(items) < count:
            self._ended = True
        if self._kept is not None:
            self._kept += items
        return items

    def put_back(self, items: list[Any]) -> None:
        """Return inputs that were not run to the front."""
        self._back = items + self._back

    def left(self) -> int | None:
        """Inputs not taken yet; None when nobody can know."""
        if self._ended:
            return len(self._back)
        return None if self._length is None else len(self._back) + max(0, self._length - self._taken)

    @property
    def ended(self) -> bool:
        """Whether nothing is left, as far as can be told without running the iterator."""
        if self._back:
            return False
        return self._ended or (self._sequence is not None and self._taken >= len(self._sequence))

    def spread(self, count: int) -> list[Any]:
        """Return up to `count` inputs from all that is left, without taking them; none where that is impossible."""
        if self._sequence is None:
            return []
        left = len(self._sequence) - self._taken
        step = max(1, left // max(1, count))
        return [self._sequence[i] for i in range(self._taken, len(self._sequence), step)][:count]
