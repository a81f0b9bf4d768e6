"""Comparisons that tell a thing from its copy: `is`, and `==`, `in` and look-ups of things that have no `__eq__`.

The inputs of a call and what its function holds go to another process by themselves, so that what was one object in
both is two there: a node that is a key of the function's table is in it no more.

Does not know: bytecode (`_read` notes what is compared), where calls run.

Invariants:

I1. No code of the user's runs: classes are asked what they have, and only built-in containers for what they hold.
I2. Only what is known to be of the same class as something that the function holds is taken to be that thing.
"""

from __future__ import annotations

from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType

from pointsman._naming import is_importable

from ._kinds import is_a
from ._library import Library
from ._origins import (
    INPUT,
    UNKNOWN,
    Holder,
    Instance,
    Made,
    Origin,
    Origins,
    class_attribute,
    class_of,
    full_name,
    is_plain,
    parts_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._frames import Frame

# Methods that compare what they are given with what their object holds.
_LOOKING_UP = frozenset(("get", "index", "count", "__contains__", "__getitem__"))
# What stands for the same thing in every process.
_EVERYWHERE = (type, FunctionType, BuiltinFunctionType, ModuleType)
_SAME_BY_NAME = frozenset(("the builtin", "the module", "the class", "the class of"))
ID = "the `id` of"
_CONTAINERS = frozenset((list, tuple, set, frozenset, dict))
_MANY = 256


class Comparing(Library):
    """The part of a walk that watches what the function compares."""

    compares = False
    """Whether an input may be something that is told from its copy."""

    def compared(self, frame: Frame) -> None:
        """Strike where a function compares a part of an input with a thing of its own."""
        for verb, left, right in frame.facts.compared:
            one, other = self.resolve(frame, left), self.resolve(frame, right)
            if verb == "is":
                self._tell(verb, one, other, by_equality=False)
            elif verb == "==":
                self._tell(verb, one, other, by_equality=True)
            else:
                self._look_up(one, other)

    def method_by_name(self, receiver: Origin, name: str, args: list[Origins], star: Origins) -> Origins:
        """Watch the methods that compare."""
        if self.compares and args and name in _LOOKING_UP:
            self._look_up(args[0], (receiver,))
        return super().method_by_name(receiver, name, args, star)

    def library(self, function: Origin, args: list[Origins], kwargs: dict[str, Origins], star: Origins) -> Origins:
        """Follow the number that `id` gives."""
        found = super().library(function, args, kwargs, star)
        if self.compares and function.obj is id and args and any(each.shared for each in args[0]):
            return (Origin(Instance(int), ID, str(args[0][0].expression)),)
        return found

    def is_told_apart(self, obj: object, deep: int = 2) -> bool:
        """Whether an object, or one that it holds, is equal to itself only."""
        cls = class_of(obj)
        if cls is None:
            return False
        if cls in _CONTAINERS and type(obj) is cls:
            return deep > 0 and any(self.is_told_apart(part, deep - 1) for part in parts_of(obj))
        return _is_told_apart(obj, cls, by_equality=True)

    def _look_up(self, wanted: Origins, places: Origins) -> None:
        for place in places:
            self._tell("in", wanted, self._members(place), by_equality=True)

    def _members(self, place: Origin) -> Origins:
        """What a container is searched for: a dict for its keys."""
        if place.intro == INPUT:
            return ()
        obj = place.obj
        if place.shared and issubclass(type(obj), dict):
            keys: Iterator[object] = islice(dict.__iter__(obj), _MANY)  # type: ignore[arg-type]
            return tuple(Origin(key, place.intro, place.expression) for key in keys)
        held = [item for item in self.items(place) if item.shared]
        return tuple(Origin(item.obj, item.intro, place.expression or item.expression) for item in held)

    def _tell(self, verb: str, one: Origins, other: Origins, *, by_equality: bool) -> None:
        ones, others = self._each(one), self._each(other)
        inputs = [origin for origin in (*ones, *others) if origin.intro in {INPUT, ID}]
        own = [origin for origin in (*ones, *others) if origin.shared and origin not in inputs]
        for given in inputs:
            cls = class_of(given.obj)
            apart = cls is not None and _is_told_apart(given.obj, cls, by_equality=by_equality)
            if not apart and given.intro != ID:
                continue
            for mine in own:
                if class_of(mine.obj) is cls and mine.intro not in _SAME_BY_NAME:
                    what = f"looks {given} up in {mine}" if verb == "in" else f"compares {given} with {mine}"
                    self.strike(f"{what} as one and the same object, which a copy is not")
                    return

    def _each(self, origins: Origins) -> list[Origin]:
        """The things themselves, and those in tuples of them."""
        found = []
        for origin in origins:
            found.append(origin)
            if is_a(origin.obj, Holder | Made):
                found += self.items(origin)
            elif type(origin.obj) is tuple:
                found += [Origin(part, origin.intro, origin.expression) for part in origin.obj]
        return found


def _is_told_apart(obj: object, cls: type, *, by_equality: bool) -> bool:
    """Whether a comparison tells an object from its copy."""
    if is_a(obj, FunctionType):
        return not is_importable(obj)
    if is_plain(obj) or issubclass(cls, _EVERYWHERE):
        return False
    if any(full_name(base) == "enum.Enum" for base in cls.__mro__):
        return False
    if class_attribute(cls, "__get__") is not UNKNOWN:
        # It stands in a class for what is not known.
        return False
    # What makes its own objects, or says how they travel, may see to it that there is one of each.
    for name in ("__new__", "__reduce__", "__reduce_ex__"):
        if is_a(class_attribute(cls, name), FunctionType | staticmethod):
            return False
    own = class_attribute(cls, "__eq__")
    return not by_equality or own is UNKNOWN or own is object.__dict__["__eq__"]
