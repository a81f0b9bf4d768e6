"""cloudpickle, with what it leaves to names: functions of `__main__` with a cache (`functools.lru_cache`).

Loaded only where plain pickle will not do: cloudpickle takes 15 to 25 ms to import. Does not know what is pickled, or
why.

Invariants:
    B1. A cached function arrives with an empty cache of the same kind. It may refer to itself, so it is made before
        what it calls is.
    B2. Functions and classes by value have what the initializer of their worker has set, whatever came with them.
"""

from __future__ import annotations

import functools
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cloudpickle

from pointsman import _initialized
from pointsman._naming import is_importable

if TYPE_CHECKING:
    from collections.abc import Callable

_Cached = type(functools.lru_cache(len))
# How many things pickle is told of an object whose state a function of its own sets: functions and classes by value.
_WITH_SETTER = 6


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles by value what the other side cannot import."""

    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled; called by pickle for each."""
        if type(obj) is _Cached and not is_importable(obj):
            return _empty, (obj.cache_parameters(),), (obj.__wrapped__, vars(obj)), None, None, _fill
        reduced = super().reducer_override(obj)
        if type(reduced) is not tuple or len(reduced) != _WITH_SETTER:
            return reduced
        make, args, state, items, pairs, setter = reduced
        return make, args, (setter, state), items, pairs, _set


def dumps(value: object, buffer_callback: Callable[[object], object] | None = None) -> bytes:
    """Pickle by value; large buffers go to `buffer_callback`, if there is one."""
    file = BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def _set(made: Any, state: tuple[Callable[[Any, Any], object], Any]) -> None:
    """Let cloudpickle complete a function or a class, and then the initializer of this worker."""
    setter, own = state
    setter(made, own)
    _initialized.apply(made)


def _empty(parameters: dict[str, Any]) -> Any:
    """Make a cached function that knows later what it calls."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return call.function(*args, **kwargs)  # type: ignore[attr-defined]

    return functools.lru_cache(**parameters)(call)


def _fill(cached: Any, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, attributes = state
    cached.__wrapped__.function = function
    vars(cached).update(attributes)
