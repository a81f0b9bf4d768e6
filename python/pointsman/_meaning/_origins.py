"""What a reference turns out to be: a live object, or something made inside, and how to name it to a user.

Does not know: bytecode, which calls are followed.

Invariants:

I1. Looking at an object never runs code of its class: no property, no `__getattr__`, no `__eq__` is called.
I2. An origin without a label was made by the function itself; writing to it is nobody else's business.
"""

from __future__ import annotations

import sys
from _collections import _tuplegetter  # type: ignore[import-not-found]
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType

from ._kinds import is_a
from ._types import NO_TRAVEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType
    from typing import Any

    from ._frames import Frame


class _Unknown:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""An object that cannot be known before the call."""


class Instance:
    """An object of which only the class is known, and what that others can see it was given to keep, by attribute."""

    __slots__ = ("cls", "held")

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.held: dict[str, Origins] = {}

    def mark(self, depth: int = 3) -> frozenset[object]:
        """What tells it from others of its class."""
        return frozenset((name, _mark_of(each, depth)) for name, kept in self.held.items() for each in kept)


def _mark_of(origin: Origin, depth: int) -> object:
    obj = origin.obj
    if is_a(obj, Inner):
        return id(obj.code), id(obj.frame)
    if is_a(obj, Instance):
        return obj.cls, obj.mark(depth - 1) if depth else None
    return origin.identity


class Named:
    """A module, or a part of one, that nobody has imported yet."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Holder:
    """A container made inside, of things that may not be."""

    __slots__ = ("identity", "parts")

    def __init__(self, parts: Origins) -> None:
        self.parts = parts
        self.identity: frozenset[object] = frozenset(part.identity for part in parts if part is not FRESH)


class Stream(Holder):
    """A generator made inside, by what it hands out."""

    __slots__ = ()


class Row(Holder):
    """A tuple made inside, of which the places are known."""

    __slots__ = ("columns",)

    def __init__(self, *columns: Origins) -> None:
        super().__init__(tuple(origin for column in columns for origin in column))
        self.columns = columns


class Copied(Holder):
    """A shallow copy: its attributes are those of the thing copied."""

    __slots__ = ("whole",)

    def __init__(self, whole: Origins, parts: Origins) -> None:
        super().__init__(parts)
        self.whole = whole


class Made:
    """A container made by one instruction of a frame."""

    __slots__ = ("frame", "site")

    def __init__(self, frame: Frame, site: int) -> None:
        self.frame = frame
        self.site = site


class Inner:
    """A function defined inside another one."""

    __slots__ = ("code", "frame", "site")

    def __init__(self, frame: Frame, site: int) -> None:
        self.frame = frame
        self.site = site
        self.code: CodeType = frame.facts.inner[site]


class Bound:
    """A method that changes its object, taken from a thing that others see, and not called yet."""

    __slots__ = ("name", "receiver")

    def __init__(self, receiver: Origin, name: str) -> None:
        self.receiver = receiver
        self.name = name


class Super:
    """`super()`: the rest of the classes of an object."""

    __slots__ = ("after", "cls", "instance")

    def __init__(self, after: type, cls: type, instance: Origin) -> None:
        self.after = after
        self.cls = cls
        self.instance = instance


class Origin:
    """One thing that a reference may stand for, and its name if others can see it."""

    __slots__ = ("expression", "intro", "obj")

    def __init__(self, obj: object, intro: str | None = None, expression: str = "") -> None:
        self.obj = obj
        self.intro = intro
        self.expression = expression

    @property
    def shared(self) -> bool:
        """Whether somebody else can see it (I2)."""
        return self.intro is not None

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells two origins apart: of unknown things, only where they come from."""
        obj = self.obj
        if obj is UNKNOWN:
            return (self.intro, self.expression.partition(".")[0].partition("[")[0])
        if is_a(obj, Holder):
            return (None, obj.identity)
        if is_a(obj, Bound):
            return (obj.name, *obj.receiver.identity)
        if is_a(obj, MethodType):
            # Bound anew each time that it is met.
            return (self.intro, id(obj.__func__), id(obj.__self__))
        cls = class_of(obj)
        if is_a(obj, Instance):
            return (self.intro, cls, obj.mark()) if obj.held else (self.intro, cls)
        return (self.intro, cls) if cls in _PLAIN else (self.intro, id(obj))

    def part(self, step: str, obj: object) -> Origin:
        """A part of this thing, named after it."""
        if self.intro is None:
            return Origin(obj)
        step = f"[{step[1:]}]" if step.startswith("#") else "[...]" if step.startswith("[") else step
        expression = self.expression
        if len(expression) < _LONGEST_NAME and not (step == "[...]" and expression.endswith("[...]")):
            expression += step
        return Origin(obj, self.intro, expression)

    def __str__(self) -> str:
        if not self.expression:
            return self.intro or "a local object"
        kind = ""
        if self.intro in _TYPED and self.expression.isidentifier():
            kind = type_word(self.obj)
        return f"{self.intro} {kind}`{self.expression}`"


Origins = tuple[Origin, ...]
INPUT = "its argument"
"""The intro of what a call of the judged function is given."""
FRESH = Origin(UNKNOWN)
_LONGEST_NAME = 60
_MOST_ORIGINS = 48
_TYPED = frozenset(("the captured", "the global"))
_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None), range, slice, type(...)))


def type_word(obj: object) -> str:
    """A word for what `obj` is, with a space behind it."""
    if obj is UNKNOWN or is_a(obj, Instance | Named | Holder | Made | Inner | Bound):
        return "variable "
    if is_a(obj, type):
        return "class "
    return type(obj).__name__ + " "


def class_of(obj: object) -> type | None:
    """The class of what `obj` stands for, if known."""
    if is_a(obj, Instance):
        return obj.cls
    if obj is UNKNOWN or is_a(obj, Named | Holder | Made | Inner | Bound | Super):
        return None
    return type(obj)


def full_name(cls: type) -> str:
    """Module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_plain(obj: object) -> bool:
    """Whether nothing can be written to `obj`, nor to a part of it."""
    return class_of(obj) in _PLAIN


def class_attribute(cls: type, name: str) -> object:
    """The attribute as it stands in the classes of `cls`, unbound."""
    for base in cls.__mro__:
        found: object = base.__dict__.get(name, UNKNOWN)
        if found is not UNKNOWN:
            return found
    return UNKNOWN


def instance_dict(obj: object) -> dict[str, object]:
    """The attributes that `obj` itself carries."""
    if type(obj).__dictoffset__ == 0:
        return {}
    try:
        found = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def attribute(obj: object, name: str) -> object:
    """What `obj.name` is, as far as that is known without running code (I1)."""
    if is_a(obj, ModuleType):
        found = obj.__dict__.get(name, UNKNOWN)
        return sys.modules.get(f"{obj.__name__}.{name}", UNKNOWN) if found is UNKNOWN else found
    if is_a(obj, Named):
        return sys.modules.get(f"{obj.name}.{name}") or Named(f"{obj.name}.{name}")
    if is_a(obj, type):
        return class_attribute(obj, name)
    cls = class_of(obj)
    if cls is None:
        return UNKNOWN
    if is_a(obj, MethodType):
        return {"__func__": obj.__func__, "__self__": obj.__self__}.get(name, UNKNOWN)
    return _of_instance(obj, cls, name)


def _of_instance(obj: object, cls: type, name: str) -> object:
    found = class_attribute(cls, name)
    if type(found) is _tuplegetter:
        # The field of a named tuple.
        place: Any = found.__reduce__()[1][0]
        return tuple.__getitem__(obj, place) if is_a(obj, tuple) else UNKNOWN
    if is_a(obj, Instance) or is_a(found, property):
        return found
    if is_a(found, MemberDescriptorType):
        try:
            return found.__get__(obj, cls)
        except AttributeError:
            return UNKNOWN
    if is_a(found, GetSetDescriptorType) and not is_a(obj, FunctionType):
        return UNKNOWN
    own = instance_dict(obj)
    return own.get(name, found)


def word_for_class(cls: type) -> str | None:
    """What an object of a class is that cannot go to another process."""
    return next((word for base in cls.__mro__ if (word := NO_TRAVEL.get(full_name(base)))), None)


def parts_of(obj: object) -> list[object]:
    """A few of the things that a plain container holds, or the class of all if nothing can be written to them."""
    if type(obj) in {list, tuple, set, frozenset}:
        values: list[object] = list(obj)[:_MANY]  # type: ignore[call-overload]
    elif type(obj) is dict:
        values = list(obj.values())[:_MANY]
    else:
        return [UNKNOWN]
    distinct: dict[object, object] = {}
    for value in values:
        distinct.setdefault(type(value) if type(value) in _PLAIN else id(value), value)
    if len(distinct) > _FEW or len(obj) > _MANY:  # type: ignore[arg-type]
        return [UNKNOWN, *list(distinct.values())[:_FEW]]
    return list(distinct.values()) or [UNKNOWN]


_MANY, _FEW = 256, 16


def cannot_travel(obj: object, depth: int = 0) -> str | None:
    """What `obj` is, if it cannot go to another process; looks `depth` levels into containers and objects."""
    cls = type(obj)
    if cls in _PLAIN or is_a(obj, _Unknown | Instance | Named | Holder | Made | Inner | Bound | Super):
        return None
    if any(obj is stream or obj is getattr(stream, "buffer", None) for stream in (sys.stdout, sys.stderr)):
        return None
    if cls is object:
        return "an object that is known by its identity"
    if not is_a(obj, type) and (word := _word_for_object(obj, cls)):
        return word
    if depth and not is_a(obj, type | ModuleType | FunctionType):
        held = parts_of(obj) if cls in {list, tuple, set, dict} else _own_parts(obj)
        for part in held:
            word = cannot_travel(part, depth - 1)
            if word:
                return f"{word}, inside an object of type {cls.__name__},"
    return None


def _word_for_object(obj: object, cls: type) -> str | None:
    word = word_for_class(cls)
    if not word and "__next__" in cls.__dict__ and not is_a(obj, ModuleType):
        word = "an iterator"
    return word or ("an object that pickle cannot make again" if _needs_arguments(cls) else None)


def _needs_arguments(cls: type) -> bool:
    """Whether a class makes objects of arguments, which pickle does not give it: then it fails on the other side."""
    new = class_attribute(cls, "__new__")
    new = new.__func__ if is_a(new, staticmethod) else new
    if not is_a(new, FunctionType) or any(class_attribute(cls, name) is not UNKNOWN for name in _GIVING):
        return False
    if any(class_attribute(cls, name) is not object.__dict__[name] for name in ("__reduce__", "__reduce_ex__")):
        return False
    code, optional = new.__code__, len(new.__defaults__ or ())
    return code.co_argcount - optional > 1 or code.co_kwonlyargcount > len(new.__kwdefaults__ or ())


# What says which arguments those are.
_GIVING = ("__getnewargs__", "__getnewargs_ex__")


def _own_parts(obj: object) -> list[object]:
    """The attributes that a pickle of `obj` would hold, for a class that does not say otherwise."""
    cls = type(obj)
    for name in ("__reduce__", "__reduce_ex__", "__getstate__"):
        if class_attribute(cls, name) is not object.__dict__.get(name, UNKNOWN):
            return []
    return list(instance_dict(obj).values())[:_MANY]


def unique(origins: Iterable[Origin]) -> Origins:
    """The origins without repetition, and no more than a walk can bear."""
    found: dict[object, Origin] = {}
    for origin in origins:
        found.setdefault(origin.identity, origin)
    if len(found) > _MOST_ORIGINS:
        kept = [origin for origin in found.values() if origin.shared]
        return tuple(kept[:_MOST_ORIGINS]) or tuple(found.values())[:_MOST_ORIGINS]
    return tuple(found.values())
