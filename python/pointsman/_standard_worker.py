"""What runs in a worker of one of the standard library's pools: unpacks calls, makes them, packs what came of them.

Does not know pools, or what kind of worker this is. Nothing native is imported here: a worker interpreter has none.
"""

from __future__ import annotations

import os
import sys
from _pickle import loads
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _initialized, _outcome, _rebuilding
from pointsman._times import Times, Watch
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    from collections.abc import Callable

# A call's outcome as it travels: whether it is a value, then the pickled value or the packed exception.
Sent = tuple[bool, Any]


def begin(share: float, environment: dict[str, str], most_digits: int, packed: bytes | None) -> None:
    """Prepare a worker process."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    parent = parent_process()
    if parent is not None:
        # Its own queue would keep it waiting for a parent that was killed: other workers hold the other end open.
        Thread(target=_end_with, args=(parent,), name="pointsman-parent-watch", daemon=True).start()
    # Ctrl-C reaches the whole process group; the program decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    os.environ["POINTSMAN_CORES"] = str(share)
    sys.set_int_max_str_digits(most_digits)
    if packed is not None:
        _initialized.run(packed)


def _end_with(parent: Any) -> None:
    parent.join()
    # There is nobody to tell, and calls that run would run for nobody.
    os._exit(1)


_functions: dict[bytes, Any] = {}
_MOST_FUNCTIONS = 64


def loaded(packed: bytes) -> Any:
    """Return the function that was packed; the last ones are remembered."""
    if packed not in _functions:
        if len(_functions) >= _MOST_FUNCTIONS:
            _functions.clear()
        _functions[packed] = loads(packed)
    return _functions[packed]


def outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sent:
    """Run a call and pack what came of it; never raises."""
    try:
        value = function(*args, **kwargs)
        _outcome.refuse_coroutine(value, function)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the call's outcome
        return False, _outcome.pack_exception(error)
    try:
        return True, dumps_anyway(_rebuilding.in_result(value))
    except BaseException as why:  # noqa: BLE001 - as above
        return False, _outcome.pack_exception(_outcome.unpackable_result(value, why))


def call(function: bytes, arguments: bytes, timed: bool = False) -> tuple[Sent, float, Times | None]:
    """Run one call in a worker; with `timed` note when it ran."""
    watch = Watch() if timed else None
    began = perf_counter()
    try:
        called = loaded(function)
        args, kwargs = loads(arguments)
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
        return (False, _outcome.pack_exception(error)), perf_counter() - began, None
    sent = outcome(called if watch is None else watch.timed(called), args, kwargs)
    return sent, perf_counter() - began, None if watch is None else watch.read()


def run_chunk(
    function: bytes, packed: bytes, calls: int, star: bool, timed: bool = False
) -> tuple[list[Sent], float, Times | None]:
    """Run a chunk in a worker; with `timed` note when each call ran."""
    watch = Watch() if timed else None
    began = perf_counter()
    try:
        called, items = loaded(function), loads(packed)
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
        return [(False, _outcome.pack_exception(error))] * calls, perf_counter() - began, None
    if watch is not None:
        called = watch.timed(called)
    outcomes = [outcome(called, tuple(item) if star else (item,), {}) for item in items]
    return outcomes, perf_counter() - began, None if watch is None else watch.read()
