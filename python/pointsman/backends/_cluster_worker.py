"""Runs calls on a worker of a cluster, whichever engine started it: what arrives is bytes, and so is what goes back.

Does not know engines, jobs or plans. The worker needs pointsman for this module.

Invariants:
    W1. Each call has arguments of its own: what one of them writes to, no other sees.
    W2. A function is unpickled once in a worker, as long as its bytes are the same.
    W3. What a call raises goes back packed; only what keeps this module itself from running is an error of the engine.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pointsman._errors import CannotTravelError
from pointsman._outcome import pack_exception, refuse_coroutine, unpackable_result, unreadable_arguments
from pointsman._times import Watch
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman._outcome import Packed
    from pointsman._times import Times

# Functions that a worker keeps.
_MOST_KEPT = 64


class Held(NamedTuple):
    """Stands for a large argument: its place among those that travel beside the calls."""

    place: int


class Outcome(NamedTuple):
    """What became of calls: pickled results, what was raised by place, the seconds that they ran, and when each did."""

    packed: bytes
    failures: list[tuple[int, Packed]]
    seconds: float
    times: Times | None = None


_functions: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()


def serve(key: str, packed: bytes, keep_going: bool, function: bytes, *large: bytes) -> Outcome:
    """Run calls one after the other; after the first that raises none is begun, unless they shall go on.

    `key` stands for the function, and `packed` is a list of the positional arguments and the keywords of each call.
    """
    return _serve(None, key, packed, keep_going, function, *large)


def serve_timed(key: str, packed: bytes, keep_going: bool, function: bytes, *large: bytes) -> Outcome:
    """As `serve`, and note when each call ran."""
    watch = Watch()
    return _serve(watch, key, packed, keep_going, function, *large)._replace(times=watch.read())


def _serve(watch: Watch | None, key: str, packed: bytes, keep_going: bool, function: bytes, *large: bytes) -> Outcome:
    from pickle import loads

    try:
        run = _load(key, function)
        inputs = loads(packed)  # noqa: S301 - of the program that asks for the calls
    except BaseException as why:  # noqa: BLE001 - unpickling runs the user's code
        return Outcome(b"", [(0, pack_exception(unreadable_arguments(why)))], 0.0)
    results: list[Any] = []
    failures: list[tuple[int, Packed]] = []
    if watch is not None:
        run = watch.timed(run)
    began = perf_counter()
    for place, (args, kwargs) in enumerate(inputs):
        try:
            value = run(*[_own(value, large) for value in args], **{k: _own(kwargs[k], large) for k in kwargs})
            refuse_coroutine(value, run)
            results.append(value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it belongs to the caller
            failures.append((place, pack_exception(error)))
            if not keep_going:
                break
            results.append(None)
    seconds = perf_counter() - began
    return Outcome(_pack(results, failures, keep_going=keep_going), failures, seconds)


def _load(key: str, function: bytes) -> Callable[..., Any]:
    from pickle import loads

    with _lock:
        if key in _functions:
            _functions.move_to_end(key)
            return _functions[key]  # type: ignore[no-any-return]
    loaded = loads(function)  # noqa: S301 - of the program that asks for the calls
    with _lock:
        # Another thread of this worker may have been faster: all use one, whose globals they share.
        loaded = _functions.setdefault(key, loaded)
        while len(_functions) > _MOST_KEPT:
            _functions.popitem(last=False)
    return loaded  # type: ignore[no-any-return]


def _own(value: Any, large: tuple[bytes, ...]) -> Any:
    if type(value) is not Held:
        return value
    from pickle import loads

    return loads(large[value.place])  # noqa: S301 - of the program that asks for the calls


def _pack(results: list[Any], failures: list[tuple[int, Packed]], *, keep_going: bool) -> bytes:
    """Pickle the results; one that cannot be is a failure of its call."""
    try:
        return dumps_anyway(results)
    except CannotTravelError:
        pass
    for place, result in enumerate(results):
        try:
            dumps_anyway(result)
        except CannotTravelError as why:
            reason = why.__cause__ if why.__cause__ is not None else why
            failures.append((place, pack_exception(unpackable_result(result, reason))))
            results[place] = None
            if not keep_going:
                del results[place:]
                break
    failures.sort(key=lambda failure: failure[0])
    if not keep_going:
        del failures[1:]
    return dumps_anyway(results)


def path() -> list[str]:
    """Where this interpreter looks for modules."""
    import sys

    return list(sys.path)


def echo(data: bytes) -> bytes:
    """Give back what came: a dispatch, as bare as it can be."""
    return data
