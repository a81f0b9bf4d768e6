"""Tells whether anybody could see in which order calls of a function are made.

By what the function can lay its hands on, not by what it does: if every name that it reads is on the lists of
`_quiet_tables`, is plain data, or is a function or a class of the same kind, then whatever it does with them, and with
inputs that are plain data, is seen by nobody.

Does not know: writes to what others see. `judge` finds those, so both have to agree.

Invariants:

I1. Doubt makes a function loud: what is not on a list is not allowed.
I2. No code of the user's runs: objects are looked at, never called, compared or asked for an attribute.
I3. What a class does may happen where `judge` does not follow: as an operator, or from inside a library. So its
    functions reach nothing that can be changed, and set attributes of their own new object only.
"""

from __future__ import annotations

import builtins
import sys
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, ModuleType

from ._decode import READABLE, VERSION, decode
from ._follow import STANDARD
from ._frames import captured_by
from ._kinds import is_a
from ._origins import UNKNOWN
from ._quiet_tables import ATTRIBUTES, CLASS_NAMES, DTYPES, LOUD_ATTRIBUTES, PERMITTED, REFUSED
from ._tables import MUTATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeGuard

_CONSTANTS = frozenset((int, float, complex, bool, str, bytes, type(None), range, type(...)))
_SEQUENCES = frozenset((tuple, frozenset))
_CHANGING = frozenset((list, set))
_NOT_CALLED_NOW = 0x20 | 0x80 | 0x200  # generators and coroutines
# Things looked at for one answer: more would take longer than the calls may.
_MOST = 5000


class _Loud(Exception):  # noqa: N818 - it is an answer, not a fault
    """Something was found that is not allowed."""


def is_quiet(func: object) -> bool:
    """Whether nobody could see in which order calls of `func` are made, if their inputs are plain data."""
    if not READABLE:
        return False
    try:
        look = _Look()
        code = func.__code__ if type(func) is FunctionType else None
        if code is not None and code.co_flags & _NOT_CALLED_NOW:
            return False
        look.thing(func)
        return look.names <= (ATTRIBUTES | look.own) - LOUD_ATTRIBUTES
    except Exception:  # noqa: BLE001 - I1
        return False


def are_plain(items: Iterable[object]) -> bool:
    """Whether inputs are data of built-in types, or arrays of such: nothing that runs code when it is used."""
    try:
        look = _Look()
        for item in items:
            look.data(item)
    except Exception:  # noqa: BLE001 - I1
        return False
    return True


def _permitted() -> dict[int, object]:
    """What the lists name, as far as it was imported, by its identity."""
    found: dict[int, object] = {}
    for module, names in PERMITTED.items():
        inside = sys.modules[module].__dict__ if module in sys.modules else {}
        for name in names:
            obj = inside.get(name, UNKNOWN)
            if obj is not UNKNOWN and _is_librarys(obj):
                found[id(obj)] = obj
    for obj in builtins.__dict__.values():
        if is_a(obj, type) and issubclass(obj, Exception) and _is_librarys(obj):
            found[id(obj)] = obj
    found[id(NotImplemented)] = NotImplemented
    return found


_LIBRARIES = frozenset(name.partition(".")[0] for name in PERMITTED)


def _is_class(obj: object) -> TypeGuard[type]:
    return issubclass(type(obj), type)


def _is_librarys(obj: object) -> bool:
    """Whether the library itself put it there: tests put other things in such places."""
    # Not `isinstance`, here and below: it asks an object for its class, which may run code of that (I2).
    if type(obj) is FunctionType:
        file = obj.__code__.co_filename
        return file.startswith(STANDARD) or "-packages" in file
    if type(obj) is BuiltinFunctionType:
        return True
    module = obj.__module__ if _is_class(obj) else type(obj).__module__
    first = str(module).partition(".")[0].lstrip("_")
    return first in _LIBRARIES


class _Look:
    """One look at all that a function can reach."""

    def __init__(self) -> None:
        self.permitted = _permitted()
        self.seen: set[tuple[int, bool]] = set()
        # Kept, so that no identity is given away twice.
        self.kept: list[object] = []
        self.names: set[str] = set()
        """Attributes that are read."""
        self.own: set[str] = set()
        """Attributes that objects of the program itself have."""

    def _is_new(self, obj: object, *, fixed: bool) -> bool:
        key = (id(obj), fixed)
        if key in self.seen:
            return False
        self.seen.add(key)
        self.kept.append(obj)
        if len(self.kept) > _MOST:
            raise _Loud
        return True

    def data(self, obj: object, *, fixed: bool = False, things: bool = False) -> None:
        """Raise unless `obj` is plain data; with `fixed` none that can be changed; with `things`, of allowed ones."""
        cls = type(obj)
        if cls in _CONSTANTS:
            return
        if not self._is_new(obj, fixed=fixed):
            return
        if cls in _SEQUENCES or (cls in _CHANGING and not fixed):
            parts: list[object] = list(obj)  # type: ignore[call-overload]
        elif cls is dict and not fixed:
            parts = [*obj, *obj.values()]  # type: ignore[misc,attr-defined]
        elif not fixed and _is_array(obj):
            return
        else:
            raise _Loud
        if len(parts) > _MOST:
            raise _Loud
        for part in parts:
            if things:
                self.thing(part, fixed=fixed)
            else:
                self.data(part, fixed=fixed)

    def thing(self, obj: object, *, fixed: bool = False) -> None:
        """Raise unless a function that has `obj` can do nothing with it that others see."""
        if id(obj) in self.permitted and self.permitted[id(obj)] is obj:
            return
        if _is_class(obj):
            self._class(obj)
        elif type(obj) is FunctionType:
            self._function(obj, fixed=fixed)
        elif type(obj) is partial:
            for part in (obj.func, *obj.args, *obj.keywords.values()):
                self.thing(part, fixed=fixed)
        else:
            self.data(obj, fixed=fixed, things=True)

    def _class(self, cls: type) -> None:  # noqa: C901 - one branch for each kind of attribute
        if not self._is_new(cls, fixed=True):
            return
        if type(cls) is not type:
            raise _Loud
        for base in cls.__mro__[1:]:
            self.thing(base, fixed=True)
        for name, found in cls.__dict__.items():
            if name in CLASS_NAMES:
                continue
            self.own.add(name)
            if type(found) is property:
                for function in (found.fget, found.fset, found.fdel):
                    self.thing(function, fixed=True)
            elif type(found) is staticmethod or type(found) is classmethod:
                self.thing(found.__func__, fixed=True)
            elif type(found) is FunctionType:
                self._function(found, fixed=True, first=name == "__init__")
            elif type(found) is not MemberDescriptorType:
                self.thing(found, fixed=True)

    def _function(self, function: FunctionType, *, fixed: bool, first: bool = False) -> None:
        """Look at a function; `first` for the one that fills a new object."""
        if not self._is_new(function, fixed=fixed):
            return
        file = function.__code__.co_filename
        if file.startswith(STANDARD) or "-packages" in file or not function.__dict__.keys() <= {"__wrapped__"}:
            raise _Loud
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.thing(value, fixed=fixed)
        self._code(function.__code__, function, fixed=fixed, first=first)

    def _code(  # noqa: C901,PLR0912 - one branch for each kind of instruction
        self, code: CodeType, function: FunctionType, *, fixed: bool, first: bool
    ) -> None:
        if code.co_flags & 0x80 or code.co_flags & 0x200:
            raise _Loud
        for constant in code.co_consts:
            if is_a(constant, CodeType):
                self._code(constant, function, fixed=fixed, first=False)
        instructions, _index_at, _targets = decode(code)
        own = code.co_varnames
        slots = own + tuple(name for name in code.co_cellvars if name not in own) + code.co_freevars
        outer = function.__code__.co_freevars
        sets, project, index = False, False, 0
        while index < len(instructions):
            name, argument, _offset = instructions[index]
            index += 1
            if name in REFUSED or name.startswith("IMPORT_"):
                raise _Loud
            if name == "LOAD_GLOBAL" or (name in _CELLS and slots[argument] in outer):
                if name == "LOAD_GLOBAL":
                    obj = _global(function, code.co_names[argument >> 1])
                elif name in {"STORE_DEREF", "DELETE_DEREF"}:
                    raise _Loud
                else:
                    obj = captured_by(function, slots[argument])
                while type(obj) is ModuleType:
                    if instructions[index][0] not in _ATTRIBUTE:
                        raise _Loud
                    obj = obj.__dict__.get(_attribute(code, instructions[index]), UNKNOWN)
                    index += 1
                if obj is UNKNOWN:
                    raise _Loud
                after = instructions[index]
                if _is_class(obj) and after[0] in _ATTRIBUTE and _attribute(code, after) in MUTATORS:
                    raise _Loud
                project |= id(obj) not in self.permitted and type(obj) not in _CONSTANTS
                self.thing(obj, fixed=fixed)
            elif name in _ATTRIBUTE or name == "LOAD_SUPER_ATTR":
                self.names.add(_attribute(code, (name, argument, 0)))
            elif name == "STORE_ATTR":
                sets = True
                self.own.add(code.co_names[argument])
                if code.co_names[argument].startswith("__"):
                    raise _Loud
        if fixed and sets and (project or not first):
            raise _Loud


_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
_CELLS = frozenset(("LOAD_DEREF", "LOAD_CLASSDEREF", "STORE_DEREF", "DELETE_DEREF"))


def _attribute(code: CodeType, instruction: tuple[str, int, int]) -> str:
    """The name that an instruction reads of an object."""
    name, argument, _offset = instruction
    if name == "LOAD_SUPER_ATTR":
        return code.co_names[argument >> 2]
    return code.co_names[argument >> 1 if name == "LOAD_ATTR" and VERSION > (3, 11) else argument]


def _global(function: FunctionType, name: str) -> object:
    found = function.__globals__.get(name, UNKNOWN)
    return builtins.__dict__.get(name, UNKNOWN) if found is UNKNOWN else found


def _is_array(obj: object) -> bool:
    """Whether it is an array or a number of numpy's own, of a plain type."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    cls = type(obj)
    if cls is not numpy.ndarray and not (issubclass(cls, numpy.generic) and cls.__module__ == "numpy"):
        return False
    return obj.dtype.kind in DTYPES  # type: ignore[attr-defined]
