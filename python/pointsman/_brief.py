"""Tells a function whose calls cannot last from its code: no loop, and no call but of what is over in a moment.

Such calls need nobody who watches them, and what it takes to watch (a thread, a probe) costs more than a thousand of
them. It is wrong about numbers of thousands of digits: whoever trusts it looks at the clock now and then.

Does not know jobs or clocks.
"""

from __future__ import annotations

import builtins
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Calls up to which a job may be over before it has begun to be measured, if its code says that they are brief.
MOST = 1 << 13
# Instructions that go back in the code: a loop is made of no others. By version, since to import `opcode` takes longer
# than the calls this is for; tests/test_brief.py holds them to it.
_BACKWARD = {
    (3, 11): frozenset({134, 140, 173, 174, 175, 176}),
    (3, 12): frozenset({134, 140}),
    (3, 13): frozenset({77, 78}),
    (3, 14): frozenset({75, 76}),
}
# Generators, coroutines and their like run later, if at all.
_DELAYED = 0x20 | 0x80 | 0x200
# Types of arguments with which Python's operators are over in a moment, as long as the numbers are of a usual size.
_SCALARS = frozenset({int, float, bool, complex, type(None)})
# Inputs whose types are looked at. Arbitrary: a list of numbers is one throughout, as a rule.
_LOOKED_AT = 16
# Functions that are over in a moment when they are given such.
_BUILTINS = frozenset(
    {"abs", "bool", "chr", "complex", "divmod", "float", "hash", "int", "isinstance", "max", "min", "ord", "round"}
)
_MATH = frozenset(  # and constants
    {
        *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "degrees"),
        *("e", "erf", "erfc", "exp", "expm1", "fabs", "floor", "fmod", "frexp", "gamma", "hypot", "inf", "isclose"),
        *("isfinite", "isinf", "isnan", "ldexp", "lgamma", "log", "log10", "log1p", "log2", "modf", "nan", "pi"),
        *("radians", "sin", "sinh", "sqrt", "tan", "tanh", "tau", "trunc"),
    }
)


def is_brief(function: object, items: Sequence[Any]) -> bool:
    """Whether a call of `function` with one of `items` cannot last, if they all are like some from all over them."""
    if type(items) is not range and not _SCALARS.issuperset(map(type, items[:: len(items) // _LOOKED_AT + 1])):
        return False
    if type(function) is BuiltinFunctionType:
        return _is_known(function)
    if type(function) is not FunctionType or function.__closure__ is not None or function.__kwdefaults__:
        return False
    if not _SCALARS.issuperset(map(type, function.__defaults__ or ())):
        return False
    code, names = function.__code__, function.__globals__
    backward = _BACKWARD.get(sys.version_info[:2])
    if backward is None or code.co_flags & _DELAYED or any(type(const) is CodeType for const in code.co_consts):
        return False
    if not backward.isdisjoint(code.co_code[::2]):
        return False
    return all(_may_be_named(name, names) for name in code.co_names)


def _may_be_named(name: str, names: dict[str, Any]) -> bool:
    """Whether code that names this can do so only for what is over in a moment, wherever it stands."""
    if name in names:
        value = names[name]
        if type(value) is ModuleType:
            return value.__name__ == "math"
        return type(value) in _SCALARS or (type(value) is BuiltinFunctionType and _is_known(value))
    # An attribute: only the module of mathematics is named, so it is one of that, or of a number.
    return name in _BUILTINS or name in _MATH


def _is_known(function: BuiltinFunctionType) -> bool:
    home = function.__self__
    if home is builtins:
        return function.__name__ in _BUILTINS
    return type(home) is ModuleType and home.__name__ == "math" and function.__name__ in _MATH
