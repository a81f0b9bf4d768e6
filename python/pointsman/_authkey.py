"""The key by which processes of multiprocessing know each other: workers have the program's, as its own children would.

The proxies of a manager are of use only where that key is. Nothing here imports multiprocessing, which takes 10 ms.

Does not know pools or workers.
"""

from __future__ import annotations

import sys
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Where multiprocessing keeps what a process knows of itself.
HOLDER = "multiprocessing.process"


def given() -> bytes | None:
    """Return the key of this process; None if nothing here has asked for one so far."""
    if HOLDER in modules:
        return bytes(modules[HOLDER].current_process().authkey)
    return next((finder.key for finder in sys.meta_path if type(finder) is KeyGiver), None)


def take(key: bytes) -> None:
    """Have this key from now on, or from when multiprocessing is imported."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not KeyGiver]
    if HOLDER in modules:
        modules[HOLDER].current_process().authkey = key
    else:
        sys.meta_path.insert(0, KeyGiver(key))


class Teller:
    """A finder that finds nothing: it sees multiprocessing being imported, and tells it something, once."""

    def __init__(self, tell: Callable[[Any], object]) -> None:
        self._tell: Callable[[Any], object] | None = tell

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """See what is imported; called by the import system for each module."""
        # The package imports others of its modules as soon as that one is there.
        if self._tell is not None and name.startswith("multiprocessing.") and HOLDER in modules:
            tell, self._tell = self._tell, None
            tell(modules[HOLDER])


class KeyGiver(Teller):
    """Gives it the key."""

    def __init__(self, key: bytes) -> None:
        super().__init__(lambda _holder: take(key))
        self.key = key
