"""Starts workers of the standard library's pool without running the program's main module in them.

Does not know pools. What the program's main module defines travels by value, so that no worker needs it and no program
needs an `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import sys
import threading
from multiprocessing import context, spawn
from types import ModuleType
from typing import Any

_lock = threading.Lock()


class _Process(context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - the standard library's name
        # The worker is told what `__main__` is at the moment of its start: for that moment it is an empty module.
        with _lock:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return context.SpawnProcess._Popen(process_obj)  # noqa: SLF001 - as above
            finally:
                sys.modules["__main__"] = main


class _Context(context.SpawnContext):
    Process = _Process


def make_context() -> context.SpawnContext:
    """Return a context whose processes are clean interpreters."""
    spawn.get_executable()
    return _Context()
