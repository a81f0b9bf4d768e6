"""Judges one function: follows it as a caller from outside would call it.

Does not know: bytecode, how a call inside is followed.

Invariants:

I1. An argument that nobody gave counts as the caller's: writing to it is a strike.
I2. What is known of an argument comes from a sample, from its annotation, or from the class of its default.
"""

from __future__ import annotations

import sys
from functools import partial
from types import FunctionType, MethodType, ModuleType

from ._comparing import ID
from ._follow import ASYNC_GENERATOR, COROUTINE, GENERATOR, STANDARD, Walk, package_of
from ._kinds import is_a
from ._names import name_of
from ._origins import (
    FRESH,
    INPUT,
    UNKNOWN,
    Holder,
    Instance,
    Made,
    Origin,
    Origins,
    Stream,
    instance_dict,
    is_plain,
    word_for_class,
)
from ._tables import METHOD_WRITES
from ._types import HINT_MODULES
from ._writes import inputs_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._frames import Arguments, Keywords

# From 3.14 on, asking for annotations may run code; their text may be had without.
_LAZY_ANNOTATIONS = sys.version_info >= (3, 14)
# Arguments that a callable is taken to be called with if nothing is known of it: more than three change no answer.
_INVENTED = 3
_BUILTIN_HINTS: dict[str, type] = {cls.__name__: cls for cls in (int, float, complex, bool, str, bytes)}


class Judgement(Walk):
    """One walk from the function that is judged."""

    def __init__(self, samples: tuple[object, ...] = ()) -> None:
        super().__init__()
        self.samples = samples
        self.compares = any(not is_plain(sample) for sample in samples)
        self.bound = 0

    def judge(self, func: object) -> None:
        """Follow `func` as it would be called from outside."""
        args: Arguments = []
        kwargs: Keywords = {}
        target = func
        self.names.append(name_of(func))
        while is_a(target, partial | MethodType):
            if is_a(target, partial):
                args = [*(self._bound(value, "argument") for value in target.args), *args]
                kwargs = {**{name: self._bound(value, name) for name, value in target.keywords.items()}, **kwargs}
                target = target.func
            else:
                args = [self._bound(target.__self__, "self"), *args]
                target = target.__func__
        if is_a(target, FunctionType):
            for origins, name in zip(args, target.__code__.co_varnames, strict=False):
                origins[0].expression = name
        self.bound = len(args)
        inside = target
        # What a library wraps is judged by what is inside; an object of the project's by its own `__call__`.
        while not is_a(inside, FunctionType) and "__wrapped__" in instance_dict(inside) and not self.is_called(inside):
            inside = instance_dict(inside)["__wrapped__"]
        if not (is_a(inside, FunctionType) and self._judge_function(inside, args, kwargs, of=func)):
            self._judge_other(inside, args, kwargs)
        self.unguarded.update(dict.fromkeys(self.stashed()))

    def _judge_function(self, inside: FunctionType, args: Arguments, kwargs: Keywords, *, of: object) -> bool:
        """Follow a function of the project; false for one that is taken at its name."""
        self._kind(inside)
        by_name = trusted(inside)
        self.only_bound = by_name and is_a(of, MethodType)
        if self.only_bound and inside.__name__ in METHOD_WRITES:
            self.strike("changes its argument")
        if by_name and not self.only_bound:
            return False
        self.top, self.package = inside, package_of(inside)
        returned = self.call(Origin(inside), args, kwargs, ())
        if not inside.__code__.co_flags & (GENERATOR | ASYNC_GENERATOR):
            self._returns(returned, deep=2)
        return True

    def _judge_other(self, inside: object, args: Arguments, kwargs: Keywords) -> None:
        """Judge a class, a callable object, or a function that is taken at its name."""
        if is_a(inside, type) and inside.__module__ in sys.modules:
            file = str(getattr(sys.modules[inside.__module__], "__file__", None) or STANDARD)
            self.package = "" if file.startswith(STANDARD) else inside.__module__.partition(".")[0]
        self.hint(Origin(inside))
        samples = [(Origin(value, INPUT, str(place)),) for place, value in enumerate(self.samples, 1)]
        most = inputs_of(inside, _INVENTED)
        rest = [(Origin(UNKNOWN, INPUT, str(place)),) for place in range(len(samples) + 1, most + 1)]
        given = [*args, *samples, *rest]
        for origins in given:
            for origin in origins:
                self.touch(origin, deep=0)
        returned = self.call(Origin(inside, "the object", self.name), given, kwargs, ())
        if self.is_called(inside):
            self._returns(returned, deep=2)

    def _returns(self, origins: Origins, deep: int) -> None:
        """What the judged function gives back has to travel, as far as it is known."""
        for origin in origins:
            obj = origin.obj
            cls = obj.cls if is_a(obj, Instance) else None
            word = "a generator" if is_a(obj, Stream) else word_for_class(cls) if cls is not None else None
            if word and not origin.shared:
                self.strike(f"returns {word}, which cannot travel", self.names[0])
            elif origin.intro == ID or (origin.shared and self.is_told_apart(obj)):
                self.strike(f"gives back {origin} itself, and from another process comes a copy", self.names[0])
            elif deep and is_a(obj, Holder | Made):
                self._returns(self.items(origin), deep - 1)

    def _bound(self, value: object, name: str) -> Origins:
        origin = Origin(value, "its bound", name)
        self.touch(origin, deep=2)
        return (origin,)

    def _kind(self, function: FunctionType) -> None:
        flags = function.__code__.co_flags
        if flags & (GENERATOR | ASYNC_GENERATOR):
            self.strike("is a generator function, and a generator cannot travel")
        if flags & COROUTINE:
            self.hints["coroutine"] = None
        for value in function.__defaults__ or ():
            self.touch(Origin(value, "a default argument", ""), deep=2)

    def bind(
        self, function: FunctionType, args: Arguments, kwargs: Keywords, star: Origins, defaults: Keywords
    ) -> Keywords:
        """Take the arguments that are missing in a call from outside to be the caller's (I1)."""
        if function is not self.top:
            return super().bind(function, args, kwargs, star, defaults)
        code = function.__code__
        named = code.co_argcount + code.co_kwonlyargcount
        for name in code.co_varnames[len(args) : named]:
            argument = self._argument(function, name, defaults)
            self.touch(argument, deep=0)
            defaults[name] = (argument,)
        bound = super().bind(function, args, kwargs, star, defaults)
        # The tuple of `*args` and the dict of `**kwargs` are made for the call; what is in them is not.
        for rest in code.co_varnames[named : len(bound)]:
            bound[rest] = (Origin(Holder((Origin(UNKNOWN, INPUT, rest), *bound[rest]))),)
        return bound

    def _argument(self, function: FunctionType, name: str, defaults: Keywords) -> Origin:
        """What is known of an argument of the judged function: a sample, its annotation, or its default's class."""
        position = function.__code__.co_varnames.index(name) - self.bound
        if 0 <= position < len(self.samples):
            return Origin(self.samples[position], INPUT, name)
        if self.samples and name in defaults:
            return defaults[name][0]
        hint = _annotation(function, name)
        default = defaults.get(name, (FRESH,))[0].obj
        if hint is None and default is not None and is_plain(default):
            hint = type(default)
        known = default if hint is None and default is not None else UNKNOWN if hint is None else Instance(hint)
        return Origin(known, INPUT, name)


def trusted(function: FunctionType) -> bool:
    """Whether a function that is judged itself is taken at its name: those of well-known libraries."""
    return (
        function.__code__.co_filename.startswith(STANDARD) and "-packages" not in function.__code__.co_filename
    ) or (package_of(function) in HINT_MODULES)


def _annotation(function: FunctionType, name: str) -> type | None:
    """The class that an argument is annotated with, if it is one plain name, or that of a class in a module."""
    hint = _hints(function).get(name)
    if is_a(hint, str):
        first, *others = hint.split(".")
        hint = function.__globals__.get(first, _BUILTIN_HINTS.get(first))
        for other in others:
            hint = hint.__dict__.get(other) if is_a(hint, ModuleType) else None
    return hint if is_a(hint, type) else None


def _hints(function: FunctionType) -> Mapping[str, object]:
    if _LAZY_ANNOTATIONS and getattr(function, "__annotate__", None) is not None:
        from annotationlib import Format, get_annotations  # type: ignore[import-not-found,unused-ignore]

        return get_annotations(function, format=Format.STRING)  # type: ignore[no-any-return,unused-ignore]
    return function.__annotations__
