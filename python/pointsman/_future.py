"""The future that `submit` returns: a `concurrent.futures.Future` that is cheap to make and can be awaited.

Does not know where the call runs; the native half does.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _loopside, _native

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

# What the standard class keeps in the instance. It is made when somebody first asks for it.
_STANDARD = frozenset({"_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"})

if TYPE_CHECKING:

    class _Base(concurrent.futures.Future[T]):
        def _inflate(self) -> None: ...
        def cancel(self, *, kill: bool = False) -> bool: ...

else:

    class _Base(_native.FutureCore, concurrent.futures.Future):
        __class_getitem__ = classmethod(lambda cls, _item: cls)


class Future(_Base[T]):
    """The outcome of a call that may still run.

    Everything that `concurrent.futures.Future` has, and: `await future` in a running asyncio loop, and
    `cancel(kill=True)`, which stops a call that already runs in a worker process.
    """

    def __init__(self) -> None:
        """Make a future that no executor serves; set its outcome with `set_result` or `set_exception`."""

    def __getattr__(self, name: str) -> Any:
        """Make the standard part of the future when something reads it."""
        if name in _STANDARD and name not in self.__dict__:
            self._inflate()
            return self.__dict__[name]
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(message)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome in a running loop of asyncio or trio; cancelling the waiting task cancels the call."""
        if _loopside.in_trio():
            from pointsman._trioside import wait

            value: T = yield from wait(self).__await__()
            return value
        if not self.done() or self.cancelled():
            value = yield from _loopside.wait(self)
            return value
        return self.result()
