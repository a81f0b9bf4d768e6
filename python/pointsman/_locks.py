"""Locks that a fork leaves usable.

Does not know what they guard.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from pointsman._forks import at_fork

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def fork_safe_lock() -> Any:
    """Return a `threading.Lock` that is free in a forked child, whoever held it: that thread does not exist there."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _free() -> None:
    for lock in list(_locks):
        # As the standard library does with locks of its own.
        lock._at_fork_reinit()  # noqa: SLF001 - there is no public way


at_fork(_free)
