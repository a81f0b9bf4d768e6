"""Single calls of coroutine functions on the background loop, with a future of ours for each.

Does not know executors: whoever has one of these decides what is submitted to it.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from pointsman import _native
from pointsman._future import Future
from pointsman._job import name_of
from pointsman.backends.event_loop import Call, Label, Stream, background

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
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        """Start a call; cancelling its future cancels its task, even when that has begun."""
        loop = background()
        stream = self._stream
        if stream is None or stream.loop is not loop:
            self._before = self.seconds
            stream = self._stream = Stream(loop, self._limit)
        future: Future[Any] = Future()
        call = Call(partial(function, *args, **kwargs), partial(_tell, future), copy_context())
        if _native.tracing():
            call.label = Label(name_of(function))
        future.add_done_callback(partial(_cancel, stream, call))
        stream.push([call])
        return future


def _cancel(stream: Stream, call: Call, future: Future[Any]) -> None:
    if future.cancelled() and not stream.loop.is_closed():
        stream.cancel(call)


def _tell(future: Future[Any], task: asyncio.Task[Any] | None, error: BaseException | None) -> None:
    """Give a future what came of its call."""
    if future.cancelled():
        if task is not None and not task.cancelled():
            # Nobody wants to know any more.
            task.exception()
        return
    if task is not None and task.cancelled():
        future.cancel()
        return
    if task is not None:
        error = task.exception()
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    elif task is not None:
        future.set_result(task.result())
