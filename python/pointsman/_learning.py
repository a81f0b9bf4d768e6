"""What calls have taught about their functions: kept per code that really runs, forgotten when it changes.

One place for what single calls teach (`submit`) and what jobs teach (`execute`, `map`), in memory for the program and,
when `remember` was asked for, in its file. Does not know executors or pools; whoever submits a call asks here where
calls like it should go.

Invariants:
    L1. What is remembered only ever shortens measuring: a first call is still measured, and wins when it differs.
    L2. Whether calls may travel is read from the function that is called, as it is then: others of the same code may
        reach other things. It is never taken from a file.
"""

from __future__ import annotations

import weakref

from pointsman import _memory, _native
from pointsman._errors import InvalidArgumentError
from pointsman._identity import key_of, own_code, size_of, wrapped
from pointsman._measure import Meter
from pointsman._naming import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pointsman._plan import Observation
    from pointsman._terms import Terms

# GIL-held seconds from which on a call goes to a process even when it is alone, so that the caller's interpreter stays
# free: twice the interval after which the interpreter makes a thread let go (DESIGN: about 10 ms).
_LONG_HOLD = 0.010
# Calls that are measured before a function is known.
_ENOUGH_CALLS = 3
# What a job teaches, per call: seconds and bytes.
FIGURES = (
    "held",
    "free",
    "wait",
    "cv",
    "longest",
    "argument_bytes",
    "result_bytes",
    "other_threads",
    "faulting",
    "flip",
)
# A call that takes this many times as long as was remembered, or as short, is another kind of call. Arbitrary from 1.5
# to 3: loaded machines stretch calls by half, and predictions that are wrong by three choose wrongly.
_ALIKE = 2.0
# Share of its time by which a call may compute more or less than was remembered.
_ALIKE_SHARE = 0.25
# Seconds of either kind by which a call that still runs may exceed that: what looking at it takes.
_SLACK = 0.001
# Size classes kept for a function.
_MOST_SIZES = 32


class Learnt:
    """What is known of one function."""

    __slots__ = ("calls", "held", "key", "sizes", "stays")

    def __init__(self) -> None:
        self.calls = 0
        self.held = 0.0
        # Whether its calls stay in this process, whatever they cost: one could not be sent, or its result.
        self.stays = False
        # What jobs have taught, by the size class of the arguments: figures as in `FIGURES`, and "calls".
        self.sizes: dict[str, dict[str, float]] = {}
        # Its name in the file.
        self.key: str | None = None

    def add(self, held: float) -> None:
        """Note a measured call that held the GIL for `held` seconds."""
        self.calls += 1
        self.held += (held - self.held) / self.calls

    @property
    def is_known(self) -> bool:
        """Whether further calls need not be measured."""
        return self.calls >= _ENOUGH_CALLS

    @property
    def is_heavy(self) -> bool:
        """Whether calls are better off in a worker process, if they mean the same there."""
        return self.is_known and not self.stays and self.held > _LONG_HOLD

    def leaves(self, function: Callable[..., Any]) -> bool:
        """Whether a call of `function`, which has this code, shall go to a worker process (L2)."""
        return self.is_heavy and may_travel(function)

    def as_entry(self) -> dict[str, Any]:
        """Return what a file keeps."""
        return {"calls": self.calls, "held": self.held, "sizes": self.sizes}

    def take(self, entry: dict[str, Any]) -> None:
        """Take what a file has kept; what does not fit is left out (its figures are known to be sound)."""
        calls, held, sizes = entry.get("calls"), entry.get("held"), entry.get("sizes")
        if isinstance(calls, int) and isinstance(held, int | float):
            self.calls, self.held = calls, float(held)
        if isinstance(sizes, dict):
            wanted = {*FIGURES, "calls"}
            self.sizes = {
                size: found for size, found in sizes.items() if isinstance(found, dict) and wanted <= {*found}
            }


_by_code: weakref.WeakKeyDictionary[Any, Learnt] = weakref.WeakKeyDictionary()
# What stands in front of others (a decorator's inner function) is one code object for all that it wraps.
_by_wrapped: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, Learnt]] = weakref.WeakKeyDictionary()


def lookup(function: Callable[..., Any]) -> Learnt | None:
    """What is known of calls of `function`; None for callables that have no code of their own."""
    code = own_code(function)
    if code is None:
        return None
    inner = wrapped(function)
    kept = _by_code
    if inner is not None:
        kept = _by_wrapped.setdefault(code, weakref.WeakKeyDictionary())
        code = inner.__code__
    learnt = kept.get(code)
    if learnt is None:
        learnt = kept[code] = Learnt()
        memory = _memory.current()
        if memory is not None:
            _take_from(memory, function, learnt)
    return learnt


def _take_from(memory: _memory.Memory, function: Callable[..., Any], learnt: Learnt) -> None:
    learnt.key = key_of(function)
    entry = memory.recall(learnt.key) if learnt.key is not None else None
    if entry is not None:
        learnt.take(entry)


def _keep(function: Callable[..., Any], learnt: Learnt) -> None:
    memory = _memory.current()
    if memory is None:
        return
    learnt.key = key_of(function)
    if learnt.key is not None:
        memory.note(learnt.key, learnt.as_entry())


class Recalled:
    """What earlier jobs of a function on arguments of one size have taught, for the next such job."""

    __slots__ = ("_function", "_learnt", "_size", "figures")

    def __init__(self, function: Callable[..., Any], learnt: Learnt, item: Any, *, star: bool) -> None:
        self._function = function
        self._learnt = learnt
        self._size = ",".join(str(size_of(part)) for part in item) if star else str(size_of(item))
        self.figures = learnt.sizes.get(self._size)

    def agrees(self, wall: float, cpu: float, calls: int) -> bool:
        """Whether calls that were measured now, `wall` and `cpu` seconds in all, are like those remembered (L1)."""
        known = self.figures
        if known is None or calls < 1 or wall <= 0:
            return False
        mean = known["held"] + known["free"] + known["wait"]
        if not mean / _ALIKE <= wall / calls <= mean * _ALIKE:
            return False
        return abs(cpu / wall - (known["held"] + known["free"]) / mean) <= _ALIKE_SHARE

    def allows(self, cpu: float, wait: float) -> bool:
        """Whether a call that still runs, after so many seconds of each kind, can be like those remembered."""
        known = self.figures
        if known is None:
            return False
        return cpu <= _ALIKE * (known["held"] + known["free"]) + _SLACK and wait <= _ALIKE * known["wait"] + _SLACK

    @property
    def stays(self) -> bool:
        """Whether results could not be sent from another process."""
        return self._learnt.stays

    def keep_here(self) -> None:
        """Remember that, as long as the program runs."""
        self._learnt.stays = True

    def observation(self) -> _native.Observation:
        """Return what is remembered, as the planner takes it."""
        known = self.figures or {}
        figures: dict[str, Any] = {name: known[name] for name in (*FIGURES, "pack") if name in known}
        return _native.Observation(calls=int(known.get("calls", 1)), **figures)

    def told(self) -> str:
        """Say that this decision rests on what was remembered."""
        calls = int((self.figures or {}).get("calls", 1))
        return f"begun on what was remembered of {calls} earlier calls; the first one now was like them"

    def learn(self, seen: Observation) -> None:
        """Keep what a job has measured, in the place of what was known."""
        sizes = self._learnt.sizes
        if len(sizes) >= _MOST_SIZES and self._size not in sizes:
            sizes.pop(next(iter(sizes)))
        figures = {**{name: float(getattr(seen, name)) for name in FIGURES}, "calls": seen.calls}
        # What it takes to send a call is known only where that was of interest.
        sizes[self._size] = figures if seen.pack is None else {**figures, "pack": float(seen.pack)}
        _keep(self._function, self._learnt)


def recall(function: Callable[..., Any], item: Any, *, star: bool) -> Recalled | None:
    """What is known of a job whose first input is `item`; None for callables that have no code of their own."""
    learnt = lookup(function)
    return Recalled(function, learnt, item, star=star) if learnt is not None else None


def may_travel(function: Callable[..., Any]) -> bool:
    """Whether calls of `function` mean the same in another process."""
    from pointsman._meaning import judge as read

    return bool(read(function).may_travel)


def can_be_stopped(terms: Terms, function: Callable[..., Any]) -> bool:
    """Whether a call on these terms may have a process; on a thread it goes on, though nobody waits for it any more.

    Raises `InvalidArgumentError` if it may not, and the terms cannot be kept on a thread.
    """
    if terms.kill_on_cancel:
        check_travels(terms, function, [()])
    return may_travel(function)


def check_travels(terms: Terms, function: Callable[..., Any], samples: list[tuple[Any, ...]]) -> None:
    """Raise `InvalidArgumentError` if calls on these terms, which need a process, would not mean the same in one."""
    from pointsman._meaning import judge_all

    verdict = judge_all(function, samples)
    if not verdict.may_travel:
        asked = "kill_on_cancel=" if terms.timeout is None else "timeout="
        message = (
            f"{asked} must be able to stop a call, which only a process of its own allows, and there it would not mean "
            f"the same: {'; '.join(verdict.reasons)}. Let the call return what it has to tell, leave {asked} out, or "
            f"say backend='processes' if what is lost does not matter"
        )
        raise InvalidArgumentError(message)


class Observed:
    """A call of a function that is not known yet: runs it, measured."""

    def __init__(self, function: Callable[..., Any], learnt: Learnt) -> None:
        self.function = function
        self.learnt = learnt
        self.__qualname__ = name_of(function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and note how long it held the GIL."""
        meter = Meter()
        meter.begin(look=True)
        result = None
        try:
            result = self.function(*args, **kwargs)
            return result
        finally:
            meter.end(1, keep=True)
            self.learnt.add(meter.held_share() * meter.cpu)
            meter.close()
            if self.learnt.is_known:
                if self.learnt.is_heavy:
                    # What is read here is read again in no time, by a thread that may not wait.
                    may_travel(self.function)
                    meter.size([], [result])
                    self.learnt.stays = self.learnt.stays or meter.result_stays
                _keep(self.function, self.learnt)
