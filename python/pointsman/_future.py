"""The future that `submit` returns: a `concurrent.futures.Future` that is cheap to make and can be awaited.

Does not know where the call runs; the native half does.
"""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _loopside, _native

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

T = TypeVar("T")

if TYPE_CHECKING:

    class _Base(concurrent.futures.Future[T]):
        def _inflate(self) -> None: ...
        def _is_done_soon(self) -> bool: ...
        def cancel(self, *, kill: bool = False) -> bool: ...

else:

    class _Base(_native.FutureCore, concurrent.futures.Future):
        __class_getitem__ = classmethod(lambda cls, _item: cls)


def _standard(name: str) -> Any:
    """An attribute that the standard class keeps in the instance; it is made when somebody first asks for it.

    A property and no `__getattr__`, which would make every other look-up slower.
    """

    def read(self: Future[Any]) -> Any:
        values = self.__dict__
        if name not in values:
            self._inflate()
        return values[name]

    def write(self: Future[Any], value: object) -> None:
        self.__dict__[name] = value

    return property(read, write)


class Future(_Base[T]):
    """The outcome of a call that may still run.

    Everything that `concurrent.futures.Future` has, and: `await future` in a running asyncio loop, and
    `cancel(kill=True)`, which stops a call that already runs in a worker process.
    """

    def __init__(self) -> None:
        """Make a future that no executor serves; set its outcome with `set_result` or `set_exception`."""

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome in a running loop of asyncio or trio; cancelling the waiting task cancels the call."""
        if _loopside.in_trio():
            from pointsman._trioside import wait

            value: T = yield from wait(self).__await__()
            return value
        if not self._is_done_soon() and not self.done():
            global _asyncio  # noqa: PLW0603 - imported once, when first needed
            if _asyncio is None:
                import asyncio

                _asyncio = asyncio
            loop = _asyncio.get_running_loop()
            waiter = loop.create_future()
            bridge = _recent.bridge if _recent.loop() is loop else _bridge(loop)
            if bridge.watch(self, waiter):  # type: ignore[arg-type]
                come_back = _loopside.leave(loop)
                try:
                    yield from waiter
                except _asyncio.CancelledError:
                    self.cancel()
                    raise
                finally:
                    come_back()
        if self.cancelled():
            from asyncio import CancelledError

            # Another class than the one of `concurrent.futures`, and the one that code in a loop expects.
            raise CancelledError
        return self.result(0)


for _name in ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"):
    setattr(Future, _name, _standard(_name))

# What each event loop has yet to hear of.
_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _native.LoopBridge] = weakref.WeakKeyDictionary()


_asyncio: Any = None


class _Recent(threading.local):
    """The loop for which this thread awaited last."""

    def __init__(self) -> None:
        self.loop: Any = bool
        self.bridge: Any = None


_recent = _Recent()


def _bridge(loop: asyncio.AbstractEventLoop) -> _native.LoopBridge:
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = _bridges[loop] = _native.LoopBridge(_weakly(loop))
    _recent.loop, _recent.bridge = weakref.ref(loop), bridge
    return bridge


def _weakly(loop: asyncio.AbstractEventLoop) -> Any:
    """The loop's `call_soon_threadsafe`, without keeping the loop alive."""
    reference = weakref.ref(loop)

    def call(callback: Any) -> None:
        alive = reference()
        if alive is not None:
            alive.call_soon_threadsafe(callback)

    return call
