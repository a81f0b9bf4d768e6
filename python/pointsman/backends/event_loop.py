"""One background event loop for the coroutines of all jobs, and streams of calls on it with a limit each.

Does not know plans or the planner, or in which order results are wanted.

Invariants:
    L1. Everything that a `Stream` has but `wake` is touched on the loop's thread only.
    L2. A call that was pushed is reported once: finished, or cancelled.
    L3. The loop ends before the interpreter does: what is left on it is cancelled and awaited.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _bridge, _native, _trace
from pointsman._climb import Climb
from pointsman._errors import PoolBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

# Calls at a time at most, however throughput rises, and the share of the files that may be open that they may have:
# most calls that wait wait for a connection each.
_MOST = 4096
_FILES_SHARE = 0.5
# The usual rank of a call, and more urgent ones that may go before one that waits: as in the queues of threads.
_NORMAL = 2
_PATIENCE = 1000
# Seconds without any call finished after which calls that wait may be what those that run wait for.
_STALL = 1.0


class _Loop:
    """The background loop and its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop._pointsman_release = _release  # type: ignore[attr-defined]  # noqa: SLF001 - read where a future is awaited
        self.thread = threading.Thread(target=self._run, name="pointsman-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            # A loop lets through what wants to end the program. Its call has that for an outcome; the others go on.
            while not self._runs_to_its_end():
                pass
        finally:
            for stream in list(_streams):
                if stream.loop is self.loop:
                    stream.drop_waiting(PoolBrokenError("the program is ending: the call is not run"))
            _bridge.close_loop(self.loop)

    def _runs_to_its_end(self) -> bool:
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            return False
        return True

    def end(self) -> None:
        """Stop the loop and wait until it is closed in order."""
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()


_background: _Loop | None = None
_owner = 0
_starting = threading.Lock()


def background() -> asyncio.AbstractEventLoop:
    """The loop; it is started when first needed, and anew in a forked child."""
    global _background, _owner
    with _starting:
        if _background is None or _owner != os.getpid() or not _background.thread.is_alive():
            first = _background is None
            _background, _owner = _Loop(), os.getpid()
            if first:
                _bridge.before_exit(end)
    return _background.loop


def on_background() -> bool:
    """Whether the calling thread is that of the loop."""
    return _background is not None and _background.thread is threading.current_thread()


def end() -> None:
    """End the loop now instead of at exit; the next job starts another."""
    global _background  # noqa: PLW0603 - the state of this module
    if _background is not None and _owner == os.getpid():
        _background.end()
        _background = None


def most_calls() -> int:
    """Calls that may run at a time at most on this machine."""
    try:
        import resource
    except ImportError:
        return _MOST
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files == resource.RLIM_INFINITY else max(1, min(_MOST, int(files * _FILES_SHARE)))


class Call:
    """One call: what makes its coroutine, and who is told of its end."""

    __slots__ = ("began", "cancelled", "context", "label", "make", "passed", "rank", "task", "tell")

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, Any]],
        tell: Callable[[asyncio.Task[Any] | None, BaseException | None], None],
        context: Context,
    ) -> None:
        self.make: Callable[[], Coroutine[Any, Any, Any]] = make
        # Called on the loop with the finished task; with None and what was raised if there is no task.
        self.tell: Callable[[asyncio.Task[Any] | None, BaseException | None], None] = tell
        self.context: Context = context
        self.task: asyncio.Task[Any] | None = None
        self.cancelled: bool = False
        self.began: float = 0.0
        self.label: Label | None = None
        # How urgent it is, 0 the most; and how many more urgent ones have gone before it.
        self.rank: int = _NORMAL
        self.passed: int = 0


class Label:
    """What a trace says of a call: its function, its job and place in it, and when it was handed over and begun."""

    __slots__ = ("began", "index", "job", "name", "posted", "row")

    def __init__(self, name: str, job: int = 0, index: int | None = None) -> None:
        self.name: str = name
        self.job: int = job
        self.index: int | None = index
        self.posted: int = _native.trace_now()
        self.began: int = 0
        self.row: int = 0

    def begin(self) -> None:
        """Note that the call begins."""
        self.began, self.row = _native.trace_now(), _rows.take()

    def end(self, task: asyncio.Task[Any] | None) -> None:
        """Hand the call to the trace."""
        if task is None:
            ending = "raised"
        elif task.cancelled():
            ending = "cancelled"
        else:
            ending = "value" if task.exception() is None else "raised"
        now = _native.trace_now()
        times = (self.posted, self.began, self.began, now, now)
        _native.trace_call(self.name, _rows.give(self.row), times, ending, self.job, self.index)


# Coroutines overlap on the loop's thread: a row for each that runs at a time. Their numbers are above those of threads.
_rows = _trace.Rows(1 << 30, "coroutine")


class Stream:
    """Calls that run on the loop, so many at a time as the limit says."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int | None) -> None:
        self.loop = loop
        self.climb: Climb = Climb(most_calls(), limit)
        self.waiting: deque[Call] = deque()
        self.running: set[Call] = set()
        # Calls that wait for other calls of ours have given their place away.
        self.away: int = 0
        self.finished: int = 0
        # From beginning to end, of the calls that have ended.
        self.seconds: float = 0.0
        # Whether calls are begun one in each turn of the loop, so that somebody can look in between.
        self.one_by_one = False
        self._watched: asyncio.TimerHandle | None = None
        self._seen = 0
        _streams.add(self)

    # ------------------------------------------------------------------- from any thread

    def push(self, calls: list[Call]) -> None:
        """Run these calls after those that wait already."""
        self.loop.call_soon_threadsafe(self._push, calls)

    def cancel(self, call: Call) -> None:
        """Cancel a call, whether it runs or waits."""
        self.loop.call_soon_threadsafe(self._cancel, call)

    # ------------------------------------------------------------------- on the loop

    def drop_waiting(self, why: BaseException | None) -> None:
        """Let no call begin that waits: it has raised `why`, or was cancelled."""
        calls = list(self.waiting)
        self.waiting.clear()
        for call in calls:
            if not call.cancelled:
                call.cancelled = True
                call.tell(None, why)

    def _push(self, calls: list[Call]) -> None:
        for call in calls:
            place = len(self.waiting)
            while place and self.waiting[place - 1].rank > call.rank and self.waiting[place - 1].passed < _PATIENCE:
                place -= 1
                self.waiting[place].passed += 1
            self.waiting.insert(place, call)
        self._start()

    def _start(self) -> None:
        while self.waiting and len(self.running) - self.away < self.climb.limit:
            call = self.waiting.popleft()
            if call.cancelled:
                continue
            call.began = perf_counter()
            if call.label is not None:
                call.label.begin()
            try:
                coroutine = call.context.run(call.make)
                call.task = self.loop.create_task(coroutine, context=call.context)
            except BaseException as error:  # noqa: BLE001 - it is the call's outcome
                self.finished += 1
                if call.label is not None:
                    call.label.end(None)
                call.tell(None, error)
                continue
            self.running.add(call)
            _calls[call.task] = self
            call.task.add_done_callback(partial(self._ended, call))
            if self.one_by_one:
                if self.waiting:
                    self.loop.call_soon(self._start)
                break
        if self.waiting:
            if self._watched is None:
                self._seen = self.finished
                self._watched = self.loop.call_later(_STALL, self._look)
        else:
            self.climb.starved()

    def _ended(self, call: Call, _task: asyncio.Task[Any]) -> None:
        self.running.discard(call)
        self.finished += 1
        task = call.task
        if task is not None:
            _calls.pop(task, None)
        now = perf_counter()
        self.seconds += now - call.began
        self.climb.finished(now)
        if call.label is not None:
            call.label.end(task)
        call.tell(task, None)
        self._start()

    def _cancel(self, call: Call) -> None:
        if call.task is not None:
            call.task.cancel()
        elif not call.cancelled:
            call.cancelled = True
            call.tell(None, None)

    def _look(self) -> None:
        """See whether anything has finished since the last look while calls wait."""
        self._watched = None
        if self.waiting:
            if self.finished == self._seen:
                self.climb.stalled()
            self._start()

    def leave(self) -> Callable[[], None]:
        """Give the place of a running call away until what is returned is called."""
        self.away += 1
        self.loop.call_soon(self._start)

        def come_back() -> None:
            self.away -= 1

        return come_back


_streams: weakref.WeakSet[Stream] = weakref.WeakSet()
# The stream of each task that runs a call, on the loop's thread.
_calls: dict[asyncio.Task[Any], Stream] = {}


def _release() -> Callable[[], None]:
    task = asyncio.current_task()
    stream = _calls.get(task) if task is not None else None
    return stream.leave() if stream is not None else _nothing


def _nothing() -> None:
    pass
