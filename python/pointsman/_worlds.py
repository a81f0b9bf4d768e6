"""The two kinds of loop that `amap` runs in: starts tasks and calls in the one that runs here.

Does not know order, bounds or sources.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from pointsman import _loopside
from pointsman._errors import RunningLoopError
from pointsman._job import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    # A value, or what was raised instead.
    Told = Callable[[Any, BaseException | None], None]


class Handle(Protocol):
    """Something that was begun."""

    def cancel(self) -> object:
        """Give it up."""

    async def wait(self) -> None:
        """Wait for its end."""


class World(Protocol):
    """A running loop."""

    def event(self) -> Any:
        """Return an event of this loop."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], told: Told) -> Handle:
        """Run a coroutine as a task, and tell what came of it; a task that was cancelled is told of, too."""

    def starter(self, function: Callable[[Any], Any], backend: str, max_workers: int | None) -> Callable[..., Handle]:
        """Return what begins a call of `function` for an item, and tells what came of it."""


def current(who: str) -> World:
    """The world of the code that calls this."""
    if _loopside.in_trio():
        return _Trio()
    try:
        return _Asyncio(asyncio.get_running_loop())
    except RuntimeError:
        message = f"{who}() is iterated over inside a running event loop of asyncio or trio; elsewhere use map()"
        raise RunningLoopError(message) from None


def _submitter(function: Callable[[Any], Any], backend: str, max_workers: int | None) -> Callable[[Any], Any]:
    """What starts a call elsewhere and returns a `concurrent.futures.Future`."""
    from pointsman._options import options

    return lambda item: options(backend=backend, max_workers=max_workers).submit(function, item)


class _Task:
    def __init__(self, task: asyncio.Future[Any]) -> None:
        self.task = task

    def cancel(self) -> bool:
        return self.task.cancel()

    async def wait(self) -> None:
        await asyncio.wait([self.task])


class _Asyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], told: Told) -> _Task:
        if self.loop.is_closed():
            coroutine.close()
            return _Task(asyncio.Future(loop=self.loop))
        return self._watch(self.loop.create_task(coroutine), told)

    def _watch(self, task: asyncio.Future[Any], told: Told) -> _Task:
        def ended(task: asyncio.Future[Any]) -> None:
            if task.cancelled():
                told(None, asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                told(None, error)
            else:
                told(task.result(), None)

        task.add_done_callback(ended)
        return _Task(task)

    def starter(self, function: Callable[[Any], Any], backend: str, max_workers: int | None) -> Callable[..., _Task]:
        if is_async(function) and backend in ("auto", "asyncio"):
            return lambda item, told: self.spawn(function(item), told)
        if backend == "auto":
            from pointsman._offload import Offload

            offload = Offload(function, function)
            return lambda item, told: self._watch(offload.submit(self.loop, (item,), {}), told)  # type: ignore[arg-type]
        submit = _submitter(function, backend, max_workers)
        return lambda item, told: self._watch(_loopside.arriving(submit(item), self.loop), told)


class _Scoped:
    """A system task of trio, which belongs to no nursery and so may outlive the call that began it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], told: Told) -> None:
        import contextvars

        import trio

        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.coroutine, self.told = coroutine, told
        trio.lowlevel.spawn_system_task(self._run, context=contextvars.copy_context())

    async def _run(self) -> None:
        value, raised = None, asyncio.CancelledError()  # type: tuple[Any, BaseException | None]
        with self.scope:
            try:
                value, raised = await self.coroutine, None
            except Exception as error:  # noqa: BLE001 - it is for whoever takes the result
                raised = error
        self.ended.set()
        self.told(value, raised)

    def cancel(self) -> None:
        # When trio has come to its end already there is nothing to cancel.
        with suppress(RuntimeError):
            self.scope.cancel()

    async def wait(self) -> None:
        await self.ended.wait()


class _Call:
    """A call elsewhere whose outcome goes to a run of trio."""

    def __init__(self, future: Any, told: Told) -> None:
        import trio

        token = trio.lowlevel.current_trio_token()
        self.future, self.ended = future, trio.Event()

        def arrived() -> None:
            self.ended.set()
            if future.cancelled():
                told(None, asyncio.CancelledError())
            elif (error := future.exception()) is not None:
                told(None, error)
            else:
                told(future.result(), None)

        def finished(_future: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(arrived)

        future.add_done_callback(finished)

    def cancel(self) -> bool:
        return bool(self.future.cancel())

    async def wait(self) -> None:
        await self.ended.wait()


class _Trio:
    def event(self) -> Any:
        import trio

        return trio.Event()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], told: Told) -> _Scoped:
        return _Scoped(coroutine, told)

    def starter(self, function: Callable[[Any], Any], backend: str, max_workers: int | None) -> Callable[..., Handle]:
        if is_async(function) and backend == "auto":
            return lambda item, told: _Scoped(function(item), told)
        if is_async(function) and backend == "asyncio":
            message = "backend='asyncio' is not the loop that runs here, which is trio's; leave backend out"
            raise RunningLoopError(message)
        if backend == "auto":
            from pointsman._offload import Offload

            offload = Offload(function, function)
            return lambda item, told: _Call(offload.submit(None, (item,), {}), told)
        submit = _submitter(function, backend, max_workers)
        return lambda item, told: _Call(submit(item), told)
