"""The future that `submit` returns: a `concurrent.futures.Future` that is cheap to make and can be awaited.

Does not know where the call runs; the native half does.
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _native
from pointsman._forks import at_fork

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

if TYPE_CHECKING:

    class _Base(concurrent.futures.Future[T]):
        def _inflate(self) -> None: ...
        def _is_left(self) -> bool: ...
        def __await__(self) -> Generator[Any, None, T]: ...
        def cancel(self, *, kill: bool = False) -> bool: ...

else:

    class _Base(_native.FutureCore, concurrent.futures.Future):
        __class_getitem__ = classmethod(lambda cls, _item: cls)


# Whether this process was forked since futures are made.
_forked = False


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 - set once
    _forked = True


at_fork(_note_fork)


def _standard(name: str) -> Any:
    """An attribute that the standard class keeps in the instance; it is made when somebody first asks for it.

    A property and no `__getattr__`, which would make every other look-up slower.
    """

    def read(self: Future[Any]) -> Any:
        values = self.__dict__
        if name not in values:
            self._inflate()
        elif _forked and "_left" not in values and self._is_left():
            # Of the parent's threads one may hold the lock, and others are not here to be told.
            values.update(_left=True, _condition=threading.Condition(), _waiters=[], _done_callbacks=[])
            # In a forked child this ends the call.
            self.done()
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


for _name in ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"):
    setattr(Future, _name, _standard(_name))
