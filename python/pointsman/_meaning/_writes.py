"""Which of its arguments a function of a library writes to, and which methods of its classes write.

Does not know: bytecode, functions of the project, who else sees an argument.

Invariants:

I1. No code of the user's runs: only functions of libraries are asked for an attribute.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType

from ._kinds import is_a
from ._origins import class_of, full_name, is_plain
from ._others import function_writes, method_writes
from ._resolve import CHANGEABLE
from ._tables import (
    FUNCTION_WRITES,
    METHOD_ALIAS,
    METHOD_HOLDS,
    MUTATORS,
    OUT_PLACES,
    RESULT,
    SEARCHING_METHODS,
    VERBS,
    WRITING_METHODS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._frames import Arguments, Keywords
    from ._origins import Origin, Origins

# What functions that write to an argument call it.
_WRITTEN = ("a", "arr", "dst", "parent", "elem", "tree", "x", "heap", "fp", "file", "fdst", "buffer")
_C_FUNCTIONS = ("memset", "memmove")
# What calls the objects that it is given, and what only looks at them or keeps them.
# What the names of methods begin with that visitors and handlers of the standard library look for.
_LOOKED_FOR = ("visit_", "do_", "handle_")
_CALLING = frozenset(["map", "filter", "sorted", "min", "max", "iter"])
_KEEPING = frozenset(["copy", "pickle", "typing", "dataclasses", "types"])
_KEEPING_METHODS = MUTATORS | METHOD_ALIAS | METHOD_HOLDS


def numpy_name(obj: object) -> str:
    """The name of one of numpy's functions that are objects of a class of their own, or nothing."""
    if full_name(type(obj)) == "numpy._ArrayFunctionDispatcher":
        return f"{obj.__module__}.{getattr(obj, '__name__', '')}"
    return ""


def inputs_of(obj: object, otherwise: int) -> int:
    """How many arguments a function of numpy's only reads, if it says so; the next are where its results go."""
    return int(obj.nin) if full_name(type(obj)) == "numpy.ufunc" else otherwise  # type: ignore[attr-defined]


def changed_arguments(
    obj: object, name: str, args: Arguments, kwargs: Keywords, star: Origins
) -> Iterator[tuple[str, Origin]]:
    """What a call of a library's function changes, and a word for how."""
    place = FUNCTION_WRITES.get(name)
    if name == "numpy.nan_to_num" and ("copy" in kwargs or len(args) > 1):
        place = 0
    if place is not None:
        verb = "advances" if name.endswith("next") else "changes"
        by_name = tuple(origin for word in _WRITTEN for origin in kwargs.get(word, ()))
        for origin in args[place] if place < len(args) else star + by_name:
            yield verb, origin
    out = OUT_PLACES.get(name)
    if type(obj).__name__ == "ufunc":
        out = inputs_of(obj, 0)
    if out is not None:
        for origins in args[out:]:
            for origin in origins:
                yield RESULT, origin
    yield from _changed_by_method(obj, name, args, star)
    yield from _changed_by_others(obj, args, kwargs, star)
    cls = type(obj)
    # The classes of functions in C are made by programs, as `ctypes` does for its own.
    if cls.__flags__ & CHANGEABLE and any("FuncPtr" in b.__name__ and b.__module__ == "_ctypes" for b in cls.__mro__):
        yield from _changed_by_c(obj, args)


def _changed_by_others(obj: object, args: Arguments, kwargs: Keywords, star: Origins) -> Iterator[tuple[str, Origin]]:
    """A function of a library outside of the standard one may write to what it is given first, by its name."""
    if not is_a(obj, FunctionType | BuiltinFunctionType):
        return
    if function_writes(obj.__module__, obj.__name__, frozenset(kwargs)):
        for origin in args[0] if args else star:
            if not is_plain(origin.obj):
                yield "may change", origin


def _changed_by_method(obj: object, name: str, args: Arguments, star: Origins) -> Iterator[tuple[str, Origin]]:
    """A C descriptor, as in `list.append(seen, item)`, writes to the object that it is given."""
    method = getattr(obj, "__name__", "") if name.rpartition(".")[2] == "method_descriptor" else ""
    if method in MUTATORS:
        for origin in args[0] if args else star:
            yield VERBS.get(method, "changes"), origin


def _changed_by_c(function: object, args: Arguments) -> Iterator[tuple[str, Origin]]:
    """A function in C may write to all the memory that it is given."""
    ctypes = sys.modules["ctypes"].__dict__
    only_first = any(function is ctypes.get(name) for name in _C_FUNCTIONS)
    for origins in args[:1] if only_first else args:
        for origin in origins:
            if class_of(origin.obj) is not None and not is_plain(origin.obj):
                yield "changes", origin


def is_writing(obj: object, method: str) -> bool:
    """Whether a method whose name does not tell writes to an object of a library's class."""
    classes = WRITING_METHODS.get(method, ())
    cls = class_of(obj)
    return cls is not None and (
        any(full_name(base) in classes for base in cls.__mro__) or (not is_plain(obj) and method_writes(cls, method))
    )


def is_search(obj: object, method: str) -> bool:
    """Whether a method hands out parts of its object that can be written to: of a document, for one."""
    cls = class_of(obj)
    return cls is not None and any(method in SEARCHING_METHODS.get(full_name(base), ()) for base in cls.__mro__)


def may_call(name: str) -> bool:
    """Whether a library's function, or a method (with a dot before its name), may call an object that it is given."""
    module, _dot, last = name.rpartition(".")
    if not name or module in _KEEPING:
        return False
    if module == "builtins":
        return last in _CALLING
    return bool(module) or last == "sort" or last not in _KEEPING_METHODS


def is_hook(name: str, behind: tuple[type, ...]) -> bool:
    """Whether a method stands in the place of one of the classes behind it, or has a name that those look for."""
    return (not name.startswith("__") or name == "__call__") and (
        name.startswith(_LOOKED_FOR) or any(name in other.__dict__ for other in behind)
    )
