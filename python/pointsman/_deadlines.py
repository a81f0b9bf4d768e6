"""Time limits of calls on threads, which cannot be stopped: whoever waits for the call is told, and the call goes on.

Does not know executors. One thread of the program keeps the time for all.
"""

from __future__ import annotations

import os
import threading
from heapq import heapify, heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman._errors import CallTimeoutError
from pointsman._job import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman._future import Future

T = TypeVar("T")

# Seconds that nobody can tell from for ever, and that no clock refuses. Arbitrary.
_LONGEST = 86_400.0
# Calls of which it does not matter whether they are remembered. Arbitrary.
_FEW = 1024


class Timed:
    """A call that has `seconds` from when it begins."""

    def __init__(self, function: Callable[..., Any], seconds: float) -> None:
        self.function, self.seconds = function, seconds
        self.__qualname__ = name_of(function)
        self._known = threading.Event()
        self._future: Any = None
        # What the future was told, if it was.
        self._late: str | None = None

    def of(self, future: Future[T]) -> Future[T]:
        """Say which future is told."""
        self._future = future
        self._known.set()
        return future

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, watched."""
        watched = _keeper().watch(self)
        try:
            value = self.function(*args, **kwargs)
        finally:
            watched.clear()
        if self._late is not None:
            # Nobody hears of it any more; but the executor counts it as what its future says.
            raise CallTimeoutError(self._late)
        return value

    def expire(self) -> None:
        """Tell the future."""
        # The call may have begun before `submit` has returned its future.
        if self._known.wait(1.0):
            name = name_of(self.function)
            message = (
                f"{name} took longer than its timeout of {self.seconds:g} s. It runs on a thread, which cannot be "
                f"stopped, so it goes on, and nobody will hear of its outcome; backend='processes' stops it for real"
            )
            self._late = message
            self._future._fail(CallTimeoutError(message))  # noqa: SLF001 - the native half of our own class


class _Keeper:
    """Rings for calls that are late."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._changed = threading.Condition()
        # (when, a number that no other entry has, the call or nothing any more)
        self._due: list[tuple[float, int, list[Timed]]] = []
        self._count = 0
        self._most = _FEW
        self._thread: threading.Thread | None = None

    def watch(self, call: Timed) -> list[Timed]:
        """Ring when the call is late, unless what this returns is cleared before."""
        entry = [call]
        with self._changed:
            self._count += 1
            if len(self._due) >= self._most:
                # Calls that were over in time are forgotten: half of them and more, or as many again may come first.
                self._due = [one for one in self._due if one[2]]
                heapify(self._due)
                self._most = max(_FEW, 2 * len(self._due))
            heappush(self._due, (monotonic() + call.seconds, self._count, entry))
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="pointsman-deadlines", daemon=True)
                self._thread.start()
            elif self._due[0][2] is entry:
                self._changed.notify()
        return entry

    def _keep(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > monotonic():
                    # An entry may have been cleared meanwhile; it is dropped when its time has come.
                    self._changed.wait(min(self._due[0][0] - monotonic(), _LONGEST) if self._due else None)
                entry = heappop(self._due)[2]
            for call in entry[:]:
                call.expire()


_the_keeper: _Keeper | None = None
_making = threading.Lock()


def _keeper() -> _Keeper:
    global _the_keeper  # noqa: PLW0603 - one per process; a forked child has none of its parent's threads
    keeper = _the_keeper
    if keeper is None or keeper.pid != os.getpid():
        with _making:
            keeper = _the_keeper
            if keeper is None or keeper.pid != os.getpid():
                keeper = _the_keeper = _Keeper()
    return keeper
