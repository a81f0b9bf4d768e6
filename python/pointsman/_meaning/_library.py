"""What calls of things that are not followed do: library functions, built-in types, methods known by name only.

Does not know: bytecode, functions of the project.

Invariants:

I1. A strike names the function that does it and the thing it is done to.
I2. A method of an unknown object counts by its name; the result of an unknown method is new, its parts are not.
"""

from __future__ import annotations

import builtins
import sys
from functools import partialmethod
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

from . import _hashes
from ._alone import STATE, SWAPS, is_of_the_process
from ._generators import draws, is_kept, is_own_generator, is_process_generator, is_seed_of_numpy, seeds
from ._kinds import is_a
from ._origins import (
    FRESH,
    INPUT,
    UNKNOWN,
    Bound,
    Copied,
    Holder,
    Instance,
    Made,
    Named,
    Origin,
    Origins,
    Row,
    Stream,
    attribute,
    class_attribute,
    class_of,
    full_name,
    instance_dict,
    is_plain,
    unique,
)
from ._resolve import Resolver
from ._spoken import every_logger, is_own, logger_of, logs_elsewhere, warns_elsewhere
from ._tables import (
    ALIAS_RESULT,
    HOLDS_RESULT,
    METHOD_ALIAS,
    METHOD_HOLDS,
    METHOD_OUT_PLACES,
    METHOD_WRITES,
    MUTATORS,
    OVERWRITING,
    OVERWRITING_METHODS,
    PROCESS_STATE,
    RESULT,
    SHARED_RESULT,
    VERBS,
    WITH_DESCRIPTOR,
)
from ._types import HARMLESS_EVEN_SO, HARMLESS_TYPES, HINT_MODULES, HINT_NAMES
from ._writes import changed_arguments, is_search, is_writing, numpy_name

_SEEDS = "seeds a generator that all calls draw from"
_MOST_REASONS = 12
_SOME_LOGGER = "a logger"
_LOGGERS = frozenset(("logging.Logger", "logging.RootLogger", "logging.LoggerAdapter"))
_NUMBERS = frozenset((int, float, bool, complex))
# Functions and methods that copy their object, but none of its parts.
_SHALLOW = frozenset(
    ("copy.copy", "copy.replace", "dataclasses.replace", "attr.evolve", "attr._make.evolve", "attr._funcs.evolve")
)
_SHALLOW_METHODS = frozenset(("_replace", "__replace__", "__copy__", "model_copy"))
_HASHING = frozenset(("hash", "__hash__", "id"))
_CHANGES_STATE = {name: why for why, names in PROCESS_STATE.items() for name in names}


def is_bound(obj: BuiltinFunctionType) -> bool:
    """Whether a built-in callable is a method of an object, and not a function of a module."""
    return obj.__self__ is not None and not is_a(obj.__self__, ModuleType)


def qualified_name(obj: object) -> str:
    """The name that a library's function or class is known by, without what tells its C or Python half (`_py_`)."""
    if is_a(obj, Named):
        return obj.name
    if is_a(obj, FunctionType | type | BuiltinFunctionType):
        module, name = obj.__module__, obj.__qualname__
        if module is None and is_a(obj, BuiltinFunctionType):
            module = type(obj.__self__).__module__
    elif obj is UNKNOWN or is_a(obj, Instance | Holder | Made | Bound):
        return ""
    else:
        module, name = type(obj).__module__, type(obj).__qualname__
        if name == "_ArrayFunctionDispatcher":
            return numpy_name(obj)
    first, dot, rest = str(module).removeprefix("_py_").lstrip("_").partition(".")
    return f"{'os' if first in {'posix', 'nt'} else first}{dot}{rest}.{name}"


class Library(Resolver):
    """The part of a walk that takes things at their name, and keeps the reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, None] = {}
        self.hints: dict[str, None] = {}
        # Why calls should run one after another, on one thread; the same where no lock is taken, and such locks.
        self.alone: dict[str, None] = {}
        self.unguarded: dict[str, None] = {}
        self.locks: list[object] = []
        self.names: list[str] = []
        # The functions that are being followed, each called by the one before.
        self.within: list[CodeType] = []
        self.only_bound = False
        """Set while a library's own method is judged: only what it does to its object counts."""

    @property
    def name(self) -> str:
        """The function that is being read."""
        return self.names[-1] if self.names else "the function"

    def strike(self, what: str, who: str = "") -> None:
        """Something that would be different in another process."""
        if len(self.reasons) < _MOST_REASONS and not (self.only_bound and len(self.names) > 1):
            self.reasons[f"`{who or self.name}` {what}"] = None

    def keep_alone(self, what: str, who: str = "") -> None:
        """Something that would be different beside other calls."""
        if len(self.alone) < _MOST_REASONS and not (self.only_bound and len(self.names) > 1):
            self.alone[f"`{who or self.name}` {what}"] = None

    def write(self, verb: str, origin: Origin) -> None:
        """Strike if `origin` can be written to, and is seen by others."""
        if not origin.shared or is_plain(origin.obj) or is_process_generator(origin.obj):
            return
        if self.only_bound and origin.intro == "its bound" and not _is_harmless(class_of(origin.obj)):
            self.reasons[f"`{self.names[0]}` {verb} {origin}"] = None
        self.strike(f"{verb} {origin}")
        if is_of_the_process(origin.obj):
            self.keep_alone(f"{verb} {origin}")

    def hint(self, origin: Origin) -> None:
        """Note what kind of work the name of `origin` promises."""
        if is_a(origin.obj, ModuleType):
            return
        name = qualified_name(origin.obj)
        hint = HINT_NAMES.get(name) or HINT_MODULES.get(name.partition(".")[0])
        if hint == "numpy" and ".linalg." in name:
            hint = "linear algebra"
        if hint:
            self.hints[hint] = None

    def library(self, function: Origin, args: list[Origins], kwargs: dict[str, Origins], star: Origins) -> Origins:
        """A call of something that is not followed."""
        name = qualified_name(function.obj)
        self.hint(function)
        given = (*args, *kwargs.values(), star)
        why = _CHANGES_STATE.get(name)
        own_names = name.startswith("builtins.e") and len(args) > 1 and not any(origin.shared for origin in args[1])
        if name.startswith("warnings.") and any("catch_warnings" in code.co_names for code in self.within):
            # What is set there is for a while only, which keeps the calls on one thread.
            why = None
        if why and not own_names:
            self.strike(f"calls `{name.removeprefix('builtins.')}`, which {why}")
            if why == STATE:
                self.keep_alone(f"calls `{name}`, which {why}")
        elif name in SWAPS:
            self.keep_alone(f"calls `{name}`, which is there for one thread")
        self._effects_by_name(function.obj, name, args, kwargs, star)
        shared = _shared_result(name, args[0] if args else ())
        if shared:
            return shared
        if name in ALIAS_RESULT or (name == "numpy.array" and "copy" in kwargs):
            all_given = [origin for origins in given for origin in origins]
            # What `next` and `min` give back came out of a generator, and is none.
            own = [origin for origin in all_given if name == "builtins.iter" or not is_a(origin.obj, Stream)]
            return unique([*own, *(item for origin in all_given for item in self.items(origin))])
        if name in _SHALLOW and args:
            return (Origin(Copied(args[0], self.parts(given))),)
        if name in HOLDS_RESULT:
            return (Origin(Holder(self.parts(given))),)
        return (FRESH,)

    def _effects_by_name(
        self, obj: object, name: str, args: list[Origins], kwargs: dict[str, Origins], star: Origins
    ) -> None:
        if is_seed_of_numpy(obj):
            self.keep_alone(_SEEDS)
        self._uses_descriptor(name, args[0] if args else star)
        self._speaks(obj, name, kwargs)
        if name == "builtins.hash":
            self.hashes(args[0] if args else star)
        for verb, origin in changed_arguments(obj, name, args, kwargs, star):
            self.write(verb, origin)
            if verb == RESULT or name in OVERWRITING:
                self.overwrites(origin)

    def overwrites(self, origin: Origin) -> None:
        """All of a thing is written anew, which calls beside each other would do at one time."""
        if origin.shared and origin.intro != INPUT and "[" not in origin.expression and not is_plain(origin.obj):
            self.unguarded[f"`{self.name}` writes all of {origin} anew, as other calls do"] = None

    def _uses_descriptor(self, name: str, origins: Origins) -> None:
        for origin in origins if name in WITH_DESCRIPTOR else ():
            if origin.shared and class_of(origin.obj) in {int, None}:
                self.strike(f"uses {origin}, the number of a file that is open in this process only")
                self.keep_alone(f"uses {origin}, the number of a file: it serves one call at a time")

    def _speaks(self, obj: object, name: str, kwargs: dict[str, Origins]) -> None:
        """Strike where what is printed, logged or warned of goes to somebody in this program."""
        # Libraries put functions of their own in the place of `print`.
        if obj is vars(builtins).get("print"):
            name = "builtins.print"
        if name.startswith("logging.") and "logging" in sys.modules:
            self._logs(Origin(sys.modules["logging"].root, "the root logger"), name.rpartition(".")[2])
        elif name in {"builtins.print", "warnings.warn"}:
            if name == "warnings.warn" and warns_elsewhere():
                self.strike("warns, and warnings are caught in this program")
            elif name == "builtins.print" and "file" not in kwargs and not is_own(sys.stdout):
                self.strike("prints, and `sys.stdout` is something of this program's")
            # Who listens may change, and nothing tells of that.
            self.rest("never", type(self), "", None)

    def _logs(self, logger: Origin, name: str) -> None:
        # Which one `getLogger` hands out is not known.
        loggers = every_logger() if logger.intro == _SOME_LOGGER else [logger.obj]
        if any(logs_elsewhere(each, name) for each in loggers):
            self.strike(f"logs with {logger}, whose handlers or filters are this program's")
        self.rest("never", type(self), "", None)

    def hashes(self, origins: Origins) -> None:
        """Strike where `hash` of something that is no number is seen; what a class calls itself by serves sets."""
        numbers = origins and all(_hashes_alike(class_of(origin.obj)) for origin in origins)
        if numbers or self.name.rpartition(".")[2] == "__hash__":
            return
        if _hashes.are_fixed():
            # The environment may change, and nothing tells of that.
            self.rest("never", type(self), "", None)
        else:
            self.strike("calls `hash`, which differs between processes")

    def lends(self, name: str, *given: Origins) -> None:
        """What is not followed is given a generator, or a function that draws or hashes: it is taken to do so."""
        for origins in given:
            for origin in origins:
                obj = origin.obj
                if obj is UNKNOWN:
                    continue
                if is_a(obj, BuiltinFunctionType | MethodType):
                    if origin.shared and draws(obj.__self__, obj.__name__):
                        self.write("draws with", origin)
                    if obj is hash:
                        self.hashes(())
                elif origin.shared and is_own_generator(obj) and not is_kept(name):
                    self.write("draws from", origin)

    def parts(self, given: tuple[Origins, ...]) -> Origins:
        """All that the arguments of a call hold."""
        return unique(item for origins in given for origin in origins for item in self.items(origin))

    def constructed(self, cls: type, args: list[Origins], kwargs: dict[str, Origins], star: Origins) -> Origins:
        """The object that calling a class of a library makes, if its parts matter."""
        name = qualified_name(cls)
        if name in SWAPS:
            self.keep_alone(f"uses `{name}`, which {STATE} for a while")
        if cls is enumerate and args:
            return (Origin(Holder((Origin(Row((FRESH,), self.parts((args[0],)))),))),)
        if cls is zip and not star:
            return (Origin(Holder((Origin(Row(*(self.parts((each,)) for each in args))),))),)
        if cls is type and len(args) == 1:
            return tuple(self._attribute(args[0][0] if args[0] else FRESH, ".__class__"))
        if name in ALIAS_RESULT:
            return unique([*(origin for origins in args for origin in origins), *star])
        if name in HOLDS_RESULT:
            named = tuple(origin for origins in kwargs.values() for origin in origins)
            return (Origin(Holder(unique([*self.parts((*args, star)), *named]))),)
        return ()

    def find_method(self, receiver: Origin, name: str) -> tuple[Origin, Origin | None] | None:
        """The function that a method call ends in, and the object it gets; None if only the name is known."""
        obj = receiver.obj
        if is_a(obj, ModuleType | Named):
            found = attribute(obj, name)
            if found is UNKNOWN and is_a(obj, ModuleType):
                found = Named(f"{obj.__name__}.{name}")
            return receiver.part(f".{name}", found), None
        cls = obj if is_a(obj, type) else class_of(obj)
        if cls is None:
            return None
        self.rest_on_attribute(obj, name)
        if cls is not obj and name in instance_dict(obj):
            return receiver.part(f".{name}", instance_dict(obj)[name]), None
        found = class_attribute(cls, name)
        if is_a(found, classmethod):
            return Origin(found.__func__), Origin(cls, "the class", cls.__name__)
        if is_a(found, staticmethod):
            return Origin(found.__func__), None
        wrapped = instance_dict(found).get("__wrapped__") if not is_a(found, type) else None
        # What a partial method is given besides comes in between: it is no object that others see.
        function = found if is_a(found, FunctionType) else found.func if is_a(found, partialmethod) else wrapped
        if is_a(function, FunctionType):
            return Origin(function), None if cls is obj else receiver
        if is_a(found, type):
            return Origin(found), None
        return None

    def method_by_name(self, receiver: Origin, name: str, args: list[Origins], star: Origins) -> Origins:
        """A call of a method of which only the name is known, or that a built-in type has."""
        obj = receiver.obj
        if full_name(class_of(obj) or object) in _LOGGERS:
            self._logs(receiver, name)
        # `list.append(seen, 1)`, `random.shuffle(cards)` and `numpy.add.at(array, ...)` change their first argument.
        of_class = is_a(obj, type) and name in MUTATORS
        if of_class or name in METHOD_WRITES or (name == "at" and type(obj).__name__ == "ufunc"):
            for origin in args[0] if args else star:
                self.write(VERBS.get(name, f"calls `{name}` on"), origin)
        elif (name in MUTATORS and _changes(obj, name)) or is_writing(obj, name):
            self.write(VERBS.get(name, f"calls `{name}` on"), receiver)
            if name in OVERWRITING_METHODS:
                self.overwrites(receiver)
        for origins in args[METHOD_OUT_PLACES.get(name, len(args)) :]:
            for origin in origins:
                self.write(RESULT, origin)
                self.overwrites(origin)
        if receiver.shared and draws(obj, name):
            self.write("draws from", receiver)
        if seeds(obj, name) and (receiver.shared or is_process_generator(obj)):
            self.keep_alone(_SEEDS)
        return self._handed_out(receiver, name)

    def _handed_out(self, receiver: Origin, name: str) -> Origins:
        """What a method known by name hands back."""
        obj = receiver.obj
        if is_plain(obj):
            return (FRESH,)
        if name in _SHALLOW_METHODS and receiver.shared:
            return (Origin(Copied((receiver,), self.items(receiver))),)
        if is_search(obj, name):
            part = receiver.part("[...]", Instance(class_of(obj) or object))
            return (part, Origin(Holder((part,))))
        if name in METHOD_ALIAS:
            return (receiver,) if name in {"__enter__", "__iter__"} else self.items(receiver)
        if name == "items":
            return (Origin(Holder((Origin(Row((FRESH,), self.items(receiver))),))),)
        if name in METHOD_HOLDS or receiver.shared or is_a(obj, Made | Holder):
            return (Origin(Holder(self.items(receiver))),)
        return (FRESH,)


def _shared_result(name: str, first: Origins) -> Origins:
    """What a library's function hands out that others see, too."""
    if name == "logging.getLogger" and "logging" in sys.modules:
        names = [origin.obj for origin in first if type(origin.obj) is str]
        if names and len(names) == len(first):
            return tuple(Origin(logger_of(each), f"the logger `{each}`") for each in names)
        return (Origin(sys.modules["logging"].root, _SOME_LOGGER),)
    shared = SHARED_RESULT.get(name)
    return (Origin(UNKNOWN, shared),) if shared else ()


def _changes(obj: object, name: str) -> bool:
    """Whether the method of this name changes `obj`, as far as its class tells."""
    cls = class_of(obj)
    if cls is None:
        return True
    if is_plain(obj) or ((obj is sys.stdout or obj is sys.stderr) and is_own(obj)):
        return False
    if _is_harmless(cls):
        return name in HARMLESS_EVEN_SO
    return class_attribute(cls, name) is not UNKNOWN or class_attribute(cls, "__getattr__") is not UNKNOWN


def _hashes_alike(cls: type | None) -> bool:
    """Whether objects of a class are numbers, or have a hash of their own that is made of no other."""
    own = class_attribute(cls or object, "__hash__")
    return cls in _NUMBERS or (is_a(own, FunctionType) and _HASHING.isdisjoint(own.__code__.co_names))


def _is_harmless(cls: type | None) -> bool:
    return cls is not None and any(full_name(base) in HARMLESS_TYPES for base in cls.__mro__)


def is_readable(obj: object) -> bool:
    """Whether a callable that is not followed is of a kind whose name says what it does, and no unknown wrapper."""
    cls = class_of(obj)
    if cls is None or is_a(obj, FunctionType | BuiltinFunctionType):
        return True
    first = cls.__module__.partition(".")[0]
    return first in sys.stdlib_module_names or first in HINT_MODULES or "cython" in cls.__name__
