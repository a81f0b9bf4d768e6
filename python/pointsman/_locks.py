"""Locks that a fork leaves usable.

Does not know what they guard.
"""

from __future__ import annotations

import threading
import weakref

from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def fork_safe_lock() -> Any:
    """Return a `threading.Lock` that is free in a forked child, whoever held it: that thread does not exist there."""
    return _known(threading.Lock())


def fork_safe_rlock() -> Any:
    """The same of a `threading.RLock`."""
    return _known(threading.RLock())


def _known(lock: Any) -> Any:
    _locks.add(lock)
    return lock


def in_the_end(lock: Any, action: Callable[[], object]) -> None:
    """Call `action` with an `RLock` held, though exceptions come meanwhile, as a Ctrl-C does: the first is raised then.

    It may be called more than once. The thread does not hold the lock before, nor after this.
    """
    raised: BaseException | None = None
    while True:
        try:
            with lock:
                action()
            break
        except BaseException as why:  # noqa: BLE001 - it is raised below
            # A handler of a signal may have raised it before the lock was had, or just after that.
            raised = raised or why
    while lock._is_owned():  # noqa: SLF001 - there is no public way
        lock.release()
    if raised is not None:
        raise raised


def _free() -> None:
    for lock in list(_locks):
        # As the standard library does with locks of its own.
        lock._at_fork_reinit()  # noqa: SLF001 - there is no public way


at_fork(_free)
