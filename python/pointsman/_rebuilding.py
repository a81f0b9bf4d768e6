"""Pickles exceptions whose class gives pickle no way to make them again: by what they hold, without their constructor.

Pickle calls the class with the exception's `args`, which fails, or makes another text, wherever the constructor takes
anything else. Does not know calls, workers, or tracebacks.

Invariants:
    R1. What pickle manages is pickle's: what a class says of its own pickling is done.
    R2. What cannot travel is left out, and a note of the exception names it; its type and its text stay.
"""

from __future__ import annotations

import builtins
from _pickle import loads

from pointsman._transport import dumps_anyway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(chain: list[BaseException]) -> bytes:
    """Pickle exceptions, of which the first must come back with its type; of the others the text will do."""
    try:
        pickled = dumps_anyway(chain)
        # Many exceptions pickle and then cannot be unpickled; better found out here, where they are at hand.
        if all(map(_is_like, loads(pickled), chain)):
            return pickled
    except BaseException:  # noqa: BLE001, S110 - pickling runs the user's code, which may raise anything
        pass
    return dumps_anyway([_portable(chain[0], ()), *map(_portable_or_text, chain[1:])])


def in_result(value: Any) -> Any:
    """Return a result with the exceptions in it, two containers deep, as what unpickles to them."""
    known: dict[int, Any] = {}
    portable = _in_result(value, 2, known)
    # Where all of them travel by themselves, pickle keeps together what is one object in several places.
    return value if all(held is own for held, own in known.values()) else portable


def _in_result(value: Any, depth: int, known: dict[int, tuple[Any, Any]]) -> Any:
    kind = type(value)
    if id(value) in known:
        return known[id(value)][0]
    if issubclass(kind, BaseException):
        try:
            made = _portable(value, ())
        except Exception:  # noqa: BLE001 - as above; what it is pickled to on its own says why it cannot be
            made = value
        known[id(value)] = made, value
        return made
    if not depth:
        return value
    if kind is list or kind is tuple:
        return kind(_in_result(item, depth - 1, known) for item in value)
    return {key: _in_result(item, depth - 1, known) for key, item in value.items()} if kind is dict else value


class _Parts:
    """What unpickles to the exception that it was made from."""

    def __init__(self, error: BaseException, within: tuple[BaseException, ...]) -> None:
        self._kind = type(error)
        self._base = next(base for base in self._kind.__mro__ if _is_built_in(base))
        # The class that CPython has made knows where such an object keeps what.
        reduce: Any = self._base.__reduce__
        _, args, *state = reduce(error)
        self._lost: list[str] = []
        self._args = tuple(self._value(f"args[{n}]", arg, (*within, error)) for n, arg in enumerate(args))
        self._attributes = {}
        for name, value in (state[0] if state and state[0] else {}).items():
            lost = len(self._lost)
            portable = self._value(name, value, (*within, error))
            if lost == len(self._lost):
                self._attributes[name] = portable

    def _value(self, name: str, value: Any, within: tuple[BaseException, ...]) -> Any:
        """Return what can stand for a value on its way; its text, and its name among the lost, if nothing can."""
        if isinstance(value, BaseException) and all(value is not outer for outer in within):
            return _portable_or_text(value, within)
        if _travels(value):
            return value
        if type(value) in (list, tuple):
            return type(value)(self._value(f"{name}[{n}]", item, within) for n, item in enumerate(value))
        self._lost.append(f"{name} (a {type(value).__qualname__})")
        try:
            return repr(value)
        except Exception:  # noqa: BLE001 - a __repr__ of the user's may raise anything
            return object.__repr__(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._kind, self._base, self._args, self._attributes, self._lost)


def _rebuild(
    kind: type[BaseException],
    base: type[BaseException],
    args: tuple[Any, ...],
    attributes: dict[str, Any],
    lost: list[str],
) -> BaseException:
    """Make an exception without calling its constructor."""
    error = kind.__new__(kind, *args)
    try:
        # Sets what the classes of the language keep apart: an OSError its errno.
        base.__init__(error, *args)
    except TypeError:
        # The class never called this one.
        error.args = args
    for name, value in attributes.items():
        try:
            # Its own way to set attributes may refuse that, as a frozen dataclass does.
            object.__setattr__(error, name, value)
        except AttributeError:
            error.__dict__[name] = value
    if lost:
        error.add_note(f"left behind in the worker, because it cannot be pickled: {', '.join(lost)}")
    return error


def _portable(error: BaseException, within: tuple[BaseException, ...]) -> BaseException | _Parts:
    if _travels(error):
        return error
    parts = _Parts(error, within)
    loads(dumps_anyway(parts))
    return parts


def _portable_or_text(error: BaseException, within: tuple[BaseException, ...] = ()) -> BaseException | _Parts:
    from pointsman._errors import RemoteError

    try:
        return _portable(error, within)
    except BaseException:  # noqa: BLE001 - as above
        return RemoteError(f"{type(error).__qualname__}: {_text(error)}")


def _travels(value: object) -> bool:
    try:
        copy = loads(dumps_anyway(value))
    except BaseException:  # noqa: BLE001 - as above
        return False
    return not isinstance(value, BaseException) or _is_like(copy, value)


def _is_like(copy: object, error: BaseException) -> bool:
    """Whether an exception has come back as it was; one with a way of its own to be pickled has."""
    own = any(
        name in vars(kind)
        for kind in type(error).__mro__
        if not _is_built_in(kind)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__")
    )
    return own or (type(copy) is type(error) and _text(copy) == _text(error))


def _is_built_in(kind: type) -> bool:
    """Whether a class is one of the language. Some others say so, to look nicer."""
    return vars(builtins).get(kind.__name__) is kind


def _text(error: object) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a __str__ of the user's may raise anything
        return "(no text)"
