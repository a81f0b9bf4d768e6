"""Pickles what the fast pickler cannot: functions and classes that only this program's `__main__` or a closure holds.

Does not know shared memory or frames; the native codec calls in here when plain pickle will not do.
"""

from __future__ import annotations

from _pickle import dumps
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def dumps_by_value(value: object, buffer_callback: Callable[[object], object] | None = None) -> bytes:
    """Pickles with cloudpickle: lambdas, closures, and what `__main__` defines travel by value.

    Raises
    ------
    CannotTravelError
        If even that fails, with pickle's own words and the fix.

    """
    from io import BytesIO

    from cloudpickle import Pickler

    file = BytesIO()
    try:
        Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    except Exception as why:
        from pointsman._errors import CannotTravelError

        message = (
            f"{_describe(value)} cannot be pickled: {type(why).__name__}: {why}; "
            f"create such objects inside the function, pass what they are made from, or use backend='threads'"
        )
        raise CannotTravelError(message) from why
    return file.getvalue()


def dumps_anyway(value: object) -> bytes:
    """Pickles by reference if that will do on the other side, else by value."""
    try:
        pickled: bytes = dumps(value, 5)
    except Exception:  # noqa: BLE001 - whatever stops plain pickle, cloudpickle may manage
        return dumps_by_value(value)
    if b"__main__" in pickled:
        return dumps_by_value(value)
    return pickled


def _describe(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{name!r}"
    if type(value) is tuple and len(value) == 2 and isinstance(value[0], tuple):  # noqa: PLR2004 - (args, kwargs)
        args, kwargs = value
        shown = [_culprit(arg) for arg in (*args, *kwargs.values())]
        return f"an argument ({', '.join(filter(None, shown)) or 'one of them'})"
    if isinstance(value, list):
        for index, item in enumerate(value):
            if kind := _culprit(item):
                return f"item {index} of this chunk ({kind})"
    return f"a {type(value).__qualname__}"


def _culprit(value: object) -> str:
    from cloudpickle import dumps as by_value

    try:
        by_value(value)
    except Exception:  # noqa: BLE001 - that it fails is the answer
        return f"a {type(value).__qualname__}"
    return ""


def dumps_with_buffers(value: object) -> int:
    """Bytes that `value` would put on the wire, its large buffers included but not copied."""
    size = 0

    def buffer(view: object) -> None:
        nonlocal size
        size += view.raw().nbytes  # type: ignore[attr-defined]

    return len(dumps(value, 5, buffer_callback=buffer)) + size


_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), range, frozenset)
_MOST_WATCHED = 64


def dependencies(function: Any) -> list[tuple[object, object, object]] | None:
    """List what a function that travels by value reaches, so that a change of it can be seen.

    Each entry is a dictionary, a name in it and the value it had; or a cell, None and its contents. None is returned
    when something is reached that can change without being replaced: then the function must be packed every time.
    """
    found: list[tuple[object, object, object]] = []
    seen: set[int] = set()
    return found if _watch_function(function, found, seen) and len(found) <= _MOST_WATCHED else None


def _watch_function(function: Any, found: list[tuple[object, object, object]], seen: set[int]) -> bool:
    if id(function) in seen:
        return True
    seen.add(id(function))
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        if not _watch_value(default, found, seen):
            return False
    if function.__dict__:
        return False
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:
            return False
        found.append((cell, None, value))
        if not _watch_value(value, found, seen):
            return False
    names = function.__globals__
    for name in _names(function.__code__):
        if name in names:
            found.append((names, name, names[name]))
            if not _watch_value(names[name], found, seen):
                return False
    return True


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _watch_value(value: Any, found: list[tuple[object, object, object]], seen: set[int]) -> bool:
    kind = type(value)
    if kind in _PLAIN or kind is ModuleType or kind is BuiltinFunctionType:
        return True
    if kind is tuple:
        return all(_watch_value(item, found, seen) for item in value)
    if kind is FunctionType:
        # What can be imported over there travels by its name.
        return value.__module__ != "__main__" or _watch_function(value, found, seen)
    return isinstance(value, type) and value.__module__ != "__main__"
