"""Finds what the references of a function stand for, in one frame: one way of calling it.

Does not know: what calls do (`_follow` does), what is harmful.

Invariants:

I1. Each reference of a frame is resolved once; a thing that is defined by itself adds nothing to itself.
I2. Every function, global, cell and attribute that an answer rests on is in `rests_on`, so that an answer can be
    checked for age. What is kept there keeps nothing alive.
"""

from __future__ import annotations

import builtins
import sys
import weakref
from types import FunctionType, MethodDescriptorType, MethodType, ModuleType, SimpleNamespace

from ._frames import captured_by, token
from ._generators import draws
from ._kinds import is_a
from ._origins import (
    FRESH,
    INPUT,
    UNKNOWN,
    Bound,
    Copied,
    Holder,
    Inner,
    Instance,
    Made,
    Named,
    Origin,
    Origins,
    Row,
    Super,
    attribute,
    class_attribute,
    class_of,
    full_name,
    instance_dict,
    is_plain,
    parts_of,
    unique,
)
from ._tables import MUTATORS
from ._values import FAR, FULL_SLICE, ITEM, SLICE, Ref, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._frames import Frame, Rest


# The class of enumerations, which has two names.
ENUMS = frozenset(("enum.EnumType", "enum.EnumMeta"))
# Py_TPFLAGS_HEAPTYPE: the class was made by a program, which may change it.
CHANGEABLE = 1 << 9


class Resolver:
    """The part of a walk that answers what a reference stands for."""

    def __init__(self) -> None:
        self.rests_on: list[Rest] = []

    def result(self, frame: Frame, site: int) -> Origins:
        """What the call at `site` hands back."""
        raise NotImplementedError

    def write(self, verb: str, origin: Origin) -> None:
        """Note that something is written to."""
        raise NotImplementedError

    def getter(self, function: FunctionType, *args: Origin) -> Origins | None:
        """What a property hands back, if its function is followed."""
        raise NotImplementedError

    def resolve(self, frame: Frame, value: Value) -> Origins:
        """Everything that `value` may stand for."""
        if not value:
            return ()
        return unique(origin for ref in value for origin in self.resolve_ref(frame, ref))

    def resolve_ref(self, frame: Frame, ref: Ref) -> Origins:
        """Everything that `ref` may stand for."""
        known = frame.memo.get(ref)
        if known is not None:
            return known
        frame.memo[ref] = ()
        kind, root, steps = ref
        if steps:
            before = self.resolve_ref(frame, (kind, root, steps[:-1]))
            found = unique(after for origin in before for after in self.step(origin, steps[-1]))
        else:
            found = self.root(frame, kind, root)
        frame.memo[ref] = found
        return found

    def root(self, frame: Frame, kind: str, root: str | int) -> Origins:
        """What the root of a reference stands for."""
        if is_a(root, int):
            if kind == "call":
                held = (Origin(Made(frame, root)),) if root in frame.facts.made else ()
                return self.result(frame, root) + held
            if kind == "made":
                return (Origin(Made(frame, root)),)
            return (Origin(Inner(frame, root)),)
        if kind == "arg":
            return frame.args.get(root, (FRESH,))
        if kind == "global":
            return (self._global(frame, root),)
        if kind == "free":
            return self.captured(frame, root)
        if kind == "module":
            return (Origin(sys.modules.get(root) or Named(root), "the module", root),)
        if kind == "super":
            return self._super(frame)
        return ()

    def rest(self, kind: str, owner: object, name: str, found: object) -> None:
        """Note that an answer rests on `name` of `owner` being `found`."""
        try:
            self.rests_on.append((kind, weakref.ref(owner), name, token(found)))
        except TypeError:
            # An owner that cannot be watched belongs to one that is, or lives on a stack.
            return

    def rest_on_attribute(self, obj: object, name: str) -> None:
        """Note that an answer rests on what `obj.name` is: one of its own may come to hide that of its class."""
        owner = obj.cls if is_a(obj, Instance) else obj
        cls = owner if is_a(owner, type) else class_of(owner)
        if cls is None or not cls.__flags__ & CHANGEABLE:
            return
        if not is_a(owner, type) and not cls.__weakrefoffset__:
            owner = cls
        self.rest("attribute", owner, name, attribute(owner, name))

    def _global(self, frame: Frame, name: str) -> Origin:
        obj = frame.function.__globals__.get(name, UNKNOWN)
        self.rest("global", frame.function, name, obj)
        if obj is not UNKNOWN:
            return Origin(obj, "the global", name)
        obj = builtins.__dict__.get(name, UNKNOWN)
        return Origin(obj, "the global" if obj is UNKNOWN else "the builtin", name)

    def captured(self, frame: Frame, name: str) -> Origins:
        """What a captured variable stands for."""
        owner = frame.owner(name)
        if owner is not None:
            return self.resolve(owner, owner.facts.cells.get(name, frozenset())) or (FRESH,)
        obj = captured_by(frame.function, name)
        self.rest("captured", frame.function, name, obj)
        return (Origin(obj, "the captured", name),)

    def _super(self, frame: Frame) -> Origins:
        code = frame.facts.code
        if not code.co_argcount:
            return (FRESH,)
        after = next((origin.obj for origin in self.captured(frame, "__class__")), None)
        found = []
        for origin in frame.args.get(code.co_varnames[0], ()):
            cls = origin.obj if is_a(origin.obj, type) else class_of(origin.obj)
            if is_a(after, type):
                cls = cls if cls is not None and issubclass_safe(cls, after) else after
                found.append(Origin(Super(after, cls, origin), origin.intro, origin.expression))
        return tuple(found) or (FRESH,)

    def step(self, origin: Origin, step: str) -> Origins:
        """The part of `origin` that one step leads to."""
        if step == FAR:
            return (origin.part("", UNKNOWN) if origin.shared else FRESH,)
        if step.startswith("."):
            return kept_as(origin, step[1:]) or self._attribute(origin, step)
        if step in {SLICE, FULL_SLICE}:
            cls = class_of(origin.obj)
            copied = cls in {list, tuple, str, bytes} or (cls is None and step == FULL_SLICE)
            if is_a(origin.obj, Made | Holder) or copied:
                return (Origin(Holder(self.items(origin))),)
            return (origin.part("[]", origin.obj) if origin.shared else FRESH,)
        return self.items(origin, step)

    def items(self, origin: Origin, step: str = ITEM) -> Origins:
        """What iterating over, indexing or unpacking `origin` gives."""
        obj = origin.obj
        if is_a(obj, Row) and step.startswith("#"):
            place = int(step[1:])
            return obj.columns[place] if place < len(obj.columns) else ()
        if is_a(obj, Holder):
            return obj.parts
        if is_a(obj, Made):
            return self.resolve(obj.frame, obj.frame.facts.made.get(obj.site, frozenset()))
        if is_plain(obj) or not origin.shared or is_a(obj, type | ModuleType | FunctionType):
            return (FRESH,)
        held = parts_of(obj)
        if any(is_a(part, FunctionType | MethodType) for part in held):
            # Functions in a registry come and go without the registry being another object.
            self.rest("never", type(obj), "", None)
        return tuple(origin.part(step, part) for part in held)

    def _attribute(self, origin: Origin, step: str) -> Origins:
        obj, name = origin.obj, step[1:]
        if is_a(obj, Copied):
            return unique(part for whole in obj.whole if whole.shared for part in self._attribute(whole, step))
        if is_a(obj, Made | Holder) or (is_plain(obj) and name != "__class__"):
            return (FRESH,)
        if is_a(obj, Super):
            return (Origin(super_attribute(obj, name), origin.intro, origin.expression),)
        if name == "__class__":
            return (Origin(class_of(obj) or UNKNOWN, "the class of", origin.expression or "a local object"),)
        found = _value_of_member(obj) if name in {"value", "_value_"} else UNKNOWN
        found = attribute(obj, name) if found is UNKNOWN else found
        if is_a(found, property) and is_a(found.fget, FunctionType):
            self.rest_on_attribute(obj, name)
            handed = self.getter(found.fget, origin)
            return handed if handed is not None else (origin.part(step, UNKNOWN),)
        self._descriptor(origin, step, found)
        if is_a(obj, ModuleType):
            self.rest("attribute", obj, name, found)
        elif is_a(obj, Instance) and not origin.shared and is_common(found):
            self.rest_on_attribute(obj, name)
            return (Origin(found, "the class attribute", f"{obj.cls.__name__}.{name}"),)
        else:
            self.rest_on_attribute(obj, name)
        if is_a(found, FunctionType) and is_method_of(obj, name):
            return (origin.part(step, MethodType(found, obj)),)
        changes = (name in MUTATORS and is_a(found, MethodDescriptorType)) or draws(obj, name)
        if changes and origin.shared:
            part = origin.part(step, found)
            return (Origin(Bound(origin, name), part.intro, part.expression),)
        return (origin.part(step, found),)

    def keep(self, frame: Frame) -> None:
        """Note what objects that were made here keep in their attributes, where that reaches what others see."""
        for (name, container), content in frame.facts.sets.items():
            things = [each.obj for each in self.resolve(frame, container) if not each.shared]
            owners = [thing for thing in things if is_a(thing, Instance)]
            kept = tuple(filter(_reaches_out, self.resolve(frame, content) if owners else ()))
            for origin in kept if name == "__dict__" else ():
                self.write("sets attributes through", origin)
            for owner in owners if kept else ():
                owner.held[name] = unique([*owner.held.get(name, ()), *kept])

    def _descriptor(self, origin: Origin, step: str, found: object) -> None:
        """Follow what reading an attribute calls, if that is more than a look; what it hands back is not known."""
        if origin.intro == INPUT and is_cached(origin.obj, step[1:]):
            # The input that was looked at may have it by now; the others have it not.
            self.write(f"fills `{step[1:]}` of", origin)
        cls = class_of(found)
        if cls is None or is_a(found, type | FunctionType):
            return
        args: tuple[Origin, ...]
        if full_name(cls) == "functools.cached_property":
            function, args = found.func, (origin,)  # type: ignore[attr-defined]
            self.write(f"fills `{step[1:]}` of", origin)
        elif cls.__flags__ & CHANGEABLE:
            function, args = class_attribute(cls, "__get__"), (origin.part(step, found), origin)
        else:
            return
        if is_a(function, FunctionType):
            self.rest_on_attribute(origin.obj, step[1:])
            self.getter(function, *args)


def instance_of(cls: type, args: list[Origins], kwargs: dict[str, Origins]) -> Instance:
    """A new object of a class; named tuples and name spaces keep what they are made of."""
    made = Instance(cls)
    fields = class_attribute(cls, "_fields") if issubclass_safe(cls, tuple) else None
    if is_a(fields, tuple):
        for name, given in [*zip(fields, args, strict=False), *kwargs.items()]:
            made.held[str(name)] = tuple(filter(_reaches_out, given))
    elif cls is SimpleNamespace:
        made.held.update({name: tuple(filter(_reaches_out, given)) for name, given in kwargs.items()})
    made.held = {name: kept for name, kept in made.held.items() if kept}
    return made


def kept_as(origin: Origin, name: str) -> Origins:
    """What an object that was made here keeps under a name."""
    return origin.obj.held.get(name, ()) if is_a(origin.obj, Instance) and not origin.shared else ()


def _reaches_out(origin: Origin) -> bool:
    obj = origin.obj
    if is_a(obj, Instance):
        return origin.shared or bool(obj.held)
    return is_a(obj, Inner | Bound) or (origin.shared and not is_plain(obj))


def _value_of_member(obj: object) -> object:
    """What a member of an enumeration stands for; UNKNOWN of anything else."""
    return instance_dict(obj).get("_value_", UNKNOWN) if full_name(type(type(obj))) in ENUMS else UNKNOWN


def is_cached(obj: object, name: str) -> bool:
    """Whether an attribute is computed when it is read for the first time, and kept."""
    in_class = class_attribute(class_of(obj) or object, name)
    return full_name(class_of(in_class) or object) == "functools.cached_property"


def is_method_of(obj: object, name: str) -> bool:
    """Whether a function that was found under a name is a method that `obj`, a live object, would bind."""
    cls = class_of(obj)
    return cls is type(obj) and not is_a(obj, type | ModuleType | MethodType) and name not in instance_dict(obj)


def is_common(found: object) -> bool:
    """Whether what stands in a class is a thing that all objects of the class have in common, and may change."""
    cls = class_of(found)
    if cls is None or is_plain(found) or is_a(found, type | ModuleType):
        return False
    return class_attribute(cls, "__get__") is UNKNOWN


def issubclass_safe(cls: type, base: type) -> bool:
    """Whether `base` is among the classes of `cls`, by looking only."""
    return any(each is base for each in cls.__mro__)


def super_attribute(obj: Super, name: str) -> object:
    """The attribute of the classes behind `obj.after`."""
    classes = obj.cls.__mro__
    position = next((index for index, cls in enumerate(classes) if cls is obj.after), -1)
    for cls in classes[position + 1 :]:
        found = cls.__dict__.get(name, UNKNOWN)
        if found is not UNKNOWN:
            return found
    return UNKNOWN


def is_namespace(obj: object, function: FunctionType) -> bool:
    """Whether a function may find by it what is in its module."""
    names = function.__globals__
    if obj is globals or obj is sys.modules or obj is names:
        return True
    return is_a(obj, ModuleType) and vars(obj) is names
