"""Whether an iterator gives one object again and again, filled anew for each call: none may be taken ahead then.

Does not know jobs, or what becomes of the inputs.
"""

from __future__ import annotations

from _pickle import dumps
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# What nobody can fill anew.
_FIXED = frozenset((int, float, complex, bool, str, bytes, type(None), range, frozenset, tuple))
# Seconds that it may take to see whether an object is as it was; what takes longer is taken to have changed.
_MOST = 5e-3


class Repeats:
    """Looks at the inputs of a job as they are taken from `iterables`, one after the other."""

    __slots__ = ("_before", "_changed", "_looks", "_open", "_star", "refilled", "unsure")

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self._star = len(iterables) != 1
        # The places at which something could be filled.
        self._open = [place for place, data in enumerate(iterables) if type(data) is not repeat]
        self._before: tuple[Any, ...] = ()
        self._looks: dict[int, bytes] = {}
        self._changed = False
        # Whether an object was given again and had changed, or is not known to be as it was.
        self.refilled: bool = False
        # Whether one input has been seen that could be filled anew, and none after it.
        self.unsure: bool = False

    def see(self, item: Any) -> None:
        """Look at the next input."""
        parts = item if self._star else (item,)
        before, self._before = self._before, parts
        self.unsure = not before and any(type(parts[place]) not in _FIXED for place in self._open)
        if before:
            for place in self._open:
                if parts[place] is before[place] and type(parts[place]) not in _FIXED:
                    self._compare(place, parts[place])

    def _compare(self, place: int, part: Any) -> None:
        if self._changed:
            return
        began = perf_counter()
        known, look = self._looks.get(place), b""
        try:
            look = self._looks[place] = dumps(part, 5)
        except Exception:  # noqa: BLE001 - then it cannot be known
            self._changed = True
        self._changed = self._changed or (known is not None and known != look) or perf_counter() - began > _MOST
        self.refilled = self._changed or known is None

    def forget(self) -> None:
        """Keep nothing alive any more."""
        self._before = ()
        self._looks.clear()
