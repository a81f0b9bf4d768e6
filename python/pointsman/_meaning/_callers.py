"""Calls that no instruction names: of methods and attributes taken by name, of what a library looks for in an object.

Does not know: bytecode, how a function is followed.

Invariants:

I1. No code of the user's runs: what says which name it takes is one of the standard library's own.
"""

from __future__ import annotations

import builtins
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType

from ._comparing import Comparing
from ._kinds import is_a
from ._origins import (
    FRESH,
    UNKNOWN,
    Instance,
    Origin,
    Origins,
    class_attribute,
    class_of,
    full_name,
    instance_dict,
    is_plain,
    unique,
)
from ._resolve import CHANGEABLE, ENUMS
from ._tables import MUTATORS
from ._writes import is_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._frames import Arguments, Frame, Keywords

_GETTERS = frozenset(("operator.itemgetter", "operator.attrgetter", "operator.methodcaller"))
# Members of an enumeration that are looked at. Arbitrary.
_MOST_MEMBERS = 16


class Callers(Comparing):
    """The part of a walk that follows what is called by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.package = ""
        self.hooked: dict[tuple[int, bool], type] = {}

    def method(self, receiver: Origin, name: str, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow a call of a method."""
        raise NotImplementedError

    def enter(self, function: FunctionType, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow a call of a function of the project."""
        raise NotImplementedError

    def is_project(self, function: FunctionType) -> bool:
        """Whether the function belongs to the program."""
        raise NotImplementedError

    def made_method_caller(self, frame: Frame, caller: Origin, args: Arguments) -> None:
        """A `methodcaller` made here calls a method by a name that is among the constants of the code."""
        if not is_a(caller.obj, Instance) or full_name(caller.obj.cls) != "operator.methodcaller":
            return
        names = [name for name in frame.facts.code.co_consts if is_a(name, str) and name in MUTATORS]
        given = [origin for origins in args for origin in origins if origin is not caller]
        for name in names:
            for receiver in (*given, *(item for origin in given for item in self.items(origin))):
                self.method(receiver, name, [], {}, ())

    def called_by_name(self, frame: Frame, origin: Origin, args: Arguments) -> Origins:
        """What is called has no call: `getattr` took a method of it, by a name that a constant of the code begins."""
        if is_a(origin.obj, FunctionType | BuiltinFunctionType | type | ModuleType):
            return ()
        self.made_method_caller(frame, origin, args)
        cls = class_of(origin.obj)
        if cls is None or is_plain(origin.obj) or class_attribute(cls, "__call__") is not UNKNOWN:
            return ()
        begins = tuple(name for name in frame.facts.code.co_consts if is_a(name, str) and len(name) > 1)
        names = {name for base in cls.__mro__ for name in base.__dict__ if begins and name.startswith(begins)}
        for name in sorted(names):
            self.method(origin, name, args, {}, ())
        # Without any that is followed it stays what it is: a call of something unknown.
        return (FRESH,) if any(is_a(class_attribute(cls, name), FunctionType) for name in names) else ()

    def taken(self, obj: object, args: Arguments) -> Origins | None:
        """What one of `operator`'s callers and getters hands back of what it is given; None of anything else."""
        if obj is builtins.__build_class__:
            self._make_class(args)
        cls = obj.cls if is_a(obj, Instance) else type(obj)
        kind = full_name(cls)
        if kind not in _GETTERS:
            return None
        given = args[0] if args else ()
        if kind == "operator.itemgetter":
            return unique(item for origin in given for item in self.items(origin))
        if is_a(obj, Instance):
            # Which name it takes is not known here.
            return unique(origin.part("", UNKNOWN) if origin.shared else FRESH for origin in given)
        names = obj.__reduce__()[1]
        if kind == "operator.methodcaller":
            return tuple(handed for origin in given for handed in self.method(origin, str(names[0]), [], {}, ()))
        return unique(each for name in names for origin in given for each in self._path(origin, str(name)))

    def _path(self, origin: Origin, names: str) -> Origins:
        found: Origins = (origin,)
        for name in names.split("."):
            found = unique(after for each in found for after in self.step(each, "." + name))
        return found

    def _make_class(self, args: list[Origins]) -> None:
        """Follow what the bases of a new class have to say of it, and what theirs is made by."""
        for base in {origin.obj: None for origins in args[2:] for origin in origins if is_a(origin.obj, type)}:
            hooks = [class_attribute(base, "__init_subclass__")]
            hooks += [class_attribute(type(base), name) for name in ("__prepare__", "__new__", "__init__")]
            for hook in hooks:
                function = hook.__func__ if is_a(hook, classmethod | staticmethod) else hook
                if is_a(function, FunctionType) and self.is_project(function):
                    self.enter(function, [(FRESH,)], {}, ())

    def hooks(self, receiver: Origin) -> None:
        """A library calls those methods of an object that its class has in the place of the library's own."""
        cls = receiver.obj if is_a(receiver.obj, type) else class_of(receiver.obj)
        if cls is None or not cls.__flags__ & CHANGEABLE or (id(cls), receiver.shared) in self.hooked:
            return
        self.hooked[id(cls), receiver.shared] = cls
        made = Origin(Instance(cls)) if is_a(receiver.obj, type) else receiver
        for place, base in enumerate(cls.__mro__, 1):
            for name, function in list(base.__dict__.items()):
                behind = tuple(each for each in cls.__mro__[place:] if self._is_of_library(each))
                hook = is_a(function, FunctionType) and is_hook(name, behind)
                if hook and self.is_project(function):
                    self.rest_on_attribute(cls, name)
                    self.enter(function, [(made,)], {}, ())

    def _is_of_library(self, cls: type) -> bool:
        return str(cls.__module__).partition(".")[0] != self.package


def dispatched(receiver: Origin, name: str) -> list[FunctionType]:
    """The functions that `functools.singledispatchmethod` chooses from, if a method is one."""
    found = class_attribute(class_of(receiver.obj) or object, name)
    if full_name(type(found)) != "functools.singledispatchmethod":
        return []
    registry = instance_dict(instance_dict(found).get("dispatcher")).get("registry")
    functions = list(registry.values()) if is_a(registry, MappingProxyType) else []
    return [each for each in functions if is_a(each, FunctionType)]


def members(cls: type) -> Origins:
    """The members that a call of an enumeration's class hands out, which others see, too."""
    known = class_attribute(cls, "_member_map_")
    if type(known) is not dict or full_name(type(cls)) not in ENUMS:
        return ()
    return tuple(
        Origin(member, "the member", f"{cls.__name__}.{name}") for name, member in list(known.items())[:_MOST_MEMBERS]
    )
