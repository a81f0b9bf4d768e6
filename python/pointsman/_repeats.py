"""Whether an iterator gives one object again and again, filled anew for each call: none may be taken ahead then.

Does not know jobs, or what becomes of the inputs.
"""

from __future__ import annotations

from _pickle import dumps
from collections import deque
from itertools import islice, repeat
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# What nobody can fill anew.
FIXED = frozenset((int, float, complex, bool, str, bytes, type(None), range, frozenset))
# Seconds that it may take to see whether an object is as it was; what takes longer is taken to have changed.
_MOST = 5e-3
# Inputs before the next that are remembered: buffers may be filled by turns. Parts of an input that are looked at, and
# how deep they may lie. Arbitrary.
_REMEMBERED, _PARTS, _DEEPEST = 4, 16, 2
# Inputs before the one that tells: two buffers are often filled by turns.
_SURE = 2


class Repeats:
    """Looks at the inputs of a job as they are taken from `iterables`, one after the other."""

    __slots__ = ("_before", "_changed", "_looks", "_open", "_star", "refilled", "unsure")

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self._star = len(iterables) != 1
        # The places at which something could be filled.
        self._open = [place for place, data in enumerate(iterables) if type(data) is not repeat]
        # What could be filled of the last inputs, by identity.
        self._before: deque[dict[int, Any]] = deque(maxlen=_REMEMBERED)
        self._looks: dict[int, bytes] = {}
        self._changed = False
        # Whether an object was given again and had changed, or is not known to be as it was.
        self.refilled: bool = False
        # Whether inputs have been seen that could be filled anew, and too few after them.
        self.unsure: bool = False

    def see(self, item: Any) -> None:
        """Look at the next input."""
        parts = item if self._star else (item,)
        found: dict[int, Any] = {}
        for place in self._open:
            _add(found, parts[place], _DEEPEST)
        self.unsure = bool(found) and len(self._before) < _SURE
        again = [number for number in found if any(number in before for before in self._before)]
        if found or self._before:
            self._before.append(found)
        for number in again:
            self._compare(number, found[number])

    def _compare(self, number: int, part: Any) -> None:
        if self._changed:
            return
        began = perf_counter()
        known, look = self._looks.get(number), b""
        try:
            look = self._looks[number] = dumps(part, 5)
        except Exception:  # noqa: BLE001 - then it cannot be known
            self._changed = True
        self._changed = self._changed or (known is not None and known != look) or perf_counter() - began > _MOST
        self.refilled = self._changed or known is None

    def forget(self) -> None:
        """Keep nothing alive any more."""
        self._before.clear()
        self._looks.clear()


def _add(found: dict[int, Any], part: Any, depth: int) -> None:
    """Add what could be filled anew of a part of an input: what lies in it, and the memory that it shows."""
    kind = type(part)
    if kind in FIXED:
        return
    if kind is not tuple:
        owner = part
        while type(below := getattr(owner, "base", None)) is kind and kind.__module__ == "numpy":
            owner = below
        if kind is memoryview:
            owner = part.obj
        found[id(owner)] = owner
    if depth and kind in (tuple, list, dict):
        for inner in islice(part.values() if kind is dict else part, _PARTS):
            _add(found, inner, depth - 1)
