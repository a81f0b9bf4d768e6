"""`amap`: a function over a source of inputs, inside a running loop of asyncio or trio.

What differs between the two loops is in `_worlds`. Does not know where calls run.

Invariants:
    A1. The calls that were begun and whose results were not taken are `buffersize` at most.
    A2. One input at a time is asked of an asynchronous source, and none once it has ended or the map was closed.
    A3. Closing cancels what has been begun, in whatever way the map is given up: to its end, by `aclose`, by an
        exception, or because nobody has it any more.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pointsman import _worlds
from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._job import check_backend, check_callable, check_count, check_switch, check_workers, is_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
    from types import TracebackType

    from pointsman._worlds import Handle, World

S = TypeVar("S")
T = TypeVar("T")

# Calls ahead of the results taken, if nothing is said: as many as `pointsman.map` has.
_AHEAD = 64


@overload
def amap(
    fn: Callable[[S], Awaitable[T]],
    source: AsyncIterable[S] | Iterable[S],
    /,
    *,
    ordered: bool = ...,
    buffersize: int | None = ...,
    max_workers: int | None = ...,
    backend: str = ...,
    on_error: str = ...,
) -> AsyncMap[T]: ...
@overload
def amap(
    fn: Callable[[S], T],
    source: AsyncIterable[S] | Iterable[S],
    /,
    *,
    ordered: bool = ...,
    buffersize: int | None = ...,
    max_workers: int | None = ...,
    backend: str = ...,
    on_error: str = ...,
) -> AsyncMap[T]: ...
def amap(
    fn: Callable[[Any], Any],
    source: AsyncIterable[Any] | Iterable[Any],
    /,
    *,
    ordered: bool = True,
    buffersize: int | None = None,
    max_workers: int | None = None,
    backend: str = "auto",
    on_error: str = "raise",
) -> AsyncMap[Any]:
    """Iterate asynchronously over `fn(item)` for every item of `source`.

    Parameters
    ----------
    fn
        A coroutine function, whose calls run as tasks of the running loop; or a plain one, whose calls run on threads,
        or in worker processes once they are known to hold the GIL for long and their meaning allows it.
    source
        An asynchronous iterator, or a plain one, which is asked for its items in the loop's thread. It may be endless.
    ordered
        Whether results come in the order of the inputs; else as they are ready.
    buffersize
        Calls that are begun ahead of the results taken, at most. None: 64.
    max_workers
        Calls that run at a time at most. None: as many as `buffersize`.
    backend
        "auto" as said above; "threads" or "processes" run every call there, coroutines on a loop of the worker's own;
        "asyncio" takes coroutine functions only.
    on_error
        "raise" ends with the first exception, in the order of the results; "return" gives exceptions as results.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        At once, for arguments that cannot work.

    """
    check_callable(fn)
    if check_backend(backend) == "inline":
        message = "backend='inline' would run every call in the loop's own thread; use 'threads', or a plain loop"
        raise InvalidArgumentError(message)
    if backend == "asyncio" and not is_async(fn):
        message = "backend='asyncio' takes a coroutine function; a plain one runs on threads"
        raise InvalidTypeError(message)
    if on_error not in ("raise", "return"):
        message = f"on_error must be 'raise' or 'return', not {on_error!r}"
        raise InvalidArgumentError(message)
    if not any(hasattr(type(source), way) for way in ("__aiter__", "__iter__", "__getitem__")):
        message = f"source must be an iterable of inputs, asynchronous or plain, not {source!r}"
        raise InvalidTypeError(message)
    ahead = check_count("buffersize", buffersize) or _AHEAD
    most = min(check_workers(backend, max_workers) or ahead, ahead)
    return AsyncMap(
        _State(
            fn,
            source,
            check_switch("ordered", ordered),
            ahead,
            most,
            backend,
            max_workers,
            keep_going=on_error == "return",
        )
    )


class AsyncMap(Generic[T]):
    """The results of `amap`: an asynchronous iterator, which can be used as an asynchronous context manager, too."""

    def __init__(self, state: _State) -> None:
        self._state = state

    def __aiter__(self) -> AsyncMap[T]:
        """Return itself."""
        return self

    async def __anext__(self) -> T:
        """Wait for the next result."""
        try:
            value: T = await self._state.next()
        except BaseException:
            self._state.stop()
            raise
        return value

    async def aclose(self) -> None:
        """Cancel what has been begun and close the source, if it is a generator."""
        self._state.stop()
        await self._state.closed()

    async def __aenter__(self) -> AsyncMap[T]:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    def __del__(self) -> None:
        """Cancel what nobody waits for any more."""
        state = getattr(self, "_state", None)
        if state is not None:
            state.stop()


class _State:
    """All but the consumer's end, so that this end can go away while calls run."""

    def __init__(
        self,
        fn: Callable[[Any], Any],
        source: Any,
        ordered: bool,
        ahead: int,
        most: int,
        backend: str,
        max_workers: int | None,
        *,
        keep_going: bool,
    ) -> None:
        self.fn: Callable[[Any], Any] = fn
        self.source: Any = source
        self.ordered: bool = ordered
        self.ahead: int = ahead
        self.most: int = most
        self.keep_going: bool = keep_going
        self.backend: str = backend
        self.max_workers: int | None = max_workers
        self.world: World | None = None
        self.begin: Callable[[Any, Callable[[Any, BaseException | None], None]], Handle] | None = None
        self.iterator: Any = None
        self.asynchronous: bool = hasattr(type(source), "__aiter__")
        self.pull: Handle | None = None
        self.ended: bool = False
        self.stopped: bool = False
        self.begun: int = 0
        self.taken: int = 0
        # What the source raised: it comes after the results of the inputs before it.
        self.failure: BaseException | None = None
        self.running: dict[int, Handle] = {}
        self.ready: dict[int, tuple[Any, BaseException | None]] = {}
        self.order: deque[int] = deque()
        self.waiters: deque[Any] = deque()
        self.closing: Handle | None = None

    def _enter(self) -> World:
        if self.world is None:
            self.world = _worlds.current("amap")
            self.begin = self.world.starter(self.fn, self.backend, self.max_workers)
            self.iterator = self.source.__aiter__() if self.asynchronous else iter(self.source)
        return self.world

    async def next(self) -> Any:
        """Wait for the next result."""
        world = self._enter()
        while True:
            self._fill()
            if self.order and (not self.ordered or self.taken in self.ready):
                index = self.taken if self.ordered else self.order[0]
                self.order.remove(index)
                self.taken += 1
                value, error = self.ready.pop(index)
                if error is not None and not (self.keep_going and isinstance(error, Exception)):
                    if isinstance(error, StopAsyncIteration):
                        # It would be the map's end, without a word.
                        message = "a call of this map raised StopAsyncIteration"
                        raise RuntimeError(message) from error
                    raise error
                self._fill()
                return value if error is None else error
            if self.ended and not self.running and not self.ready:
                if self.failure is not None:
                    failure, self.failure = self.failure, None
                    raise failure
                raise StopAsyncIteration
            waiter = world.event()
            self.waiters.append(waiter)
            try:
                await waiter.wait()
            finally:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)

    def _fill(self) -> None:
        while (
            not self.ended
            and not self.stopped
            and self.pull is None
            and self.begun - self.taken < self.ahead
            and len(self.running) < self.most
        ):
            if self.asynchronous:
                assert self.world is not None  # noqa: S101 - entered
                self.pull = self.world.spawn(_next(self.iterator), self._pulled)
                return
            try:
                item = next(self.iterator)
            except StopIteration:
                self.ended = True
            except Exception as error:  # noqa: BLE001 - the user's iterator may raise anything
                self.ended, self.failure = True, error
            else:
                self._start(item)

    def _pulled(self, value: Any, error: BaseException | None) -> None:
        self.pull = None
        if self.stopped:
            return
        if error is None and value is not _END:
            self._start(value)
            self._fill()
        else:
            self.ended = True
            self.failure = error
        self._tell()

    def _start(self, item: Any) -> None:
        assert self.begin is not None  # noqa: S101 - entered
        index, self.begun = self.begun, self.begun + 1
        try:
            self.running[index] = self.begin(item, partial(self._finished, index))
        except Exception as error:  # noqa: BLE001 - what cannot be begun has failed
            self.ready[index] = (None, error)
            self.order.append(index)

    def _finished(self, index: int, value: Any, error: BaseException | None) -> None:
        if self.running.pop(index, None) is None or self.stopped:
            return
        self.ready[index] = (value, error)
        self.order.append(index)
        self._fill()
        self._tell()

    def _tell(self) -> None:
        for waiter in self.waiters:
            waiter.set()

    def stop(self) -> None:
        """Begin nothing more, and cancel what has been begun."""
        if self.stopped:
            return
        self.stopped = self.ended = True
        running, self.running = self.running, {}
        self.ready.clear()
        for handle in running.values():
            handle.cancel()
        if self.pull is not None:
            self.pull.cancel()
        if self.world is not None and hasattr(self.iterator, "aclose"):
            closing = _close(self.iterator, self.pull)
            try:
                self.closing = self.world.spawn(closing, _forget)
            except RuntimeError:
                # The loop has come to its end, and finishes its generators itself.
                closing.close()
        self._tell()

    async def closed(self) -> None:
        """Wait until the source is closed."""
        if self.closing is not None:
            await self.closing.wait()


_END = object()


async def _next(iterator: Any) -> Any:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return _END


async def _close(iterator: Any, pull: Handle | None) -> None:
    if pull is not None:
        await pull.wait()
    await iterator.aclose()


def _forget(_value: Any, _error: BaseException | None) -> None:
    pass
