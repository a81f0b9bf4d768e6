"""What a worker has of the program's main module: what the initializer of its pool set, and classes that arrived.

Each function that travels by value brings a namespace of its own, the initializer, too. What that one has set is put
into the namespaces of all that arrive later, as if they were still those of one module.

Does not know pools, or how functions and classes are packed.

Invariants:
    I1. Where no initializer has run, as in the program itself, nothing is kept and nothing that arrives is changed.
    I2. Only what the initializer has changed is kept: all else is what came with each function.
    I3. Only classes are put into a worker's main module: functions keep all that they reach, which may be large.
"""

from __future__ import annotations

from _pickle import Pickler, loads
from types import FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    # What a name stood for, and how that looked inside.
    Looks = dict[str, tuple[Any, bytes | None]]

# What the initializer has set: of each module by its name, and of each class by its id, with the class.
_names: dict[str, dict[str, Any]] = {}
_attributes: dict[int, tuple[type, dict[str, Any]]] = {}
# Functions and classes that arrive with the initializer, while it arrives.
_arriving: list[Any] | None = None
# The main module of a worker process, where what calls pickle by its name is looked for.
_main: dict[str, Any] | None = None


def begin(main: dict[str, Any]) -> None:
    """From now on have the program's classes and functions, as they arrive, in the main module of this worker, too."""
    global _main  # noqa: PLW0603 - one for the worker
    _main = main


def run(packed: bytes) -> None:
    """Call the initializer that was packed with its arguments, and keep what it sets."""
    global _arriving  # noqa: PLW0603 - one for the worker
    _arriving = []
    try:
        initializer, initargs = loads(packed)
    finally:
        arrived, _arriving = _arriving, None
    spaces = {id(one.__globals__): one.__globals__ for one in arrived if type(one) is FunctionType}
    classes = {id(one): one for one in arrived if type(one) is not FunctionType}
    # What is compared by identity must not go meanwhile.
    held: list[object] = []
    before = {key: _look(space, held) for key, space in spaces.items()}
    before |= {key: _look(vars(kind), held) for key, kind in classes.items()}
    initializer(*initargs)
    for key, space in spaces.items():
        _names.setdefault(space.get("__name__", ""), {}).update(_changes(space, before[key], held))
    for key, kind in classes.items():
        changes = _changes(vars(kind), before[key], held)
        # Those of the language belong to the class as it was made.
        own = {name: value for name, value in changes.items() if not (name.startswith("__") and name.endswith("__"))}
        _attributes[key] = kind, own


def apply(arrived: Any) -> None:
    """Put what the initializer has set into a function or a class that has arrived by value."""
    if _main is not None and arrived.__module__ == "__main__":
        name = arrived.__qualname__
        # A class inside of another is found there; so is a method, and what a function has made is nowhere.
        if issubclass(type(arrived), type) or ("." not in name and "<" not in name):
            _main[name] = arrived
    if _arriving is not None:
        _arriving.append(arrived)
    elif type(arrived) is FunctionType:
        if _names:
            names = arrived.__globals__
            names.update(_names.get(names.get("__name__", ""), ()))
    elif id(arrived) in _attributes:
        for name, value in _attributes[id(arrived)][1].items():
            setattr(arrived, name, value)


class _Looker(Pickler):
    """Writes what objects hold, and of functions, classes and modules only which they are."""

    def __init__(self, write: Any, held: list[object]) -> None:
        super().__init__(write, 5)
        self._held = held

    def persistent_id(self, value: object) -> int | None:
        """Stand in for what is the same only if it is the same object; called by pickle for each."""
        if not issubclass(type(value), (type, FunctionType, ModuleType)):
            return None
        self._held.append(value)
        return id(value)


class _Parts:
    """A file for pickles: the pickler wants no more of one."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, part: Any) -> None:
        self.parts.append(bytes(part))


def _inside(value: object, held: list[object]) -> bytes | None:
    """What an object holds, or None if nobody can say."""
    parts = _Parts()
    try:
        _Looker(parts, held).dump(value)
    except Exception:  # noqa: BLE001 - what cannot be pickled is known by its identity alone
        return None
    return b"".join(parts.parts)


def _look(names: Mapping[str, Any], held: list[object]) -> Looks:
    return {name: (value, _inside(value, held)) for name, value in names.items()}


def _changes(names: Mapping[str, Any], before: Looks, held: list[object]) -> dict[str, Any]:
    """Return the names that are new, that stand for another object, or for one that holds something else."""
    changed = {}
    for name, value in names.items():
        was, inside = before.get(name, (None, None))
        if name == "__builtins__" or (name in before and was is value and inside == _inside(value, held)):
            continue
        changed[name] = value
    return changed
