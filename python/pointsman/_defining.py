"""Classes that workers are told of once: objects of the program's own classes name these, instead of bringing them.

A class of `__main__` travels by value, which takes 100 to 300 us each time. So it is put into the pool's shared memory
once, and what is pickled for the workers says where; what comes back from them says by which mark the program knows its
class.

Does not know how a class is pickled by value (`_by_value` does), or calls.

Invariants:
    D1. What has been put into shared memory stays there until the pool ends: a pickle is good for as long as the pool.
    D2. A worker has a class as it was when the pickle was made: what the class rests on is looked at each time.
    D3. A class that comes back is the program's own. Only those are named that a module of the program's has by name,
        and that the worker was told of: these the program keeps.
"""

from __future__ import annotations

import sys
from _io import BytesIO
from _pickle import Pickler, loads
from copyreg import dispatch_table
from functools import partial
from importlib import import_module
from itertools import count
from types import FunctionType, MethodType

from pointsman import _native
from pointsman._naming import is_importable, mentions_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Classes that a pool defines at most. Arbitrary. How many bytes they may take says the native half.
_MOST = 256
# How often it is begun anew to pickle a class that another thread changes or pickles meanwhile.
_TRIES = 3
# What the flags of a class say that was made while the program ran (`Py_TPFLAGS_HEAPTYPE`).
_HEAP = 1 << 9

_versions = count(1)
# In a worker: the classes that it was told of, by their marks, and the version of each.
_told: dict[str, tuple[int, type]] = {}


class _ByValueError(Exception):
    """There is something that must be pickled by value."""


class _Pickler(Pickler):
    name: Callable[[Any], Any]

    def reducer_override(self, obj: Any) -> Any:
        """Say how a class is pickled; called by pickle for each object that is not a plain one."""
        kind = type(obj)
        if kind is type or issubclass(kind, type):
            return self.name(obj)
        if (kind is FunctionType and not is_importable(obj)) or (kind is MethodType and not _is_at_its_name(obj)):
            raise _ByValueError
        return NotImplemented


class _Attributes:
    """The least that an object with attributes takes."""


def _has_only_attributes(kind: type) -> bool:
    """Whether pickle takes nothing but attributes from the objects of a class, and sets nothing but these."""
    from pointsman._reach import is_plain

    made: Any = kind.__new__
    return (
        type(kind) is type
        and is_plain(kind)
        and made is object.__new__
        and kind.__basicsize__ <= _Attributes.__basicsize__
        and not any(name in vars(base) for base in kind.__mro__[:-1] for name in ("__setstate__", "__getattr__"))
    )


def _is_at_its_name(method: MethodType) -> bool:
    """Whether the other side finds a method where its function says it is, which is how pickle names it."""
    owner: Any = method.__self__
    function = method.__func__
    name = getattr(function, "__name__", "")
    for base in (owner if issubclass(type(owner), type) else type(owner)).__mro__:
        if name in vars(base):
            found = vars(base)[name]
            return found is function or (type(found) is classmethod and found.__func__ is function)
    return False


def _reduced(method: MethodType) -> Any:
    if not _is_at_its_name(method):
        raise _ByValueError
    return getattr, (method.__self__, method.__func__.__name__)


def _made(kind: type, *args: Any) -> Any:
    """Make an object again, as `copyreg.__newobj__` does."""
    return kind.__new__(kind, *args)


class _Token:
    """Stands for a class that the other side knows: there it becomes the class itself."""

    __slots__ = ("_reduced",)

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self._reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced

    def __call__(self, *_args: object) -> None:
        """Be what may be called to make an object: the class will be."""


class _Names:
    """Pickles objects with their classes named."""

    def __init__(self, name: Callable[[Any], Any]) -> None:
        self._name = name
        # How objects of classes that have been named are pickled; that needs no look at each other object.
        self._makers: dict[type, Any] = {}
        self._table: dict[type, Any] = {}
        self._registered: dict[type, Any] | None = None

    def add(self, kind: type, named: tuple[Any, ...], watch: _native.Watch | None = None) -> None:
        """Pickle the objects of this class with that in its place, as long as what is watched is unchanged."""
        from pointsman._reach import is_plain

        # To look an object's class up is to hash it.
        if kind not in dispatch_table and type(kind).__hash__ is type.__hash__:
            new: Any = kind.__new__
            plain = is_plain(kind) and new is object.__new__
            token = _Token((_makers[named[0]], named[1]) if plain else named)
            self._makers[kind] = _native.Maker(token, _made, plain=plain, watch=watch)
        self._registered = None

    def found(self, kind: type) -> tuple[Any, ...] | None:
        """Return what names a class, for whoever pickles by value; None if it has to come along."""
        try:
            named = self._name(kind)
        except _ByValueError:
            return None
        return None if named is NotImplemented else named

    def plain(self, kind: type) -> tuple[tuple[Any, ...], _native.Watch | None] | None:
        """Return what names a class whose objects are nothing but their attributes, and how to see that this is so."""
        if kind in dispatch_table or not _has_only_attributes(kind):
            return None
        module = sys.modules.get(kind.__module__)
        if "." not in kind.__qualname__ and is_importable(kind):
            named = kind.__module__, kind.__qualname__
            return named, _native.Watch([(vars(module), kind.__qualname__, kind), *_ways(kind)])
        found = self.found(kind)
        return None if found is None else (found[1], self._watch(kind))

    def _watch(self, _kind: type) -> _native.Watch | None:
        return None

    def clear(self) -> None:
        """Know nothing of any class any more."""
        self._makers.clear()
        self._registered = None

    def drop(self, kind: type) -> None:
        """Know nothing of this class any more."""
        if self._makers.pop(kind, None) is not None:
            self._registered = None

    def dumps(self, value: object, buffers: list[Any]) -> bytes | None:
        """Pickle with classes named that the other side knows, large buffers aside; None if that will not do."""
        if self._makers:
            if self._registered != dispatch_table:
                registered = dict(dispatch_table)
                # First: another thread that sees the one has the other.
                self._table = {MethodType: _reduced, **self._makers, **registered}
                self._registered = registered
            _native.begin_pickle()
            file = BytesIO()
            pickler = Pickler(file, 5, True, buffers.append)  # noqa: FBT003 - by place, which is half as dear
            pickler.dispatch_table = self._table
            if (pickled := _dumps(pickler, value, file, buffers)) is not None:
                return pickled
        file = BytesIO()
        pickler = _Pickler(file, 5, True, buffers.append)  # noqa: FBT003 - as above
        pickler.name = self._name
        return _dumps(pickler, value, file, buffers)


def _dumps(pickler: Pickler, value: object, file: BytesIO, buffers: list[Any]) -> bytes | None:
    try:
        pickler.dump(value)
    except Exception:  # noqa: BLE001 - a class that has changed, for one; else cloudpickle may manage, or says why not
        buffers.clear()
        return None
    pickled = file.getvalue()
    if mentions_lost(pickled):
        buffers.clear()
        return None
    return pickled


class Definitions(_Names):
    """What the workers of a pool are told of; `store` puts bytes where they can read them, and says where."""

    def __init__(self, store: Callable[[bytes], tuple[int, int] | None]) -> None:
        super().__init__(self._named)
        self._store = store
        # By the class's address: what names it, what it was when it was told of, and itself, to keep the address.
        self._known: dict[int, tuple[tuple[Any, ...], _native.Watch, type]] = {}
        # Those that there was no room for.
        self._refused: dict[int, type] = {}
        self._latest: dict[int, int] = {}

    def _named(self, kind: type) -> Any:
        known = self._known.get(id(kind))
        if known is None or not known[1].is_unchanged():
            if is_importable(kind):
                return NotImplemented
            known = self._define(kind)
        return known[0]

    def _watch(self, kind: type) -> _native.Watch | None:
        return self._known[id(kind)][1]

    def _define(self, kind: type) -> tuple[tuple[Any, ...], _native.Watch, type]:
        from pointsman import _by_value

        self.drop(kind)
        there = id(kind) in self._known
        if id(kind) in self._refused or (len(self._known) >= _MOST and not there) or not _has_its_name(kind):
            raise _ByValueError
        pickled, version, watch = self._pickled(kind)
        place = self._store(pickled)
        if place is None:
            if len(self._refused) < _MOST:
                self._refused[id(kind)] = kind
            raise _ByValueError
        watch.settle()
        named = _told_of, (_by_value.mark_of(kind), version, *place)
        self._known[id(kind)] = known = named, watch, kind
        self.add(kind, named, watch)
        return known

    def _pickled(self, kind: type) -> tuple[bytes, int, _native.Watch]:
        """Pickle a class by value; its state, and a version that is later than those of all earlier states."""
        from pointsman import _by_value
        from pointsman._reach import reached

        for _ in range(_TRIES):
            version = self._latest[id(kind)] = next(_versions)
            rests_on = reached(kind)
            if rests_on is None:
                break
            watch = _native.Watch([*rests_on, *_ways(kind)])
            pickled = _by_value.dumps(kind)
            watch.settle()
            if watch.is_unchanged() and self._latest.get(id(kind)) == version:
                return pickled, version, watch
        raise _ByValueError


# For those who ask what pickles weigh that are sent to nobody.
weighed = Definitions(lambda pickled: (0, len(pickled)))


def _ways(kind: type) -> list[Any]:
    """What says how objects of a class are pickled: its bases, and what the program has registered."""
    made = [base for base in kind.__mro__[:-1] if base.__flags__ & _HEAP]
    return [(dispatch_table, None, dict(dispatch_table)), *((base, None, dict(vars(base))) for base in made)]


def _has_its_name(kind: type) -> bool:
    """Whether a class is where it says it is."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def _told_of(mark: str, version: int, offset: int, length: int) -> type:
    """In a worker: the class that is defined in this part of shared memory."""
    known = _told.get(mark)
    if known is None or known[0] < version:
        pickled = _native.shared_bytes(offset, length)
        if pickled is None:
            message = "a class is not in shared memory"
            raise ValueError(message)
        known = _told[mark] = version, _loaded(pickled, version)
        _native.forget_classes()
        # Those that it came with may have changed, too.
        results.clear()
    return known[1]


def _loaded(pickled: bytes, version: int) -> type:
    """Load a definition; classes in it that a later one has filled stay as they are."""
    from pointsman._by_value import arriving

    before = getattr(arriving, "version", None)
    arriving.version = version
    try:
        return loads(pickled)  # type: ignore[no-any-return]
    finally:
        arriving.version = before


def _returning(kind: type) -> Any:
    from pointsman import _by_value

    if is_importable(kind):
        return NotImplemented
    mark = _by_value.mark_of_arrived(kind)
    # The program keeps those that it has told workers of; others may be gone by then.
    if mark is None or _told.get(mark, (0, None))[1] is not kind:
        raise _ByValueError
    named = _returned, (mark,)
    results.add(kind, named)
    return named


# In a worker: pickles with the program's classes named by their marks.
results = _Names(_returning)


def _returned(mark: str) -> type:
    """In the program: the class that workers know by this mark."""
    from pointsman import _by_value

    return _by_value.marked(mark)


def _told_to_make(mark: str, version: int, offset: int, length: int) -> Callable[[], Any]:
    """In a worker: what makes an object of that class, which gets its attributes afterwards."""
    return partial(object.__new__, _told_of(mark, version, offset, length))


def _returned_to_make(mark: str) -> Callable[[], Any]:
    """In the program: the same."""
    return partial(object.__new__, _returned(mark))


_makers: dict[Callable[..., Any], Callable[..., Any]] = {_told_of: _told_to_make, _returned: _returned_to_make}


def found(*named: Any) -> type:
    """Find the class of an object that comes as its attributes."""
    if len(named) > 2:  # noqa: PLR2004 - as `_told_of` has
        return _told_of(*named)
    if len(named) == 1:
        return _returned(*named)
    module, name = named
    if module not in sys.modules:
        import_module(module)
    kind: type = getattr(sys.modules[module], name)
    return kind
