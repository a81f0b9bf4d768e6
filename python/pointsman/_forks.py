"""What a fork of this process needs, where the system forks at all: Windows does not.

Does not know who asks.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def at_fork(after_in_child: Callable[[], object], before: Callable[[], object] | None = None) -> None:
    """Call `before` in the process that forks, and `after_in_child` in its child, at each fork from now on."""
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(after_in_child=after_in_child)
    if before is not None:
        os.register_at_fork(before=before)


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
