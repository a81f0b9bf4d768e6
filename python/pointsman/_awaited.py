"""A coroutine function as a plain one, for workers that take nothing else. It travels to worker processes.

Does not know which worker calls it: whichever thread does has a loop of its own.
"""

from __future__ import annotations

from pointsman._naming import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


class Awaited:
    """Calls a coroutine function and runs what that returns to its end, on the calling thread's own loop."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.function = function
        self.__qualname__ = name_of(function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run one call to its end."""
        # Not from `_asyncio`: imported before asyncio, it has tables of its own, and no task is the current one.
        from asyncio import _get_running_loop

        from pointsman import _within
        from pointsman._errors import RunningLoopError

        if _get_running_loop() is not None:
            name = self.__qualname__
            message = (
                f"{name} is a coroutine function and the event loop of this thread is running, so it cannot be run to "
                f"its end here: write `await pointsman.submit({name}, ...)`, or use backend='asyncio'"
            )
            raise RunningLoopError(message)
        if _within.installed:
            return _within.to_its_end(self.function(*args, **kwargs))
        from pointsman import _bridge

        return _bridge.call(self.function, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the function that it wraps."""
        return Awaited, (self.function,)


class Limited:
    """Awaits a coroutine function, `timeout` seconds at most, and up to `retries` times again if it raises `kinds`.

    A coroutine can be stopped where it waits, so this needs no process of its own.
    """

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        timeout: float | None,
        retries: int,
        kinds: tuple[type[Exception], ...],
    ) -> None:
        self.function, self.timeout, self.retries, self.kinds = function, timeout, retries, kinds
        self.__qualname__ = name_of(function)

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run one call."""
        import asyncio

        from pointsman._errors import CallTimeoutError

        now = asyncio.get_running_loop().time
        until = None if self.timeout is None else now() + self.timeout
        for left in range(self.retries, -1, -1):
            limit = asyncio.timeout_at(until)
            try:
                async with limit:
                    return await self.function(*args, **kwargs)
            except Exception as error:
                late = isinstance(error, TimeoutError) and limit.expired()
                if not left or not self.kinds or not issubclass(CallTimeoutError if late else type(error), self.kinds):
                    if not late:
                        raise
                    message = (
                        f"a call of {self.__qualname__} took longer than its timeout of {self.timeout:g} s and was "
                        f"cancelled; give it more, or find out what it waits for"
                    )
                    raise CallTimeoutError(message) from error
                if late and self.timeout is not None:
                    until = now() + self.timeout
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what it was made of."""
        return Limited, (self.function, self.timeout, self.retries, self.kinds)
