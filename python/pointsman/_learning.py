"""What single calls have taught about their functions: kept per code object, forgotten when the code changes.

Does not know executors or pools; whoever submits a call asks here where calls like it should go.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from pointsman._measure import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

# GIL-held seconds from which on a call goes to a process even when it is alone, so that the caller's interpreter stays
# free: twice the interval after which the interpreter makes a thread let go (DESIGN: about 10 ms).
_LONG_HOLD = 0.010
# Calls that are measured before a function is known.
_ENOUGH_CALLS = 3


class Learnt:
    """What is known of one function."""

    __slots__ = ("calls", "held", "stays")

    def __init__(self) -> None:
        self.calls = 0
        self.held = 0.0
        # Whether its calls must stay in this process, whatever they cost.
        self.stays = False

    def add(self, held: float) -> None:
        """Note a measured call that held the GIL for `held` seconds."""
        self.calls += 1
        self.held += (held - self.held) / self.calls

    @property
    def is_known(self) -> bool:
        """Whether further calls need not be measured."""
        return self.calls >= _ENOUGH_CALLS

    @property
    def leaves(self) -> bool:
        """Whether calls are better off in a worker process."""
        return self.is_known and not self.stays and self.held > _LONG_HOLD


_by_code: weakref.WeakKeyDictionary[Any, Learnt] = weakref.WeakKeyDictionary()


def lookup(function: Callable[..., Any]) -> Learnt | None:
    """What is known of calls of `function`; None for callables that have no code of their own."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    learnt = _by_code.get(code)
    if learnt is None:
        learnt = _by_code[code] = Learnt()
    return learnt


def may_travel(function: Callable[..., Any]) -> bool:
    """Whether calls of `function` mean the same in another process."""
    from pointsman._meaning import judge as read

    return bool(read(function).may_travel)


def judge(function: Callable[..., Any], learnt: Learnt) -> None:
    """Keep calls here that would mean something else in another process."""
    learnt.stays = not may_travel(function)


class Observed:
    """A call of a function that is not known yet: runs it, measured."""

    def __init__(self, function: Callable[..., Any], learnt: Learnt) -> None:
        self.function = function
        self.learnt = learnt
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and note how long it held the GIL."""
        meter = Meter()
        meter.begin(look=True)
        try:
            return self.function(*args, **kwargs)
        finally:
            meter.end(1, keep=True)
            self.learnt.add(meter.held_share() * meter.cpu)
            meter.close()
            if self.learnt.is_known and self.learnt.held > _LONG_HOLD:
                judge(self.function, self.learnt)
