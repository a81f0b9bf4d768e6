"""Single calls of coroutine functions on the background loop, with a future of ours for each.

Does not know executors: whoever has one of these decides what is submitted to it.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from pointsman import _native
from pointsman._errors import RunningLoopError
from pointsman._future import Future
from pointsman._job import name_of
from pointsman.backends.event_loop import Call, Label, Stream, background, on_background

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine


class AsyncCalls:
    """Runs coroutines side by side, `limit` at a time at most; None for as many as throughput gains from."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._stream: Stream | None = None
        # Seconds of calls on loops that are no more.
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds from beginning to end, of the calls that have ended."""
        return self._before + (0.0 if self._stream is None else self._stream.seconds)

    def running(self) -> int:
        """Calls that have begun and not ended."""
        return 0 if self._stream is None else len(self._stream.running)

    def submit(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        rank: int,
    ) -> Future[Any]:
        """Start a call of a rank (0 is the most urgent); cancelling its future cancels its task, even a running one."""
        loop = background()
        stream = self._stream
        if stream is None or stream.loop is not loop:
            self._before = self.seconds
            stream = self._stream = Stream(loop, self._limit)
        future = _LoopFuture()
        call = Call(partial(function, *args, **kwargs), partial(_tell, future), copy_context())
        call.rank = rank
        if _native.tracing():
            call.label = Label(name_of(function))
        future.add_done_callback(partial(_cancel, stream, call))
        stream.push([call])
        return future

    def owns(self, future: Future[Any]) -> bool:
        """Whether it is that of a call on the background loop."""
        return isinstance(future, _LoopFuture)

    def refuse_to_wait(self) -> None:
        """Raise where waiting for the calls that are left would keep them from ending."""
        stream = self._stream
        if stream is not None and on_background() and (stream.running or stream.waiting):
            message = (
                "shutdown() in a coroutine on the background loop would wait for coroutines in the thread that runs "
                "them: use shutdown(wait=False), or `await asyncio.to_thread(executor.shutdown)` elsewhere"
            )
            raise RunningLoopError(message)

    def cancel_waiting(self) -> None:
        """Cancel the calls that have not begun; returns once they are."""
        stream = self._stream
        if stream is None or stream.loop.is_closed():
            return
        if on_background():
            stream.drop_waiting(None)
            return
        done = threading.Event()

        def drop() -> None:
            stream.drop_waiting(None)
            done.set()

        stream.loop.call_soon_threadsafe(drop)
        # In slices: at the program's end the loop may close before it comes to that.
        while not done.wait(0.1) and not stream.loop.is_closed():
            pass


class _LoopFuture(Future[Any]):
    """The future of a call on the background loop, whose own thread must not wait for it."""

    def result(self, timeout: float | None = None) -> Any:
        """Return the call's value or raise what it raised; wait for it at most `timeout` seconds."""
        self._refuse(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None; wait for it at most `timeout` seconds."""
        self._refuse(timeout)
        return super().exception(timeout)

    def _refuse(self, timeout: float | None) -> None:
        if timeout is None and on_background() and not self.done():
            message = (
                "a coroutine on the background loop waits for another one with result(), which keeps that loop from "
                "running it: write `await future` there"
            )
            raise RunningLoopError(message)


def _cancel(stream: Stream, call: Call, future: Future[Any]) -> None:
    if future.cancelled() and not stream.loop.is_closed():
        stream.cancel(call)


def _tell(future: Future[Any], task: asyncio.Task[Any] | None, error: BaseException | None) -> None:
    """Give a future what came of its call."""
    if task is not None and task.cancelled():
        future.cancel()
    elif task is not None:
        # Asked for in any case, since asyncio complains of exceptions of which nobody has heard.
        error = task.exception()
    elif error is None:
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    elif task is not None:
        future.set_result(task.result())
