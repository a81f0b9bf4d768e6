"""Calls of a plain function from a running event loop: on a thread, or in a worker process for what has been learnt.

Does not know how the outcome reaches the loop (`_loopside`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman import _default
from pointsman._errors import CannotTravelError
from pointsman._learning import Learnt, Observed, lookup
from pointsman._loopside import arriving, port_of
from pointsman._machine import facts

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

# Of so many calls a few are measured until the function is known; those that were cancelled taught nothing.
_LESSONS = range(1, 4)
_EVERY = 256


class Offload:
    """The way of one decorated function to threads and processes."""

    def __init__(
        self,
        function: Callable[..., Any],
        importable: Callable[..., Any],
        settle: Callable[[object], object] | None = None,
    ) -> None:
        self.function = function
        # What a worker process finds under the function's name.
        self.importable = importable
        # Told of the code whose calls stay on threads.
        self.settle = settle
        self.code: Any = None
        self.learnt: Learnt | None = None
        self.calls = 0
        # Whether nothing more is to be learnt of this code, and its calls stay here.
        self.stays = False

    def submit(self, loop: AbstractEventLoop | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Start a call and return its outcome to come; without a loop of asyncio it is a future that trio can await."""
        function = self.function
        code = getattr(function, "__code__", None)
        if code is not self.code or not self.stays:
            going = self._consider(code, loop, args, kwargs)
            if going is not None and not isinstance(going, Observed):
                return going
            function = going or function
        if loop is None:
            return _default.threads_for_loops().native.submit(function, args, kwargs)
        return port_of(loop).submit(function, args, kwargs)  # type: ignore[no-any-return]

    def _consider(
        self, code: Any, loop: AbstractEventLoop | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Observed | Awaitable[Any] | None:
        """Return the call, measured, if its function is to be learnt; what will come of it, if it left; else None."""
        if code is not self.code:
            # New code has to be learnt anew.
            self.code, self.learnt, self.calls = code, lookup(self.function), 0
            self.stays = False
        learnt = self.learnt
        if learnt is None:
            self.stays = True
            return None
        if not learnt.is_known:
            self.calls += 1
            return Observed(self.function, learnt) if self.calls % _EVERY in _LESSONS else None
        if learnt.leaves(self.function):
            try:
                return self._leave(loop, args, kwargs)
            except CannotTravelError:
                learnt.stays = True
        self.stays = True
        if self.settle is not None:
            self.settle(code)
        return None

    def _leave(self, loop: AbstractEventLoop | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        cores = facts().cores
        pool = _default.processes(max(1, round(cores)), 1, cores)
        future: Any = pool.native.submit(self.importable, args, kwargs)
        return future if loop is None else arriving(future, loop)
