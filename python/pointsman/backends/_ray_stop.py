"""Ends calls of ray whose program wants no more of them, without ray's own `cancel`.

That one ends the program instead, if the call ends at the same moment: a check fails in ray's `CompletePendingTask`, up
to its version 2.60 at least (https://github.com/ray-project/ray/pull/54798 mended another case of it). So a program
leaves a note in the cluster's store of keys and values, and the worker looks for it while a call lasts.

Does not know what calls do, or when they shall end.

Invariants:
    S1. Only the call of the note is interrupted, and once: whoever leaves a call takes the lock that the interrupt
        needs.
    S2. Calls shorter than the first look cost nothing: nobody asks for them, and they are let run to their end.
    S3. A note is taken away when its call is over. It stays where the program leaves a cluster that is not its own
        before: some bytes.
    S4. No thread is started: what is closed may be closed by the interpreter's end.
"""

from __future__ import annotations

import _thread
import contextlib
import threading
from functools import partial
from secrets import token_hex
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Seconds that a call must have lasted to be worth a note, or a look for one. Each look is a message to the head node.
_LONG = 1.0
_SPACE = b"pointsman"


# ------------------------------------------------------------------------------------------------- in the program


class Started(NamedTuple):
    """A call that ray has: its reference, and the name of its note."""

    reference: Any
    note: bytes


def new_note() -> bytes:
    """Return a name that no other call has."""
    return token_hex(8).encode()


class _Unwanted:
    """A call that nobody wants any more, and since when."""

    __slots__ = ("call", "ended", "noted", "since")

    def __init__(self, call: Started) -> None:
        self.call, self.since = call, monotonic()
        self.ended = self.noted = False


class Unwanted:
    """The calls of a connection that nobody wants any more. Whoever has it looks at them now and then."""

    def __init__(self) -> None:
        self._calls: list[_Unwanted] = []

    def add(self, calls: Iterable[Started]) -> None:
        """Have calls ended that last."""
        for call in calls:
            one = _Unwanted(call)
            self._calls.append(one)
            # `ray.wait` would start a cluster if the program has ended its own meanwhile.
            call.reference.future().add_done_callback(partial(_has_ended, one))

    def look(self) -> None:
        """Leave notes for those that last, and take away those of calls that are over."""
        for one in list(self._calls):
            if one.ended:
                self._calls.remove(one)
                if one.noted:
                    _Notes().drop(one.call.note)
            elif monotonic() - one.since >= _LONG:
                self._note(one)

    def leave(self) -> None:
        """Leave notes for all that are not over: nobody will look again."""
        for one in list(self._calls):
            if not one.ended:
                self._note(one)

    def _note(self, one: _Unwanted) -> None:
        if not one.noted:
            _Notes().put(one.call.note)
            one.noted = True


def _has_ended(one: _Unwanted, _future: object) -> None:
    one.ended = True


class _Notes:
    """The store of the cluster's head node."""

    def __init__(self) -> None:
        from ray.experimental import internal_kv

        self._store: Any = internal_kv

    def put(self, note: bytes) -> None:
        self._store._internal_kv_put(note, b"1", namespace=_SPACE)  # noqa: SLF001 - ray's own libraries use it, too

    def drop(self, note: bytes) -> None:
        self._store._internal_kv_del(note, namespace=_SPACE)  # noqa: SLF001 - see above

    def has(self, note: bytes) -> bool:
        return self._store._internal_kv_get(note, namespace=_SPACE) is not None  # noqa: SLF001 - see above


# -------------------------------------------------------------------------------------------------- on the worker


class _Watcher:
    """Looks now and then whether the call that runs in this worker's main thread is still wanted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[bytes, float] | None = None
        self._thread: threading.Thread | None = None

    def enter(self, note: bytes) -> None:
        self._running = note, monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="pointsman-ray-watch", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        with self._lock:
            self._running = None

    def _watch(self) -> None:
        notes, told = _Notes(), None
        while True:
            sleep(_LONG)
            running = self._running
            if running is None or running == told or monotonic() - running[1] < _LONG:
                continue
            wanted = True
            with contextlib.suppress(Exception):
                wanted = not notes.has(running[0])
            if wanted:
                continue
            with self._lock:
                if self._running is running:
                    told = running
                    # As a signal would; ray's workers hear none. Who sleeps in C is told on waking.
                    _thread.interrupt_main()


_watcher = _Watcher()


def call(note: bytes, function: Callable[..., Any], *values: Any) -> Any:
    """Call `function`, and have it interrupted if the program leaves the note meanwhile."""
    _watcher.enter(note)
    try:
        return function(*values)
    finally:
        # Nobody wants the outcome of an interrupted call, so it does not matter where in here the interrupt arrives.
        _watcher.leave()


def stoppable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what ray is to run for `function`: it takes the name of the note first."""

    def run(note: bytes, *values: Any) -> Any:
        return call(note, function, *values)

    return run
