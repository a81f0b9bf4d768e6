"""What calls of things that are not followed do: library functions, built-in types, methods known by name only.

Does not know: bytecode, functions of the project.

Invariants:

I1. A strike names the function that does it and the thing it is done to.
I2. A method of an unknown object counts by its name; the result of an unknown method is new, its parts are not.
"""

from __future__ import annotations

import builtins
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from . import _hashes
from ._alone import STATE, SWAPS, is_of_the_process
from ._generators import draws, is_kept, is_own_generator, is_process_generator
from ._origins import (
    FRESH,
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
    PROCESS_STATE,
    SHARED_RESULT,
    VERBS,
    WITH_DESCRIPTOR,
)
from ._types import HARMLESS_EVEN_SO, HARMLESS_TYPES, HINT_MODULES, HINT_NAMES
from ._writes import changed_arguments, is_writing, numpy_name

_MOST_REASONS = 12
_SOME_LOGGER = "a logger"
_LOGGERS = frozenset(("logging.Logger", "logging.RootLogger", "logging.LoggerAdapter"))
_NUMBERS = frozenset((int, float, bool, complex))
_HASHING = frozenset(("hash", "__hash__", "id"))
_CHANGES_STATE = {name: why for why, names in PROCESS_STATE.items() for name in names}


def is_bound(obj: BuiltinFunctionType) -> bool:
    """Whether a built-in callable is a method of an object, and not a function of a module."""
    return obj.__self__ is not None and not isinstance(obj.__self__, ModuleType)


def qualified_name(obj: object) -> str:
    """The name that a library's function or class is known by, without what tells its C or Python half (`_py_`)."""
    if isinstance(obj, Named):
        return obj.name
    if isinstance(obj, FunctionType | type | BuiltinFunctionType):
        module, name = obj.__module__, obj.__qualname__
        if module is None and isinstance(obj, BuiltinFunctionType):
            module = type(obj.__self__).__module__
    elif obj is UNKNOWN or isinstance(obj, Instance | Holder | Made | Bound):
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
        if isinstance(origin.obj, ModuleType):
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
        if why and not own_names:
            self.strike(f"calls `{name.removeprefix('builtins.')}`, which {why}")
            if why == STATE:
                self.keep_alone(f"calls `{name}`, which {why}")
        elif name in SWAPS:
            self.keep_alone(f"calls `{name}`, which is there for one thread")
        self._uses_descriptor(name, args[0] if args else star)
        self._speaks(function.obj, name, kwargs)
        if name == "builtins.hash":
            self.hashes(args[0] if args else star)
        for verb, origin in changed_arguments(function.obj, name, args, kwargs, star):
            self.write(verb, origin)
        shared = _shared_result(name, args[0] if args else ())
        if shared:
            return shared
        if name in ALIAS_RESULT or (name == "numpy.array" and "copy" in kwargs):
            all_given = [origin for origins in given for origin in origins]
            # What `next` and `min` give back came out of a generator, and is none.
            own = [origin for origin in all_given if name == "builtins.iter" or not isinstance(origin.obj, Stream)]
            return unique([*own, *(item for origin in all_given for item in self.items(origin))])
        if name == "copy.copy" and args:
            return (Origin(Copied(args[0], self.parts(given))),)
        if name in HOLDS_RESULT:
            return (Origin(Holder(self.parts(given))),)
        return (FRESH,)

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
            self.strike(f"logs with {logger}, whose handlers are this program's")
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
                if isinstance(obj, BuiltinFunctionType | MethodType):
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
        if isinstance(obj, ModuleType | Named):
            found = attribute(obj, name)
            if found is UNKNOWN and isinstance(obj, ModuleType):
                found = Named(f"{obj.__name__}.{name}")
            return receiver.part(f".{name}", found), None
        cls = obj if isinstance(obj, type) else class_of(obj)
        if cls is None:
            return None
        self.rest_on_attribute(obj, name)
        if cls is not obj and name in instance_dict(obj):
            return receiver.part(f".{name}", instance_dict(obj)[name]), None
        found = class_attribute(cls, name)
        if isinstance(found, classmethod):
            return Origin(found.__func__), Origin(cls, "the class", cls.__name__)
        if isinstance(found, staticmethod):
            return Origin(found.__func__), None
        wrapped = instance_dict(found).get("__wrapped__") if not isinstance(found, type) else None
        function = found if isinstance(found, FunctionType) else wrapped
        if isinstance(function, FunctionType):
            return Origin(function), None if cls is obj else receiver
        if isinstance(found, type):
            return Origin(found), None
        return None

    def method_by_name(self, receiver: Origin, name: str, args: list[Origins], star: Origins) -> Origins:
        """A call of a method of which only the name is known, or that a built-in type has."""
        obj = receiver.obj
        if full_name(class_of(obj) or object) in _LOGGERS:
            self._logs(receiver, name)
        # `list.append(seen, 1)`, `random.shuffle(cards)` and `numpy.add.at(array, ...)` change their first argument.
        of_class = isinstance(obj, type) and name in MUTATORS
        if of_class or name in METHOD_WRITES or (name == "at" and type(obj).__name__ == "ufunc"):
            for origin in args[0] if args else star:
                self.write(VERBS.get(name, f"calls `{name}` on"), origin)
        elif (name in MUTATORS and _changes(obj, name)) or is_writing(obj, name):
            self.write(VERBS.get(name, f"calls `{name}` on"), receiver)
        for origins in args[METHOD_OUT_PLACES.get(name, len(args)) :]:
            for origin in origins:
                self.write("writes its result to", origin)
        if receiver.shared and draws(obj, name):
            self.write("draws from", receiver)
        return self._handed_out(receiver, name)

    def _handed_out(self, receiver: Origin, name: str) -> Origins:
        """What a method known by name hands back."""
        obj = receiver.obj
        if is_plain(obj):
            return (FRESH,)
        if name in METHOD_ALIAS:
            return (receiver,) if name in {"__enter__", "__iter__"} else self.items(receiver)
        if name == "items":
            return (Origin(Holder((Origin(Row((FRESH,), self.items(receiver))),))),)
        if name in METHOD_HOLDS or receiver.shared or isinstance(obj, Made | Holder):
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
    return cls in _NUMBERS or (isinstance(own, FunctionType) and _HASHING.isdisjoint(own.__code__.co_names))


def _is_harmless(cls: type | None) -> bool:
    return cls is not None and any(full_name(base) in HARMLESS_TYPES for base in cls.__mro__)


def is_readable(obj: object) -> bool:
    """Whether a callable that is not followed is of a kind whose name says what it does, and no unknown wrapper."""
    cls = class_of(obj)
    if cls is None or isinstance(obj, FunctionType | BuiltinFunctionType):
        return True
    first = cls.__module__.partition(".")[0]
    return first in sys.stdlib_module_names or first in HINT_MODULES or "cython" in cls.__name__
