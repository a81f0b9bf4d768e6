"""cloudpickle, with what it leaves out: what functools makes, and the slots of classes.

Loaded only where plain pickle will not do: cloudpickle takes 15 to 25 ms to import. Does not know what is pickled, or
why.

Invariants:
    B1. A cached function arrives with an empty cache of the same kind. It may refer to itself, so it is made before
        what it calls is.
    B2. Functions and classes by value have what the initializer of their worker has set, whatever came with them.
    B3. A class that comes back to the process it is from stays as it is there: nothing of its copy is put into it.
    B4. Objects of a copy have the slots of the class, and a dictionary only if the class gives them one.
"""

from __future__ import annotations

import functools
from _thread import _local
from importlib import import_module
from io import BytesIO
from operator import mul
from sys import modules
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import cloudpickle
from cloudpickle.cloudpickle import (
    _decompose_typevar,
    _dynamic_class_reduce,
    _get_or_create_tracker_id,
    _make_typevar,
)

from pointsman import _initialized
from pointsman._asked import globals_in
from pointsman._naming import is_importable, is_lost, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

_Cached = type(functools.lru_cache(len))
# The code of all functions that `functools.singledispatch` makes.
_DISPATCHER = functools.singledispatch(len).__code__  # type: ignore[attr-defined]
# Where among the things that pickle is told of a function its state is.
_STATE = 2
# How many things pickle is told of an object whose state a function of its own sets: functions and classes by value.
_WITH_SETTER = 6
# Where among the arguments that a class is made from again its bases are, what it is made with, and the mark that
# cloudpickle knows it by in every process.
_BASES, _NAMESPACE, _MARK = 2, 3, -2
# Slots that Python fills.
_BY_THEMSELVES = ("__dict__", "__weakref__")
# What a module has of its loading, and a copy has not.
_OF_LOADING = ("__builtins__", "__cached__", "__loader__", "__spec__")
# What the flags of a class say that was made while the program ran (`Py_TPFLAGS_HEAPTYPE`).
_HEAP = 1 << 9
# Whether a class that has been pickled or has arrived by value is this process's own.
_own: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
_marked: WeakValueDictionary[str, type] = WeakValueDictionary()
# In a worker: the version of the definition that is loaded on this thread, and of the last that filled a class.
arriving: Any = _local()
_versions: WeakKeyDictionary[type, int] = WeakKeyDictionary()
# What a class had in it when it came the last time.
_names: WeakKeyDictionary[type, set[str]] = WeakKeyDictionary()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles by value what the other side cannot import."""

    # Says of a class how the other side finds it, if it does.
    found: Callable[[type], tuple[Any, ...] | None] | None = None

    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled; called by pickle for each."""
        if self.found is not None and issubclass(type(obj), type) and (named := self.found(obj)) is not None:
            return named
        if type(obj) is _Cached and not is_importable(obj):
            return _empty, (obj.cache_parameters(),), (obj.__wrapped__, vars(obj)), None, None, _fill
        if type(type(obj)) is type and type(obj).__module__ == "_ctypes" and _is_multiple(obj):
            return mul, (obj._type_, obj._length_)
        reduced = _of_functools(obj) or super().reducer_override(obj)
        if reduced is NotImplemented:
            reduced = self._of_lost_module(obj)
        if type(reduced) is not tuple or len(reduced) != _WITH_SETTER:
            return reduced
        make, args, state, items, pairs, setter = reduced
        if issubclass(type(obj), type):
            if (place := place_of(obj)) is not None:
                # It says that it is elsewhere, to look nicer, as those do that pytest ends tests with.
                return _found, (place, obj.__qualname__)
            _own.setdefault(obj, True)
            _marked[args[_MARK]] = obj
            # In a worker interpreter, where it cannot be loaded, nobody watches classes.
            if (native := modules.get("pointsman._native")) is not None:
                native.class_sent(obj)
            args, state = _with_slots(obj, args, state)
            make, args = _make, (make, args)
        return make, args, (setter, state), items, pairs, _set

    def _dynamic_function_reduce(self, func: FunctionType) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = super()._dynamic_function_reduce(func)
        # cloudpickle knows what functions ask for, and not what bodies of classes do that are made in them.
        _attributes, rest = reduced[_STATE]
        rest["__globals__"] |= _asked_in_classes(func.__code__, func.__globals__)
        return reduced

    def _of_lost_module(self, obj: Any) -> Any:
        """Say how something is pickled that cloudpickle would leave to the name of a module which nobody would find."""
        kind = type(obj)
        if kind is ModuleType:
            name = obj.__name__
            if modules.get(name) is not obj or name == "__main__" or not is_lost(name):
                return NotImplemented
            return ModuleType, (name,), {key: value for key, value in vars(obj).items() if key not in _OF_LOADING}
        if kind is FunctionType:
            return self._dynamic_function_reduce(obj) if is_lost(obj.__module__) else NotImplemented
        if kind is TypeVar:
            return (_make_typevar, _decompose_typevar(obj)) if is_lost(obj.__module__) else NotImplemented
        if issubclass(kind, type) and obj.__flags__ & _HEAP and is_lost(obj.__module__):
            return _dynamic_class_reduce(obj)
        return NotImplemented


def dumps(
    value: object,
    buffer_callback: Callable[[object], object] | None = None,
    found: Callable[[type], tuple[Any, ...] | None] | None = None,
) -> bytes:
    """Pickle by value; large buffers go to `buffer_callback`, if there is one, and classes that are `found` by name."""
    file = BytesIO()
    pickler = _Pickler(file, protocol=5, buffer_callback=buffer_callback)
    pickler.found = found
    pickler.dump(value)
    return file.getvalue()


def mark_of(kind: type) -> str:
    """The mark that every process knows this class by, which is the program's own."""
    mark: str = _get_or_create_tracker_id(kind)
    _own.setdefault(kind, True)
    _marked[mark] = kind
    return mark


def mark_of_arrived(kind: type) -> str | None:
    """The mark of a class that has come from another process; None of any other."""
    return _get_or_create_tracker_id(kind) if _own.get(kind) is False else None


def marked(mark: str) -> type:
    """The class with this mark; raises `LookupError` if the program has it no more."""
    found = _marked.get(mark)
    if found is None:
        message = "an object has come back from a worker whose class the program has no more"
        raise LookupError(message)
    return found


def _asked_in_classes(code: CodeType, there: dict[str, Any]) -> dict[str, Any]:
    """The globals that are asked for in code within this, bodies of classes above all."""
    found: dict[str, Any] = {}
    for constant in code.co_consts:
        if type(constant) is CodeType:
            found |= {name: there[name] for name in globals_in(constant) if name in there}
            found |= _asked_in_classes(constant, there)
    return found


def _of_functools(obj: Any) -> tuple[Any, ...] | None:
    """How a thing of functools is pickled that has a lock or weak references inside, which are its own business."""
    if type(obj) is functools.cached_property:
        return _cached_property, (obj.func, obj.attrname)
    if type(obj) is FunctionType and obj.__code__ is _DISPATCHER and not is_importable(obj):
        return _single_dispatch, (obj.__wrapped__, dict(obj.registry))  # type: ignore[attr-defined]
    return None


def _cached_property(function: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _single_dispatch(function: Callable[..., Any], registry: dict[Any, Callable[..., Any]]) -> Any:
    made = functools.singledispatch(function)
    for kind, implementation in registry.items():
        made.register(kind, implementation)
    return made


def _found(place: str, name: str) -> Any:
    return getattr(import_module(place), name)


def _make(make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Make a class, unless it is here: its bases may keep account of what is derived from them."""
    found = _marked.get(args[_MARK])
    if found is None:
        # Another thread may be about it, too: cloudpickle lets them have the same.
        found = _marked[args[_MARK]] = make(*args)
    return found


def _set(made: Any, state: tuple[Callable[[Any, Any], object], Any]) -> None:
    """Let cloudpickle complete a function or a class, and then the initializer of this worker."""
    setter, own = state
    if issubclass(type(made), type):
        if _own.setdefault(made, False) or _is_outdated(made):
            return
        # What has been taken from the class since it came the last time.
        names = _names.get(made)
        _names[made] = set(own[0])
        for name in (names or set()) - _names[made]:
            if name in vars(made):
                delattr(made, name)
    setter(made, own)
    _initialized.apply(made)


def _is_outdated(kind: type) -> bool:
    """Whether a class has been filled by a later definition than the one that is loaded now."""
    version = getattr(arriving, "version", None)
    if version is None:
        return False
    if _versions.get(kind, 0) > version:
        return True
    _versions[kind] = version
    return False


def _with_slots(kind: type, args: tuple[Any, ...], state: tuple[dict[str, Any], Any]) -> tuple[Any, Any]:
    """Have a copy of a class made with its slots, which cloudpickle sets when it is too late; `args` make it."""
    inside = vars(kind)
    slots = inside.get("__slots__")
    # A class of enumerated values is made otherwise; a named tuple has slots by itself, and refuses to be told of them.
    if slots is None or args[0] is not type(kind) or any(base is NamedTuple for base in args[_BASES]):
        return args, state
    declared = {slots} if isinstance(slots, str) else set(slots)
    if "__dict__" in inside and "__dict__" not in declared:
        # They came to the class when it had been made, and name nothing.
        return args, state
    parts = inside.items()
    members = {name for name, part in parts if type(part) is MemberDescriptorType and part.__objclass__ is kind}
    # Something else may stand before a slot by now; `__dict__` and `__weakref__` are no members.
    names = sorted(members | {name for name in declared if name in inside})
    own, rest = state
    kept = {name: part for name, part in own.items() if name not in members}
    kept |= {name: inside[name] for name in names if name not in members and name not in _BY_THEMSELVES}
    # What can be gone through only once has been gone through.
    kept["__slots__"] = tuple(names) if slots is iter(slots) else slots
    namespace = {**args[_NAMESPACE], "__slots__": tuple(names)}
    return (*args[:_NAMESPACE], namespace, *args[_NAMESPACE + 1 :]), (kept, rest)


def _is_multiple(obj: Any) -> bool:
    """Whether something of ctypes is the class of arrays that multiplying another class gives, each time the same."""
    return issubclass(type(obj), type) and hasattr(obj, "_length_") and obj._type_ * obj._length_ is obj


def _empty(parameters: dict[str, Any]) -> Any:
    """Make a cached function that knows later what it calls."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return call.function(*args, **kwargs)  # type: ignore[attr-defined]

    return functools.lru_cache(**parameters)(call)


def _fill(cached: Any, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, attributes = state
    cached.__wrapped__.function = function
    vars(cached).update(attributes)
