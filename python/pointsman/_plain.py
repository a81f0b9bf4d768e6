"""Tells whether values can be pickled without running anybody's code.

A thread of ours may only pickle such values: the user's code expects the caller's thread, its context and its locks.

Does not know who asks, or how values are pickled.

Invariants:
    L1. Nothing of the user's runs: objects are asked for their type and, where that is known, for what they contain.
    L2. Doubt makes a value not plain: what is not known is not looked into.
"""

from __future__ import annotations

import copyreg
import sys
from collections import OrderedDict, deque
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from pointsman._naming import is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ATOMS = frozenset(map(id, (int, float, complex, bool, str, bytes, bytearray, type(None), range, type(...))))
_COLLECTIONS = frozenset(map(id, (list, tuple, set, frozenset, deque)))
_MAPPINGS = frozenset(map(id, (dict, OrderedDict)))
# What a class may have that runs when one of its objects is pickled, or asked for an attribute.
_HOOKS = frozenset(
    (
        *("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__"),
        *("__getattribute__", "__getattr__", "__class__", "__slots__"),
    )
)
# Types of the standard library that are pickled by code of their own, which runs nothing else.
_LIBRARY = {
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "datetime": ("date", "timedelta"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "re": ("Pattern",),
    "uuid": ("UUID",),
}
# What the flags of a class say that was made while the program ran (`Py_TPFLAGS_HEAPTYPE`).
_HEAP = 1 << 9
# Values looked at for one answer. Arbitrary: they take about a millisecond.
_MOST = 10_000


def run_no_code(values: list[Any]) -> bool:
    """Whether values are data of built-in types, arrays of numpy, simple objects, or functions that reach only such."""
    try:
        return _Look().at(values)
    except (RuntimeError, ValueError):
        # Something was changed while it was looked at, or is not there yet.
        return False


class _Look:
    """One look at values and all that they contain."""

    def __init__(self) -> None:
        self._todo: list[Any] = []
        # Objects that may contain each other.
        self._seen: set[int] = set()
        self._libraries: tuple[frozenset[int], frozenset[int]] | None = None

    def at(self, values: list[Any]) -> bool:
        todo, left = self._todo, _MOST
        todo.append(values)
        while todo:
            group = todo.pop()
            left -= 1 + len(group)
            # By identity: to hash a class may run code of its metaclass (L1).
            if left < 0 or not (_ATOMS.issuperset(map(id, map(type, group))) or all(map(self._allows, group))):
                return False
        return True

    def _allows(self, value: Any) -> bool:
        """Whether a value is of a kind that is known; what it contains is to be looked at then."""
        kind = id(type(value))
        if kind in _ATOMS:
            return True
        if kind in _COLLECTIONS:
            self._todo.append(value)
            return True
        if kind in _MAPPINGS:
            self._todo += (list(value), list(value.values()))
            return True
        if id(value) in self._seen:
            return True
        self._seen.add(id(value))
        inside = _CALLABLES.get(kind)
        if inside is not None:
            self._todo.append(inside(value))
            return True
        if self._libraries is None:
            self._libraries = _known()
        scalars, arrays = self._libraries
        if kind in scalars:
            return True
        if kind in arrays:
            return not value.dtype.hasobject
        return self._allows_class(value) if type(value) is type else self._allows_object(value)

    def _allows_class(self, kind: type) -> bool:
        if not _is_found(kind):
            self._todo += (list(kind.__bases__), [part for part in vars(kind).values() if type(part) not in _GIVEN])
        return True

    def _allows_object(self, value: Any) -> bool:
        """Whether an object is no more than its attributes."""
        kind = type(value)
        # Classes with slots only have no place for attributes.
        if type(kind) is not type or kind in copyreg.dispatch_table or not kind.__dictoffset__:
            return False
        if not _is_pure(kind) or not all(map(_is_unhooked, kind.__mro__[:-1])):
            return False
        inside = object.__getattribute__(value, "__dict__")
        self._todo += ([kind], list(inside), list(inside.values()))
        return True


def _known() -> tuple[frozenset[int], frozenset[int]]:
    """Types of libraries that the program has: those that are like atoms, and arrays and scalars of numpy."""
    like_atoms = [
        vars(sys.modules[module]).get(name)
        for module, names in _LIBRARY.items()
        if module in sys.modules
        for name in names
    ]
    numpy = vars(sys.modules["numpy"]) if "numpy" in sys.modules else {}
    generic = numpy.get("generic")
    arrays = [kind for kind in numpy.values() if type(kind) is type and generic in kind.__mro__]
    return frozenset(map(id, like_atoms)), frozenset(map(id, (numpy.get("ndarray"), *arrays)))


def _is_found(value: FunctionType | type) -> bool:
    """Whether a function or class is found where it says it is, so that its name travels in its place."""
    name, module = value.__qualname__, value.__module__
    holder = sys.modules.get(module) if not is_lost(module) else None
    # A lazy module would be loaded by a look.
    if type(holder) is not ModuleType:
        return False
    found: Any = vars(holder)
    for part in name.split("."):
        found = found.get(part)
        if found is value:
            return True
        if type(found) is not type:
            return False
        found = vars(found)
    return False


def _is_pure(kind: type) -> bool:
    """Whether the class's objects hold no more than attributes: it is derived from no built-in type."""
    layout: type | None = kind
    while layout is not None and layout is not object:
        if not layout.__flags__ & _HEAP:
            return False
        layout = layout.__base__
    return True


def _is_unhooked(kind: type) -> bool:
    inside = vars(kind)
    # What Python itself has put there is no property.
    given = "__dict__" in inside and type(inside["__dict__"]) is not GetSetDescriptorType
    return not given and _HOOKS.isdisjoint(inside)


def _of_function(function: FunctionType) -> list[Any]:
    if _is_found(function):
        return []
    namespace, names, codes = function.__globals__, set[str](), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if type(constant) is CodeType]
    return [
        *(namespace[name] for name in names if name in namespace),
        *(cell.cell_contents for cell in function.__closure__ or ()),
        *(function.__defaults__ or ()),
        *(function.__kwdefaults__ or {}).values(),
        *function.__dict__.values(),
    ]


# What is to be looked at in a callable, by its type; modules travel by their names.
_CALLABLES: dict[int, Callable[[Any], list[Any]]] = {
    id(FunctionType): _of_function,
    id(BuiltinFunctionType): lambda function: [] if type(function.__self__) is ModuleType else [function.__self__],
    id(MethodType): lambda method: [method.__func__, method.__self__],
    id(partial): lambda made: [made.func, made.args, made.keywords],
    id(staticmethod): lambda method: [method.__func__],
    id(classmethod): lambda method: [method.__func__],
    id(property): lambda made: [made.fget, made.fset, made.fdel],
    id(ModuleType): lambda _module: [],
}
# What Python puts into a class by itself.
_GIVEN = (GetSetDescriptorType, MemberDescriptorType)
