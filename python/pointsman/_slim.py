"""Packs functions of modules by value where that means the same, so that workers need not import the module.

A module imports what all of its functions need: a hundredth of a second or several, before a worker's first call. A
function of which nothing but its code, plain values and a few modules without state is needed travels with these. Only
for jobs whose place is chosen automatically: what writes to what others read stays at home then.

A function of a module that workers would not find has no other way, wherever the place was chosen.

Does not know pools, or how a pack is rebuilt (`_functions` does).

Invariants:
    S1. Importing the function's module does nothing elsewhere: its own statements, those of its classes included,
        import known modules, define, and assign; no call's result is dropped, nothing is stored into anything.
    S2. Nothing that is packed here can be written to, told apart from its copy, or asked where it came from.
    S3. Doubt sends a function by its name. Nothing of the user's runs while this is found out.
"""

from __future__ import annotations

from _frozen_importlib_external import SourceFileLoader, SourcelessFileLoader
from _pickle import dumps
from opcode import opmap
from sys import modules
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from pointsman import _functions, _naming
from pointsman._meaning._decode import READABLE, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Modules of the standard library that keep nothing that a program sets, or only what each process has of its own.
_LASTING = """_bisect _collections _functools _heapq _operator _random _struct array base64 binascii bisect builtins bz2
cmath collections copy datetime difflib fractions functools hashlib heapq itertools json keyword lzma math numbers
operator random re statistics string struct textwrap time unicodedata zlib"""
_STATELESS = frozenset(_LASTING.split())
# Modules of which the import does nothing elsewhere.
_HARMLESS = _functions.STANDARD | {"numpy", "pandas", "scipy"}
# What a function may look at itself or its module with, or import by.
_GLANCES = """__annotations__ __builtins__ __closure__ __code__ __dict__ __doc__ __file__ __globals__ __import__
__loader__ __package__ __path__ __spec__ __traceback__ __type_params__ __wrapped__ compile dir eval exec f_back
f_builtins f_globals get_type_hints getattr gi_frame globals import_module locals setattr signature singledispatch
update_wrapper vars wraps"""
_LOOKING = frozenset(_GLANCES.split())
# What a module may change something elsewhere with although it keeps the result.
_CHANGES = """chdir environ eval exec filterwarnings getcontext globals install modules path putenv register
register_adapter register_converter register_dialect register_error register_namespace seed set_int_max_str_digits
set_option set_printoptions setattr setcontext setdefault seterr setlocale setprofile setrecursionlimit settrace signal
simplefilter tzset umask update vars"""
_SETTING = frozenset(_CHANGES.split())
_STORING = frozenset(("STORE_ATTR", "STORE_GLOBAL", "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_SUBSCR", "IMPORT_STAR"))
_GLOBAL = frozenset((opmap["STORE_GLOBAL"], opmap["DELETE_GLOBAL"]))
_WRITING = _GLOBAL | {opmap["IMPORT_NAME"]}
# The flag of code that is a function's, and not a module's or a class's.
_OPTIMIZED = 0x1
_LOADERS = (SourceFileLoader, SourcelessFileLoader)
# Bytes of plain values that are worth sending, and how many may lie in a tuple. Arbitrary: to import a module takes as
# long as to send and unpack some hundred KB.
_MOST, _LONGEST = 1 << 16, 1000
# Values of a tuple or list that tell what is in it.
_LOOKED_INTO = 3

_Reached = list[tuple[object, object, object]]
# Whether importing a module does nothing elsewhere, by its name, and the specification that it then had.
_quiet: dict[str, tuple[Any, bool]] = {}


def pack(function: Any) -> tuple[bytes, _Reached] | None:
    """Return a function of an imported module packed by value, and what it reaches; None if it has to be imported."""
    packer = _packed(function)
    if packer is None:
        return None
    for module in packer.modules:
        _functions.note_module(module)
    return dumps(_functions.Pack(packer.specs), 5), packer.reached


def needs(function: Any, example: Any = None) -> set[str] | None:
    """Return the modules that calls of a function need if it can travel by value; None if it has to be imported.

    `example` is an input: to unpickle it may take a module, too.
    """
    packer = _packed(function)
    if packer is None:
        return None
    values = example[:_LOOKED_INTO] if type(example) in (tuple, list) else ()
    kinds = {type(value).__module__ for value in (example, *values)}
    return packer.modules | {kind for kind in kinds if type(kind) is str and kind not in _STATELESS}


def _packed(function: Any) -> _Slim | None:
    if type(function) is not FunctionType or _naming.is_lost(function.__module__) or not READABLE:
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
        self._size = 0

    def function(self, function: Any) -> int:
        code = function.__code__
        constants = code.co_consts
        said = constants[0] if constants and type(constants[0]) is str else None
        same = function.__doc__ is said or function.__doc__ == said
        if function.__closure__ is not None or not same or not _is_quiet(function.__module__):
            raise _functions.TooRich
        if modules[function.__module__].__dict__ is not function.__globals__:
            raise _functions.TooRich
        _check(code, function.__globals__)
        return super().function(function)

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str or kind is bytes or kind is tuple:
            self._size += len(value)
            if self._size > _MOST or (kind is tuple and len(value) > _LONGEST):
                raise _functions.TooRich
        elif kind is float and value != value:  # noqa: PLR0124 - one that is not a number is found by its identity
            raise _functions.TooRich
        elif kind is ModuleType:
            self._stateless(value.__name__)
        elif kind.__name__ == "Pattern" and kind.__module__ == "re":
            self._stateless("re")
            return value
        elif kind is FunctionType and value.__module__ not in _STATELESS:
            return _functions.Ref(self.function(value))
        elif kind is FunctionType or kind is BuiltinFunctionType or issubclass(kind, type):
            self._stateless(value.__module__)
        return super().value(value)

    def _stateless(self, name: Any) -> None:
        if type(name) is not str or name not in _STATELESS:
            raise _functions.TooRich
        if name != "builtins":
            self.modules.add(name)


def _check(code: CodeType, names: dict[str, Any]) -> None:
    """Raise if code sets globals, imports, may look at its own module, or at the identity of what is copied."""
    if not _LOOKING.isdisjoint(code.co_names) or not _WRITING.isdisjoint(code.co_code[::2]):
        raise _functions.TooRich
    compares = False
    constant = False
    for name, argument, _offset in decode(code)[0]:
        compares = compares or name == "IS_OP"
        if name == "LOAD_GLOBAL":
            # With the lowest bit it is loaded to be called, and for nothing else.
            value = names.get(code.co_names[argument >> 1])
            if type(value) is FunctionType and not argument & 1 and value.__module__ not in _STATELESS:
                raise _functions.TooRich
            constant = constant or type(value) in (tuple, float, complex, int, str, bytes)
    if compares and constant:
        raise _functions.TooRich
    for inner in code.co_consts:
        if type(inner) is CodeType:
            _check(inner, names)


def _is_quiet(name: str) -> bool:
    """Whether importing a module does nothing elsewhere, and its functions set no globals (S1)."""
    spec = modules[name].__spec__
    loader: Any = None if spec is None else spec.loader
    read_for, known = _quiet.get(name, (None, False))
    # Another has come in the place of a module that was replaced or loaded again.
    if spec is None or spec is not read_for:
        try:
            # Other loaders are the program's own code.
            code = loader.get_code(name) if type(loader) in _LOADERS else None
            known = type(code) is CodeType and _does_nothing(code)
        except Exception:  # noqa: BLE001 - what cannot be read has to be imported
            known = False
        _quiet[name] = spec, known
    return known


def _does_nothing(code: CodeType) -> bool:
    """Whether the statements of a module, or of a class, only import, define and assign."""
    if not _SETTING.isdisjoint(code.co_names):
        return False
    instructions, _index_at, targets = decode(code)
    at = 0
    while at < len(instructions):
        name, argument, _offset = instructions[at]
        before = instructions[max(0, at - 3) : at]
        if name.startswith("POP_JUMP") and _is_guard(code, before):
            # What stands under `if __name__ == "__main__"` is not run by an import.
            at = targets[at]
            continue
        dropped = at and name == "POP_TOP" and instructions[at - 1][0].startswith("CALL")
        stores = name == "STORE_SUBSCR" and not _is_annotation(code, before)
        if dropped or stores or name in _STORING:
            return False
        if name == "IMPORT_NAME" and (
            _constant(code, before[-2]) != 0 or code.co_names[argument].partition(".")[0] not in _HARMLESS
        ):
            return False
        at += 1
    return all(_inside(inner) for inner in code.co_consts if type(inner) is CodeType)


def _inside(code: CodeType) -> bool:
    if code.co_flags & _OPTIMIZED:
        sets = not _GLOBAL.isdisjoint(code.co_code[::2])
        return not sets and all(_inside(inner) for inner in code.co_consts if type(inner) is CodeType)
    return _does_nothing(code)


def _constant(code: CodeType, instruction: tuple[str, int, int]) -> Any:
    name, argument, _offset = instruction
    if name == "LOAD_CONST":
        return code.co_consts[argument]
    return argument if name == "LOAD_SMALL_INT" else None


def _is_guard(code: CodeType, before: list[tuple[str, int, int]]) -> bool:
    named = [code.co_names[argument] for name, argument, _offset in before if name == "LOAD_NAME"]
    return named == ["__name__"] and "__main__" in [_constant(code, one) for one in before]


def _is_annotation(code: CodeType, before: list[tuple[str, int, int]]) -> bool:
    return any(
        name == "LOAD_NAME" and code.co_names[argument] == "__annotations__" for name, argument, _ in before[-2:]
    )
