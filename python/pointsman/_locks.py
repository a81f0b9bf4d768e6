"""Locks that a fork leaves usable.

Does not know what they guard.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager

from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def fork_safe_lock() -> Any:
    """Return a `threading.Lock` that is free in a forked child, whoever held it: that thread does not exist there."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


@contextmanager
def held_in_the_end(lock: Any) -> Iterator[None]:
    """Hold a lock, also if an exception comes while it is waited for, as a Ctrl-C does: it is raised afterwards."""
    try:
        lock.acquire()
    except BaseException:
        with lock:
            yield
        raise
    try:
        yield
    finally:
        lock.release()


def _free() -> None:
    for lock in list(_locks):
        # As the standard library does with locks of its own.
        lock._at_fork_reinit()  # noqa: SLF001 - there is no public way


at_fork(_free)
