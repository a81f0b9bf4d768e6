"""An asynchronous generator that plain code can iterate over, too.

In plain code one task, on the thread's own loop, runs the generator from its first step to its last, so that timeouts,
task groups and the current task inside are what they are under `async for`. Does not know how loops turn.
"""

from __future__ import annotations

import threading
from asyncio import _get_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pointsman import _bridge
from pointsman._errors import RunningLoopError
from pointsman._job import name_of
from pointsman._loopside import in_trio

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextvars import Context

T = TypeVar("T")


class Stream(Generic[T]):
    """What a decorated asynchronous generator returns: `for` iterates over it in plain code, `async for` in a loop.

    It has the methods of both kinds of generator: `send`, `throw`, `close` and `asend`, `athrow`, `aclose`. They raise
    what the generator raises, and `RunningLoopError` where the other kind belongs.
    """

    __slots__ = ("__weakref__", "_driver", "_function", "_generator")

    def __init__(self, generator: AsyncGenerator[T, Any], function: Callable[..., Any]) -> None:
        self._generator = generator
        self._function = function
        self._driver: _Driver[T] | None = None

    # ------------------------------------------------------------------------------ in an event loop

    def __aiter__(self) -> AsyncIterator[T]:
        """Return the generator itself."""
        return self._native("async for")

    def __anext__(self) -> Awaitable[T]:
        """Return the next item, to be awaited."""
        return self._native("anext()").__anext__()

    def asend(self, value: Any) -> Awaitable[T]:
        """Send a value into the generator."""
        return self._native("asend()").asend(value)

    def athrow(self, *error: Any) -> Awaitable[T]:
        """Raise an exception inside the generator."""
        return self._native("athrow()").athrow(*error)

    def aclose(self) -> Awaitable[None]:
        """Finish the generator."""
        return self._native("aclose()").aclose()

    def _native(self, what: str) -> AsyncGenerator[T, Any]:
        if self._driver is None:
            return self._generator
        message = (
            f"{what} over {name_of(self._function)}: plain code has begun to iterate over it, on the loop of its own "
            f"thread, so no other loop can go on; use `for` to the end, or call the function again inside the loop"
        )
        raise RunningLoopError(message)

    # ------------------------------------------------------------------------------ in plain code

    def __iter__(self) -> Stream[T]:
        """Return itself."""
        self._check("for")
        return self

    def __next__(self) -> T:
        """Return the next item."""
        return self.send(None)

    def send(self, value: Any) -> T:
        """Send a value into the generator and return the next item."""
        item: T = self._exchange("send()", self._generator.asend, value)
        return item

    def throw(self, *error: Any) -> T:
        """Raise an exception inside the generator and return the next item."""
        item: T = self._exchange("throw()", self._generator.athrow, *error)
        return item

    def close(self) -> None:
        """Finish the generator."""
        if self._driver is not None and not self._driver.ended:
            self._exchange("close()", self._generator.aclose)
        elif self._driver is None:
            self._check("close()")
            _bridge.run(_closed(self._generator))

    def _exchange(self, what: str, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self._check(what)
        driver = self._driver
        if driver is None:
            driver = self._driver = _Driver()
        try:
            return driver.exchange(method, args)
        except StopAsyncIteration:
            raise StopIteration from None

    def _check(self, what: str) -> None:
        if _get_running_loop() is not None or in_trio():
            message = (
                f"{what} over {name_of(self._function)}, an asynchronous generator, inside a running event loop: plain "
                f"iteration would have to wait in the loop's own thread, which cannot wait and run the generator, too; "
                f"use `async for` here, or call this code from a thread (`await pointsman.submit(...)`)"
            )
            raise RunningLoopError(message)
        if self._driver is not None and self._driver.thread != threading.get_ident():
            message = (
                f"{what} over {name_of(self._function)} on another thread than the one that began: its event loop "
                f"belongs to that thread, and this one has its own; iterate on one thread"
            )
            raise RunningLoopError(message)

    def __del__(self) -> None:
        """Finish the generator, as a plain generator is finished when nobody has it any more."""
        driver = getattr(self, "_driver", None)
        if driver is not None:
            driver.abandon(self._generator.aclose)


async def _closed(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


class _Driver(Generic[T]):
    """The task that runs a generator for plain code, and the requests that it serves."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.ended = False
        self._task: Task[None] | None = None
        self._request: Future[tuple[Callable[..., Awaitable[T]], tuple[Any, ...], Context]] | None = None
        self._reply: Future[tuple[T, Context]] | None = None

    def exchange(self, method: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
        """Let the task call a method of the generator, and return what comes back."""
        if self.ended:
            raise StopAsyncIteration
        value, context = _bridge.run(self._ask(method, args, copy_context()))
        here = copy_context()
        if context != here:
            _bridge.take_over(context)
        return value

    async def _ask(
        self, method: Callable[..., Awaitable[T]], args: tuple[Any, ...], context: Context
    ) -> tuple[T, Context]:
        import asyncio

        loop = asyncio.get_running_loop()
        self._reply = loop.create_future()
        if self._task is None:
            self._request = loop.create_future()
            self._task = loop.create_task(self._serve())
        if self._request is not None:
            self._request.set_result((method, args, context))
        try:
            return await self._reply
        except asyncio.CancelledError:
            if not self._reply.done() or self._reply.cancelled():
                # Whoever waits was cancelled (by Ctrl-C, say), and with it what it waits for.
                self._task.cancel()
                await asyncio.wait([self._task])
            raise

    async def _serve(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        while self._request is not None:
            try:
                method, args, context = await self._request
            except asyncio.CancelledError:
                # The loop is being closed, and with it goes the generator.
                self.ended = True
                return
            self._request = loop.create_future()
            if context != copy_context():
                _bridge.take_over(context)
            reply = self._reply
            try:
                value = await method(*args)
            except BaseException as error:  # noqa: BLE001 - it is for whoever asked
                self.ended, self._request = True, None
                if reply is not None and not reply.done():
                    if isinstance(error, asyncio.CancelledError):
                        reply.cancel()
                    else:
                        reply.set_exception(error)
                return
            if method.__name__ == "aclose":
                self.ended, self._request = True, None
            if reply is not None and not reply.done():
                reply.set_result((value, copy_context()))

    def abandon(self, close: Callable[..., Awaitable[Any]]) -> None:
        """Finish the generator now if this is its thread, else when its loop next turns."""
        task = self._task
        if self.ended or task is None or task.done():
            return
        loop = task.get_loop()
        if loop.is_closed():
            return
        if threading.get_ident() == self.thread and _get_running_loop() is None:
            self.exchange(close, ())
        else:
            loop.call_soon_threadsafe(task.cancel)
