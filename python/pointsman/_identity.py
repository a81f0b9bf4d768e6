"""Names a function by the code that really runs, so that what was learnt of it is forgotten when that changes.

Does not know what was learnt. Runs no code of the user's but attribute lookups.

Invariants:
    N1. Functions with the same key run the same code: their own, that of what they wrap (`__wrapped__`, `partial`,
        a captured function), and that of the functions of their module that they call.
    N2. A key is the same in every process that runs the same source on the same interpreter.
"""

from __future__ import annotations

from types import CodeType, FunctionType

from pointsman._naming import unwrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Functions that a key looks at: more than that are not one piece of work but a program.
_MOST = 64
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type(Ellipsis)})


def own_code(function: Any) -> CodeType | None:
    """The code object that a call of this runs first, below bound methods and `partial`; None if it has none."""
    code = getattr(unwrapped(function), "__code__", None)
    return code if type(code) is CodeType else None


def wrapped(function: Any) -> FunctionType | None:
    """The function that this one stands in front of: what a decorator was given, by `__wrapped__` or by capture."""
    inner = getattr(function, "__wrapped__", None)
    if type(inner) is FunctionType:
        return inner
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue
        if type(held) is FunctionType and held is not function:
            return held
    return None


def key_of(function: Any) -> str | None:
    """A name for the function and its code, the same in every program; None for what has no code to look at."""
    code = own_code(function)
    if code is None:
        return None
    from _blake2 import blake2b  # type: ignore[import-not-found, unused-ignore]

    digest = blake2b(digest_size=16)
    seen: set[int] = set()
    waiting = [function]
    while waiting and len(seen) < _MOST:
        one = unwrapped(waiting.pop(0))
        one = getattr(one, "__func__", one)
        if type(one) is not FunctionType or id(one) in seen:
            continue
        seen.add(id(one))
        digest.update(f"{one.__module__}.{one.__qualname__}:".encode())
        _add(digest, one.__code__)
        waiting += _reached(one)
    module = getattr(function, "__module__", None) or "?"
    return f"{module}.{code.co_qualname}:{digest.hexdigest()}"


def _reached(function: FunctionType) -> list[Any]:
    """The functions that this one holds or names, of its own module; captured ones whatever their module."""
    found: list[Any] = []
    inner = getattr(function, "__wrapped__", None)
    if inner is not None:
        found.append(inner)
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    names = function.__globals__
    for name in function.__code__.co_names:
        value = names.get(name)
        if type(value) is FunctionType and value.__module__ == function.__module__:
            found.append(value)
    return found


def _add(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags)).encode())
    for constant in code.co_consts:
        if type(constant) is CodeType:
            _add(digest, constant)
        else:
            digest.update(_plain(constant).encode())


def _plain(constant: Any) -> str:
    """A constant as text that is the same in every process: sets have no order, and objects have addresses."""
    kind = type(constant)
    if kind in _PLAIN:
        return repr(constant)
    if kind is tuple:
        return f"({','.join(map(_plain, constant))})"
    if kind is frozenset:
        return f"{{{','.join(sorted(map(_plain, constant)))}}}"
    return kind.__qualname__


def size_of(item: Any) -> int:
    """The size class of an input, cheaply: twice as large is the next class. Nothing is pickled, no user code runs."""
    kind = type(item)
    if kind is int:
        # The bytes of the number, not its value: 3 and 200 are alike.
        return int(item.bit_length() // 64).bit_length()
    if kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset):
        return len(item).bit_length()
    length: object = getattr(item, "nbytes", None) if kind.__module__ in ("numpy", "array") else None
    return length.bit_length() if isinstance(length, int) else 0
