"""Finds everything that the packed form of a function rests on, so that it serves until some of that has changed.

For what cloudpickle packs: functions that reach classes, objects and containers of the program's own. To pack one takes
50 to 500 us, and workers that get it anew begin with fresh copies of all that it reaches; to look whether anything has
changed takes a few.

Does not know how a function is packed, or how it is found out that something has changed (the native half does).

Invariants:
    H1. Nothing is passed over that packing writes down and that may change: what is not known here has the function
        packed each time. Annotations alone are taken as lasting, and that nobody registers with an abstract class
        later.
    H2. No code of the user's runs, but what pickles an object whose digest is asked for.
"""

from __future__ import annotations

import sys
from _abc import _get_dump  # type: ignore[import-not-found]
from collections import Counter, defaultdict, deque
from copyreg import _slotnames, dispatch_table  # type: ignore[attr-defined]
from functools import lru_cache, partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from pointsman import _native
from pointsman._asked import names_in
from pointsman._functions import lacking, parts_of
from pointsman._naming import is_importable, is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What was found: see `_functions.Packer.reached`; and of a list, set or deque, None and its items, of a dictionary,
# None and a copy, of a class, None and a copy of its namespace, of another object, its class and a copy of its
# `__dict__`, of what only pickle can look into, an ellipsis and a digest.
Reached = list[tuple[object, object, object]]

# Items of containers and attributes, all together, up to which it is looked whether they are still the same. Arbitrary:
# that takes about 5 ns for each.
_MOST = 1 << 20
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range})
_LASTING = frozenset({MemberDescriptorType, GetSetDescriptorType, type(str.join), type(object.__init__)})
# The same, of modules that may not have been imported; told by their names.
_LASTING_ELSEWHERE = {
    "re": ("Pattern",),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath"),
    # Whoever reads one asks for that name.
    "logging": ("Logger", "RootLogger"),
    "_collections": ("_tuplegetter",),
    "typing": ("TypeVar", "ParamSpec"),
    "dataclasses": ("_DataclassParams",),
}
_CACHED = type(lru_cache(len))
# What something rests on that does not change itself.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    BuiltinFunctionType: lambda value: (value.__self__,),
    MethodType: lambda value: (value.__func__, value.__self__),
    staticmethod: lambda value: (value.__func__,),
    classmethod: lambda value: (value.__func__,),
    property: lambda value: (value.fget, value.fset, value.fdel),
    partial: lambda value: (value.func, value.args, value.keywords, value.__dict__),
    _CACHED: lambda value: (value.__wrapped__, value.__dict__),
}
_PARTS_ELSEWHERE: dict[tuple[str, str], Callable[[Any], tuple[Any, ...]]] = {
    ("dataclasses", "Field"): lambda value: (value.default, value.default_factory, value.metadata),
    ("functools", "cached_property"): lambda value: (value.func,),
}
# What the namespace of a class has of its making.
_OF_MAKING = frozenset(
    """__annotate__ __annotate_func__ __annotations__ __annotations_cache__ __dict__ __orig_bases__ __parameters__
    __type_params__ __weakref__ _abc_impl""".split()  # noqa: SIM905
)
# What a class has that says for itself how its objects are pickled, or what attributes they have.
_ODD = frozenset(
    "__getattribute__ __getnewargs__ __getnewargs_ex__ __getstate__ __reduce__ __reduce_ex__ __slots__".split()  # noqa: SIM905
)


class _Unknown(Exception):  # noqa: N818 - never leaves this module
    """There is something that may change unseen."""


def reached(function: object, again: bool = False) -> Reached | None:
    """Return what the packed form of a function is good for as long as it is unchanged; None if that cannot be said.

    With `again` it is packed not for the first time: then objects that only pickle can look into are told by a digest.
    To make one takes less than to send the object, and more than nothing.
    """
    by_value = sys.modules.get("cloudpickle")
    if by_value is not None and by_value.list_registry_pickle_by_value():
        # What could be imported may travel by value, too.
        return None
    if not (type(function) in (FunctionType, _CACHED) or issubclass(type(function), type)):
        # Callable objects and partials have a state of their own: each call begins with it as the program has it.
        return None
    walk = _Walk(again)
    try:
        walk.follow(function)
    except (_Unknown, AttributeError, RuntimeError, ValueError):
        # As a dictionary that changes meanwhile, and a cell that is empty.
        return None
    return walk.found


class _Walk:
    def __init__(self, digests: bool) -> None:
        self.found: Reached = []
        self._digests = digests
        self._seen: set[int] = set()
        self._left: list[Any] = []
        self._count = 0

    def follow(self, value: Any) -> None:
        self._left.append(value)
        while self._left:
            one = self._left.pop()
            if id(one) not in self._seen and type(one) not in _PLAIN:
                # Whatever is found is kept alive by what holds it, which is in what is found.
                self._seen.add(id(one))
                self._look(one)

    def _look(self, value: Any) -> None:
        kind = type(value)
        if kind is tuple or kind is frozenset:
            self._add(value)
        elif kind is list or kind is set or kind is deque:
            items = tuple(value)
            self._keep(value, None, items, items)
        elif kind is dict or kind is defaultdict or kind is Counter:
            self._dictionary(value)
            self._add((getattr(value, "default_factory", None),))
        elif kind is FunctionType:
            self._function(value)
        elif issubclass(kind, type):
            self._class(value)
        elif not (kind in _LASTING or self._is_lasting(kind) or self._has_parts(kind, value)):
            self._object(kind, value)

    def _add(self, values: Iterable[Any]) -> None:
        for value in values:
            self._count += 1
            self._left.append(value)
        if self._count > _MOST:
            raise _Unknown

    def _keep(self, holder: object, kind: object, snapshot: Any, values: Iterable[Any]) -> None:
        self.found.append((holder, kind, snapshot))
        self._add(values)

    def _dictionary(self, value: dict[Any, Any]) -> None:
        copy = dict.copy(value)
        self._keep(value, None, copy, copy)
        self._add(copy.values())

    def _function(self, function: FunctionType) -> None:
        if is_importable(function):
            return
        code, names = function.__code__, function.__globals__
        self.found.append((function, None, parts_of(function)))
        for name in names_in(code):
            if name in names:
                self.found.append((names, name, names[name]))
                self._add((names[name],))
        self.found += [(names, name, names) for name in lacking(code, names)]
        for cell in function.__closure__ or ():
            self.found.append((cell, None, cell.cell_contents))
            self._add((cell.cell_contents,))
        self._add(function.__defaults__ or ())
        for attributes in (function.__kwdefaults__, function.__dict__):
            if attributes:
                self._dictionary(attributes)

    def _class(self, kind: type) -> None:
        if type(kind).__getattribute__ is not type.__getattribute__:
            raise _Unknown
        if is_importable(kind):
            return
        # A subclass of `type` by another library may keep what it likes.
        self._add((type(kind), *kind.__bases__))
        # To pickle an object notes in its class which slots that has: before it is looked at.
        _slotnames(kind)
        inside = dict(vars(kind))
        if "_abc_impl" in inside and _get_dump(kind)[0]:
            raise _Unknown
        self.found.append((kind, None, inside))
        self._add([value for name, value in inside.items() if name not in _OF_MAKING])

    @staticmethod
    def _is_lasting(kind: type) -> bool:
        names = _LASTING_ELSEWHERE.get(kind.__module__, ())
        return kind.__name__ in names and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind

    def _has_parts(self, kind: type, value: Any) -> bool:
        """Go on to the parts of something of the standard library that does not change itself; whether it was one."""
        parts = _PARTS.get(kind) or _PARTS_ELSEWHERE.get((kind.__module__, kind.__name__))
        if parts is not None:
            self._add(parts(value))
        elif kind is ModuleType and is_lost(value.__name__):
            raise _Unknown
        # That of a field without any is one for all, and empty.
        empty = kind is MappingProxyType and value is getattr(sys.modules.get("dataclasses"), "_EMPTY_METADATA", None)
        return parts is not None or kind is ModuleType or empty

    def _object(self, kind: type, value: Any) -> None:
        """Go on to the attributes of an object that is nothing but these."""
        enum: Any = sys.modules.get("enum")
        named = kind.__bases__ == (tuple,) and "_fields" in vars(kind)
        if named and not kind.__dictoffset__:
            self._add((kind, *tuple.__iter__(value)))
            return
        member = enum is not None and issubclass(type(kind), enum.EnumMeta)
        if not (member or (is_plain(kind) and kind not in dispatch_table)):
            self._digest(value)
            return
        self._add((kind,))
        attributes = object.__getattribute__(value, "__dict__").copy()
        self._keep(value, kind, attributes, attributes.values())

    def _digest(self, value: Any) -> None:
        if not self._digests:
            raise _Unknown
        try:
            self.found.append((value, ..., _native.digest(value)))
        except Exception:  # noqa: BLE001 - it says for itself how it is pickled
            raise _Unknown from None


def is_plain(kind: type) -> bool:
    """Whether objects of a class are nothing but their attributes, and pickled as such."""
    for base in kind.__mro__[:-1]:
        inside = vars(base)
        # The flag of a class that was made while the program ran (`Py_TPFLAGS_HEAPTYPE`).
        odd = not _ODD.isdisjoint(inside) or not base.__flags__ & 1 << 9 or base.__itemsize__
        if odd or type(inside.get("__dict__", GetSetDescriptorType)) not in (type, GetSetDescriptorType):
            return False
    return True
