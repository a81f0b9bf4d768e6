"""A coroutine function as a plain one, for workers that take nothing else. It travels to worker processes.

Does not know which worker calls it: whichever thread does has a loop of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Awaited:
    """Calls a coroutine function and runs what that returns to its end, on the calling thread's own loop."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.function = function
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run one call to its end."""
        from _asyncio import _get_running_loop

        from pointsman import _bridge
        from pointsman._errors import RunningLoopError

        if _get_running_loop() is not None:
            name = self.__qualname__
            message = (
                f"{name} is a coroutine function and the event loop of this thread is running, so it cannot be run to "
                f"its end here: write `await pointsman.submit({name}, ...)`, or use backend='asyncio'"
            )
            raise RunningLoopError(message)
        return _bridge.run(self.function(*args, **kwargs))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the function that it wraps."""
        return Awaited, (self.function,)
