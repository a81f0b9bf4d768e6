"""A function that is called again when it raises what was named. It travels to workers, so it needs nothing native."""

from __future__ import annotations

from pointsman._naming import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Retrying:
    """Calls a function again, at most `retries` times, when it raises one of `kinds`."""

    def __init__(self, function: Callable[..., Any], retries: int, kinds: tuple[type[Exception], ...]) -> None:
        self.function, self.retries, self.kinds = function, retries, kinds
        # Messages are about the user's function.
        self.__qualname__ = name_of(function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function; the last attempt's exception is the call's."""
        for _ in range(self.retries):
            try:
                return self.function(*args, **kwargs)
            except self.kinds:
                continue
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without what can be made again."""
        return Retrying, (self.function, self.retries, self.kinds)
