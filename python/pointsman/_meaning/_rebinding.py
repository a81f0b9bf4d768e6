"""Whether a global of a module may be another one in workers: a function of that module sets it, or the program has.

Workers import modules anew, so what was set since then is not set there.

Does not know: how a call is followed, who calls the function that sets it.

Invariants:

I1. No code of the user's runs: functions are looked at, and a module's own code is loaded, not run.
I2. Where functions of the module set the name, doubt says yes: a value counts as that of the import only if the code
    of the module sets the name once, to a constant that is equal to it.
I3. Elsewhere doubt says no: the program has set it only if the module's code, as a whole, makes something else of it.
"""

from __future__ import annotations

import opcode
import os
import sys
import weakref
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType

from pointsman._naming import is_lost

from ._decode import decode
from ._kinds import is_a
from ._origins import UNKNOWN, instance_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the standard library is.
STANDARD = os.__file__.removesuffix("os.py")
_CONSTANTS = frozenset((int, float, complex, bool, str, bytes, type(None)))
_STORES = frozenset(("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"))
_SETS_GLOBAL = ("STORE_GLOBAL", "DELETE_GLOBAL")
_SETTING = frozenset(opcode.opmap[name] for name in _SETS_GLOBAL)
# `from ... import *`, since CPython 3.12.
_STAR = ("CALL_INTRINSIC_1", 2)
# What a module may set a name by that its code does not say.
_UNSAID = frozenset(("__dict__", "eval", "exec", "globals", "locals", "modules", "setattr", "vars"))
_NAMING = frozenset(("LOAD_NAME", "LOAD_GLOBAL"))
_EMPTY = {"BUILD_MAP": dict, "BUILD_LIST": list}
# By module: the specification that it was read for, and what its import makes of its names.
_made: weakref.WeakKeyDictionary[ModuleType, tuple[object, dict[str, object] | None]] = weakref.WeakKeyDictionary()
# What says of a name that its value is whatever it may be.
_ANYTHING = object()
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


def is_library(file: object) -> bool:
    """Whether a module of this file is the standard library's, or was installed: none of the program's own."""
    return type(file) is not str or file.startswith(STANDARD) or "-packages" in file


def is_set_by_program(module: ModuleType, name: str, value: object) -> bool:
    """Whether others than the module's own code have set the name to what it is, or filled what is empty at first."""
    if is_library(module.__dict__.get("__file__")):
        # No library has what the program defines.
        home = sys.modules.get(str(value.__module__)) if is_a(value, FunctionType) else None
        return home is not None and not is_library(getattr(home, "__file__", None))
    made = _made_by(module)
    if made is None or (name.startswith("__") and name.endswith("__")) or is_a(value, ModuleType):
        return False
    first = made.get(name, UNKNOWN)
    if first is _ANYTHING:
        return False
    if is_a(first, type):
        return type(value) is not first or bool(value)
    if is_a(first, CodeType):
        return not is_a(value, FunctionType) or value.__code__ != first
    return type(value) is not type(first) or value != first


def may_be_filled(module: ModuleType, name: str) -> bool:
    """Whether an answer of `is_set_by_program` rests on what a container holds, which may change without a trace."""
    made = None if is_library(module.__dict__.get("__file__")) else _made_by(module)
    return made is not None and is_a(made.get(name), type)


def _made_by(module: ModuleType) -> dict[str, object] | None:
    """By name: the constant, the code of the function or the class of the empty container that the import makes of it.

    None if the module's code does not say.
    """
    spec = module.__dict__.get("__spec__")
    read_for, made = _made.get(module, (None, None))
    if spec is None or spec is not read_for:
        loader = getattr(spec, "loader", None)
        code = loader.get_code(module.__name__) if type(loader) is SourceFileLoader else None
        made = None if code is None else _reading(code)
        _made[module] = spec, made
    return made


def _reading(code: CodeType) -> dict[str, object] | None:
    instructions, _index_at, targets = decode(code)
    inside = [one for constant in code.co_consts if is_a(constant, CodeType) for one in _nested(constant)]
    if any(op == "IMPORT_STAR" or (op, argument) == _STAR for op, argument, _offset in instructions):
        return None
    if any(not _UNSAID.isdisjoint(one.co_names) for one in (code, *inside)):
        return None
    reached = {*targets.values()}
    mentioned = {name for one in inside for name in one.co_names}
    made: dict[str, object] = {}
    for index, (op, argument, _offset) in enumerate(instructions):
        named = code.co_names[argument] if op in _STORES or op in _NAMING else None
        if named is None:
            continue
        if op in _STORES and named not in made and index not in reached:
            made[named] = _first_value(code, instructions[:index], mentioned=named in mentioned)
        elif op in _STORES or is_a(made.get(named), type):
            # Set again, or used by the module's own statements, which may fill it.
            made[named] = _ANYTHING
    return made


def _first_value(code: CodeType, before: list[tuple[str, int, int]], *, mentioned: bool) -> object:
    op, argument, _offset = before[-1] if before else ("", 0, 0)
    if op == "LOAD_SMALL_INT":
        return argument
    if op == "LOAD_CONST":
        constant = code.co_consts[argument]
        return constant if type(constant) in _CONSTANTS else _ANYTHING
    if op in _EMPTY and not argument and not mentioned:
        return _EMPTY[op]
    if op in {"MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"}:
        codes = [code.co_consts[place] for name, place, _ in before[-6:] if name == "LOAD_CONST"]
        return next((one for one in reversed(codes) if is_a(one, CodeType)), _ANYTHING)
    return _ANYTHING


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
