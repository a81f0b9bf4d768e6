"""One way of calling a function: its frame, what its variables are bound to, and what an answer rests on.

Does not know: what references stand for, what is harmful.

Invariants:

I1. What an answer rests on is kept by weak references and tokens: it keeps nothing alive.
"""

from __future__ import annotations

import weakref
from types import CodeType, FunctionType

from ._kinds import is_a
from ._origins import FRESH, UNKNOWN, Holder, Origin, Origins, attribute, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._values import Facts, Ref

Arguments = list[Origins]
Keywords = dict[str, Origins]

_VARARGS, _VARKEYWORDS = 0x04, 0x08

Rest = tuple[str, "weakref.ref[Any]", str, object]
"""One thing that an answer rests on: kind, owner, name, and the token of what was found."""


class Frame:
    """One function, with what its arguments and captured variables stand for."""

    __slots__ = ("args", "facts", "function", "memo", "name", "outer", "results")

    def __init__(
        self, facts: Facts, function: FunctionType, args: dict[str, Origins], outer: Frame | None = None
    ) -> None:
        self.facts = facts
        self.function = function
        """The function whose globals and cells these are: for an inner one, that of the outermost frame."""
        self.args = args
        self.outer = outer
        self.name = facts.code.co_qualname.rpartition("<locals>.")[2]
        self.memo: dict[Ref, Origins] = {}
        self.results: dict[int, Origins] = {}

    def owner(self, name: str) -> Frame | None:
        """The frame that a captured variable belongs to, or None if it was captured before the call."""
        frame = self.outer
        while frame is not None and name not in frame.facts.code.co_cellvars:
            frame = frame.outer
        return frame


def bind(code: CodeType, args: Arguments, kwargs: Keywords, star: Origins, defaults: Keywords) -> Keywords:
    """The variables that a call fills, by name; `star` may land anywhere."""
    names, count = code.co_varnames, code.co_argcount
    named = count + code.co_kwonlyargcount
    bound: Keywords = {}
    for position, name in enumerate(names[:named]):
        if position < count and position < len(args):
            bound[name] = args[position]
        elif name in kwargs:
            bound[name] = kwargs[name]
        elif star:
            bound[name] = star + defaults.get(name, ())
        else:
            bound[name] = defaults.get(name, (FRESH,))
    place = named
    if code.co_flags & _VARARGS:
        rest = [origin for origins in args[count:] for origin in origins]
        bound[names[place]] = (Origin(Holder(unique([*rest, *star]))),)
        place += 1
    if code.co_flags & _VARKEYWORDS:
        rest = [origin for name, origins in kwargs.items() if name not in names[:named] for origin in origins]
        bound[names[place]] = (Origin(Holder(unique([*rest, *star]))),)
    return bound


def token(obj: object) -> object:
    """Something that tells later whether the same thing is still there, without keeping it alive."""
    if is_a(obj, FunctionType | type | CodeType):
        return weakref.ref(obj)
    return type(obj), id(obj)


def same(obj: object, mark: object) -> bool:
    """Whether `obj` is what `token` was made from."""
    if is_a(mark, weakref.ref):
        return mark() is obj
    return is_a(mark, tuple) and type(obj) is mark[0] and id(obj) == mark[1]


def captured_by(function: FunctionType, name: str) -> object:
    """What a captured variable of `function` holds now."""
    names = function.__code__.co_freevars
    cells = function.__closure__ or ()
    if name not in names or len(cells) != len(names):
        return UNKNOWN
    try:
        found: object = cells[names.index(name)].cell_contents
    except ValueError:
        return UNKNOWN
    return found


def still_holds(rest: Rest) -> bool:
    """Whether what an answer rested on is as it was."""
    kind, owner, name, mark = rest
    obj = owner()
    if obj is None or kind == "never":
        return False
    if kind == "attribute":
        return same(attribute(obj, name), mark)
    if not is_a(obj, FunctionType):
        return False
    if kind == "global":
        return same(obj.__globals__.get(name, UNKNOWN), mark)
    if kind == "captured":
        return same(captured_by(obj, name), mark)
    return same(obj.__code__, mark)


def captured_values(obj: object) -> list[object]:
    """All that a function has captured."""
    if not is_a(obj, FunctionType):
        return []
    return [captured_by(obj, name) for name in obj.__code__.co_freevars]
