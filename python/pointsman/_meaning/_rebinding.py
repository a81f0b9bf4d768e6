"""Whether a global of a module may be another one in workers, because a function of that module sets it.

Workers import modules anew, so what a function set since then is not set there.

Does not know: how a call is followed, who calls the function that sets it.

Invariants:

I1. No code of the user's runs: functions are looked at, and a module's own code is loaded, not run.
I2. Doubt says yes: a value counts as that of the import only if the module's code sets the name once, to a constant
    that is equal to it.
"""

from __future__ import annotations

import opcode
import sys
import weakref
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType

from pointsman._naming import is_lost

from ._decode import decode
from ._kinds import is_a
from ._origins import instance_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CONSTANTS = frozenset((int, float, complex, bool, str, bytes, type(None)))
_STORES = frozenset(("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"))
_SETS_GLOBAL = ("STORE_GLOBAL", "DELETE_GLOBAL")
_SETTING = frozenset(opcode.opmap[name] for name in _SETS_GLOBAL)
# By module: what its functions and classes were, and the answer.
_kept: weakref.WeakKeyDictionary[ModuleType, tuple[tuple[int, ...], dict[str, str]]] = weakref.WeakKeyDictionary()


def module_of(namespace: dict[str, object]) -> ModuleType | None:
    """The module that workers import to have these globals; those of the main program travel as they are."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if type(name) is str and not is_lost(name) else None
    return module if type(module) is ModuleType and module.__dict__ is namespace else None


def setters_of(module: ModuleType) -> dict[str, str]:
    """The globals that functions and methods of a module set, each with the name of such a function."""
    values = [value for value in module.__dict__.values() if type(value) not in _CONSTANTS]
    identities = tuple(map(id, values))
    kept = _kept.get(module)
    if kept is not None and kept[0] == identities:
        return kept[1]
    found: dict[str, str] = {}
    for value in values:
        held = list(value.__dict__.values()) if is_a(value, type) and _is_of(value, module) else [value]
        for each in held:
            function = _function(each)
            if function is not None and function.__globals__ is module.__dict__:
                for code in _nested(function.__code__):
                    found |= dict.fromkeys(_set_by(code), function.__name__)
    _kept[module] = identities, found
    return found


def _is_of(cls: type, module: ModuleType) -> bool:
    return cls.__dict__.get("__module__") == module.__name__


def _function(obj: object) -> FunctionType | None:
    """The function that `obj` is, or that it has around it."""
    for _ in range(8):
        if is_a(obj, FunctionType):
            inside = obj.__dict__.get("__wrapped__")
            if inside is None:
                return obj
        elif is_a(obj, staticmethod | classmethod):
            inside = obj.__func__
        elif is_a(obj, property):
            inside = obj.fset
        else:
            inside = instance_dict(obj).get("__wrapped__")
        if inside is None:
            return None
        obj = inside
    return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if is_a(constant, CodeType):
            yield from _nested(constant)


def _set_by(code: CodeType) -> list[str]:
    """The globals that a code sets or deletes."""
    if _SETTING.isdisjoint(code.co_code[::2]):
        return []
    return [code.co_names[place] for name, place, _offset in decode(code)[0] if name in _SETS_GLOBAL]


def is_as_imported(module: ModuleType, name: str, value: object) -> bool:
    """Whether the module's own code sets the name to what it is now."""
    loader = getattr(module.__dict__.get("__spec__"), "loader", None)
    if type(value) not in _CONSTANTS or type(loader) is not SourceFileLoader:
        return False
    code = loader.get_code(module.__name__)
    if code is None:
        return False
    instructions = decode(code)[0]
    places = [
        index
        for index, (op, argument, _offset) in enumerate(instructions)
        if op in _STORES and code.co_names[argument] == name
    ]
    if len(places) != 1 or not places[0]:
        return False
    op, argument, _offset = instructions[places[0] - 1]
    if op == "LOAD_SMALL_INT":
        constant: object = argument
    elif op == "LOAD_CONST":
        constant = code.co_consts[argument]
    else:
        return False
    return type(constant) is type(value) and constant == value
