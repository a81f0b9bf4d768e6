"""Pickles what the fast pickler cannot: functions and classes that only this program's `__main__` or a closure holds.

Does not know shared memory or frames; the native codec calls in here when plain pickle will not do.
"""

from __future__ import annotations

from _pickle import dumps

from pointsman._naming import mentions_lost, notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def dumps_by_value(
    value: object,
    buffer_callback: Callable[[object], object] | None = None,
    found: Callable[[type], tuple[Any, ...] | None] | None = None,
) -> bytes:
    """Pickles with cloudpickle: lambdas, closures, and what `__main__` defines travel by value.

    Classes do not of which `found` says how the other side finds them.

    Raises
    ------
    CannotTravelError
        If even that fails, with pickle's own words and the fix.

    """
    from pointsman import _by_value

    try:
        return _by_value.dumps(value, buffer_callback, found)
    except (Exception, SystemExit) as why:
        from pointsman._errors import CannotTravelError

        message = (
            f"{_describe(value)} cannot be pickled: {type(why).__name__}: {why}; "
            f"create such objects inside the function, pass what they are made from, or use backend='threads'"
        )
        raise CannotTravelError(message) from why


def dumps_anyway(value: object) -> bytes:
    """Pickles by reference if that will do on the other side, else by value."""
    notice(value)
    try:
        pickled: bytes = dumps(value, 5)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever stops plain pickle, cloudpickle may manage
        return dumps_by_value(value)
    if mentions_lost(pickled):
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
    from pointsman._by_value import dumps as by_value

    try:
        by_value(value)
    except (Exception, SystemExit):  # noqa: BLE001 - that it fails is the answer
        return f"a {type(value).__qualname__}"
    return ""


def dumps_with_buffers(value: object, *, by_value: bool = False) -> tuple[int, int]:
    """Bytes that `value` would put on the wire, and those of its large buffers, which are not copied."""
    size = 0

    def buffer(view: object) -> None:
        nonlocal size
        size += view.raw().nbytes  # type: ignore[attr-defined]

    pickled = dumps_by_value(value, buffer) if by_value else dumps(value, 5, buffer_callback=buffer)
    if not by_value and mentions_lost(pickled):
        from pointsman import _defining

        # Tried anew as it will be when it is sent: with its classes named, if that will do.
        buffers: list[Any] = []
        named = _defining.weighed.dumps(value, buffers)
        size = 0
        pickled = dumps_by_value(value, buffer) if named is None else named
        for one in buffers:
            buffer(one)
    return len(pickled), size
