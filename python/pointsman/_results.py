"""The list of a job's results, made of those that come in parts.

Does not know where they come from.
"""

from __future__ import annotations

from pointsman import _native
from pointsman._machine import has_gil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Results from which on they are moved, and not added in the usual way. Arbitrary: few are still in the core's cache.
_MANY = 1024
# Results for which there is room from the beginning at most, in 64 MB: the job may end long before it has so many.
_AT_FIRST = 1 << 23


class Results:
    """Takes results over as they come, without touching each once more; `total` are expected, if that is known."""

    def __init__(self, total: int | None) -> None:
        self._moves, expected = has_gil(), min(total or 0, _AT_FIRST)
        self._whole: list[Any] = _native.roomy(expected) if self._moves and expected >= _MANY else []

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, values: list[Any]) -> None:
        """Add results, from a list that nobody else changes, and that may be empty afterwards."""
        whole = self._whole
        if len(values) < _MANY or not self._moves:
            whole += values
        elif not _native.move_over(whole, values):
            # Twice as many each time: what is never used is never given by the system.
            self._whole = _native.roomy(2 * (len(whole) + len(values)))
            _native.move_over(self._whole, whole)
            _native.move_over(self._whole, values)

    def whole(self) -> list[Any]:
        """Return all results as one list."""
        return self._whole
