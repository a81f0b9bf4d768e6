"""The key by which processes of multiprocessing know each other: workers have the program's, as its own children would.

The proxies of a manager are of use only where that key is. Nothing here imports multiprocessing, which takes 10 ms.

Does not know pools or workers.
"""

from __future__ import annotations

import sys
from sys import modules

_HOLDER = "multiprocessing.process"


def given() -> bytes | None:
    """Return the key of this process; None if nothing here has asked for one so far."""
    if _HOLDER in modules:
        return bytes(modules[_HOLDER].current_process().authkey)
    return next((finder.key for finder in sys.meta_path if type(finder) is KeyGiver), None)


def take(key: bytes) -> None:
    """Have this key from now on, or from when multiprocessing is imported."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not KeyGiver]
    if _HOLDER in modules:
        modules[_HOLDER].current_process().authkey = key
    else:
        sys.meta_path.insert(0, KeyGiver(key))


class KeyGiver:
    """A finder that finds nothing: it sees multiprocessing being imported, and gives it the key."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """See what is imported; called by the import system for each module."""
        # The package imports others of its modules as soon as that one is there.
        if name.startswith("multiprocessing.") and _HOLDER in modules:
            take(self.key)
