"""Packs functions of modules by value where that means the same, so that workers need not import the module.

A module imports what all of its functions need: a hundredth of a second or several, before a worker's first call. A
function of which nothing but its code, plain values and a few modules without state is needed travels with these.

Does not know pools, or how a pack is rebuilt (`_functions` does).

Invariants:
    S1. What importing the function's module would change elsewhere (settings of other modules, registered things,
        replaced parts of them) cannot matter to what is packed here: the modules that it may name have no settings, and
        are as they came.
    S2. Nothing that is packed here can be written to, so that functions of one module share nothing that they would
        miss. Doubt sends a function by its name.
"""

from __future__ import annotations

import re
from _pickle import dumps
from opcode import opmap
from sys import modules
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from pointsman import _functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Modules of the standard library that keep nothing that a program sets, or only what each process has of its own.
_LASTING = """_bisect _collections _functools _heapq _operator _random _struct array base64 binascii bisect builtins bz2
cmath collections copy datetime difflib fractions functools hashlib heapq itertools json keyword lzma math numbers
operator random re statistics string struct textwrap time unicodedata zlib"""
_STATELESS = frozenset(_LASTING.split())
# What a function may look at its own module with, or import by.
_GLANCES = """__builtins__ __file__ __import__ __loader__ __package__ __path__ __spec__ compile dir eval exec globals
import_module locals vars"""
_LOOKING = frozenset(_GLANCES.split())
_WRITING = frozenset(opmap[name] for name in ("IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"))
_PATTERN = type(re.compile(""))
# Bytes that are worth sending. Arbitrary: to import a module takes as long as to send and unpack some hundred KB.
_MOST = 1 << 18

# Values of a tuple or list that tell what is in it.
_LOOKED_INTO = 3

_Reached = list[tuple[object, object, object]]


def pack(function: Any) -> tuple[bytes, _Reached] | None:
    """Return a function of an imported module packed by value, and what it reaches; None if it has to be imported."""
    packer = _packed(function)
    if packer is None:
        return None
    for module in packer.modules:
        _functions.note_module(module)
    packed = dumps(_functions.Pack(packer.specs), 5)
    return (packed, packer.reached) if len(packed) <= _MOST else None


def needs(function: Any, example: Any = None) -> set[str] | None:
    """Return the modules that calls of a function need if it can travel by value; None if it has to be imported.

    `example` is an input: to unpickle it may take a module, too.
    """
    packer = _packed(function)
    if packer is None:
        return None
    values = example[:_LOOKED_INTO] if isinstance(example, (tuple, list)) else ()
    kinds = {type(value).__module__ for value in (example, *values)}
    return packer.modules | {kind for kind in kinds if type(kind) is str and kind not in _STATELESS}


def _packed(function: Any) -> _Slim | None:
    if type(function) is not FunctionType or function.__module__ == "__main__":
        return None
    packer = _Slim()
    try:
        packer.function(function)
    except Exception:  # noqa: BLE001 - whatever it is, its name will do
        return None
    return packer


class _Slim(_functions.Packer):
    def __init__(self) -> None:
        super().__init__()
        self.modules: set[str] = set()

    def function(self, function: Any) -> int:
        if _looks_or_writes(function.__code__):
            raise _functions.TooRich
        return super().function(function)

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is ModuleType:
            self._stateless(value.__name__)
        elif kind is _PATTERN:
            self._stateless("re")
            return value
        elif kind is FunctionType and value.__module__ not in _STATELESS:
            return _functions.Ref(self.function(value))
        elif kind is FunctionType or kind is BuiltinFunctionType or isinstance(value, type):
            self._stateless(value.__module__)
        return super().value(value)

    def _stateless(self, name: Any) -> None:
        if name not in _STATELESS or not _as_it_came(modules[name]):
            raise _functions.TooRich
        if name != "builtins":
            self.modules.add(name)


def _looks_or_writes(code: CodeType) -> bool:
    """Whether code sets globals, imports, or may look at its own module."""
    if not _LOOKING.isdisjoint(code.co_names) or not _WRITING.isdisjoint(code.co_code[::2]):
        return True
    return any(type(constant) is CodeType and _looks_or_writes(constant) for constant in code.co_consts)


def _as_it_came(module: ModuleType) -> bool:
    """Whether no function of a module, or of its classes, is one that another module has put there."""
    own = module.__name__
    for value in list(vars(module).values()):
        if type(value) is FunctionType and not _is_of_library(value):
            return False
        if isinstance(value, type) and value.__module__.partition(".")[0] == own:
            parts = list(vars(value).values())
            if not all(_is_of_library(part) for part in parts if type(part) is FunctionType):
                return False
    return True


def _is_of_library(function: Any) -> bool:
    home = function.__globals__.get("__name__", "")
    return type(home) is str and home.partition(".")[0] in _functions.STANDARD
