"""How the parts of `meaning_corpus` mark what may travel and what must stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Cases = list[tuple[Any, bool, tuple[Any, ...]]]


def marks() -> tuple[Cases, Callable[..., Any], Callable[..., Any]]:
    """Make an empty part, and what adds to it a function that may travel, or must stay, with samples of its arguments."""
    cases: Cases = []

    def marking(expected: bool) -> Callable[..., Any]:
        def mark(func: Any, *samples: Any) -> Any:
            cases.append((func, expected, samples))
            return func

        return mark

    return cases, marking(True), marking(False)
