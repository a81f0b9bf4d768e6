"""Judges whether a function means the same in another process, by reading it.

Moving a call changes what the program means when the call writes to memory that others read, or needs something
that cannot travel.  `judge` looks at the function's bytecode, its captured variables, the globals that it reaches
and the object that it is bound to, and goes on into functions of the same project.  It never runs any of them.

Does not know: what a call costs, whether arguments can be pickled (pickling tells), which backend will run it.

What it cannot see, and takes as harmless: methods of arguments whose class is unknown and whose name tells
nothing (pass a sample of the arguments), operators of such arguments, what a library does to its arguments beyond
the names it knows, what the attributes of objects made inside hold, and whether others change a global that is only
read, unless a function of its module sets it.

Invariants:

I1. Doubt keeps the call here: whatever cannot be read is not allowed to travel.
I2. `judge` does not raise, and runs no code of the user's.
I3. A kept verdict is used only while everything it rests on is the same object; it keeps nothing alive.
"""

from __future__ import annotations

import weakref
from types import MethodType

from ._alone import are_held, reentrant
from ._entry import Judgement
from ._frames import still_holds
from ._kinds import is_a
from ._names import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._frames import Rest

    _Kept = tuple[tuple["weakref.ref[Any]", ...], dict[tuple[type, ...], tuple["Verdict", list[Rest]]]]

__all__ = ["Verdict", "judge", "judge_all"]


class Verdict:
    """The answer about one function."""

    __slots__ = ("_locks", "alone", "hints", "may_travel", "reasons")

    _locks: tuple[weakref.ref[object], ...]
    may_travel: bool
    """Whether an automatic choice may run the call in another process."""
    reasons: tuple[str, ...]
    """Why not: each names the function and the variable."""
    alone: tuple[str, ...]
    """Why an automatic choice may not run calls beside each other in threads, likewise; empty if it may."""
    hints: tuple[str, ...]
    """What the names in the code promise of the work ("sleeps", "sockets", "numpy", ...): a weak prior."""

    def __init__(
        self,
        reasons: tuple[str, ...] = (),
        hints: tuple[str, ...] = (),
        alone: tuple[str, ...] = (),
        locks: tuple[weakref.ref[object], ...] = (),
    ) -> None:
        object.__setattr__(self, "may_travel", not reasons)
        object.__setattr__(self, "reasons", reasons)
        object.__setattr__(self, "hints", hints)
        object.__setattr__(self, "alone", alone)
        object.__setattr__(self, "_locks", locks)

    def alone_for(self, thread: int) -> tuple[str, ...]:
        """`alone`, for calls that the thread with this identifier asks for: it may hold a lock that they take."""
        if self._locks and are_held(self._locks, thread):
            return (*self.alone, "the caller holds a lock that the calls take, and only its own thread may go on")
        return self.alone

    def also(self, other: Verdict) -> Verdict:
        """The verdict about calls of both kinds."""
        return (
            self
            if other == self
            else Verdict(
                tuple(dict.fromkeys((*self.reasons, *other.reasons))),
                tuple(dict.fromkeys((*self.hints, *other.hints))),
                tuple(dict.fromkeys((*self.alone, *other.alone))),
                (*self._locks, *other._locks),
            )
        )

    def __setattr__(self, name: str, value: object) -> None:
        message = f"a Verdict does not change: cannot set {name!r}"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        message = f"a Verdict does not change: cannot delete {name!r}"
        raise AttributeError(message)

    def __repr__(self) -> str:
        return f"Verdict(reasons={self.reasons!r}, hints={self.hints!r}, alone={self.alone!r})"

    def __eq__(self, other: object) -> bool:
        if not is_a(other, Verdict):
            return NotImplemented
        return (self.reasons, self.hints, self.alone) == (other.reasons, other.hints, other.alone)

    def __hash__(self) -> int:
        return hash((self.reasons, self.hints, self.alone))


_kept: dict[tuple[int, ...], _Kept] = {}
_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None)))


def judge(func: Callable[..., Any], samples: tuple[object, ...] = ()) -> Verdict:
    """Whether calls of `func` mean the same in another process.

    `samples` are the positional arguments of one call, if known. They are looked at, not changed; with them
    `x += 1` on a number is told from `x += [1]` on a list, and methods of the arguments are followed.
    """
    try:
        kinds = tuple(map(type, samples))
        owners = (func.__self__, func.__func__) if is_a(func, MethodType) else (func,)
        key = tuple(map(id, owners))
        if _PLAIN.issuperset(kinds):
            verdict = _recall(key, owners, kinds)
            if verdict is not None:
                return verdict
        verdict, rests_on = _look(func, samples)
        if _PLAIN.issuperset(kinds):
            _keep(key, owners, kinds, verdict, rests_on)
    except Exception as error:  # noqa: BLE001 - I1 and I2
        return Verdict((f"`{name_of(func)}` cannot be read: {str(error) or type(error).__name__}",))
    return verdict


def judge_all(func: Callable[..., Any], samples: list[tuple[object, ...]]) -> Verdict:
    """As `judge`, for calls with each of these arguments."""
    first, *others = [judge(func, sample) for sample in samples]
    for verdict in others:
        first = first.also(verdict)
    return first


def _look(func: object, samples: tuple[object, ...]) -> tuple[Verdict, list[Rest]]:
    walk = Judgement(samples)
    walk.judge(func)
    # Where a lock is taken, it guards what is read and set (`_alone` I1).
    alone = walk.alone if walk.locks else walk.alone | walk.unguarded
    return Verdict(tuple(walk.reasons), tuple(walk.hints), tuple(alone), reentrant(walk.locks)), walk.rests_on


def _recall(key: tuple[int, ...], owners: tuple[object, ...], kinds: tuple[type, ...]) -> Verdict | None:
    """The verdict kept for these objects, if it still holds (I3)."""
    kept = _kept.get(key)
    if kept is None or any(ref() is not owner for ref, owner in zip(kept[0], owners, strict=True)):
        return None
    found = kept[1].get(kinds)
    if found is None:
        return None
    return found[0] if all(map(still_holds, found[1])) else None


def _keep(
    key: tuple[int, ...], owners: tuple[object, ...], kinds: tuple[type, ...], verdict: Verdict, rests_on: list[Rest]
) -> None:
    """Keep a verdict as long as its objects live; those that cannot be watched are read again each time."""
    kept = _kept.get(key)
    if kept is None or any(ref() is not owner for ref, owner in zip(kept[0], owners, strict=True)):
        drop = _kept.pop

        # Bound here, because the module may be empty by the time that the last owner goes.
        def forget(_gone: object) -> None:
            drop(key, None)

        try:
            refs = tuple(weakref.ref(owner, forget) for owner in owners)
        except TypeError:
            return
        kept = _kept[key] = (refs, {})
    kept[1][kinds] = (verdict, rests_on)
