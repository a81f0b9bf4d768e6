"""Whether a module's own code asks: in a worker it must start no workers then, which would import the module again.

Does not know who asks, or what for.
"""

from __future__ import annotations

import sys
from sys import modules

_OURS = "pointsman_worker" in getattr(sys, "_xoptions", {})
# The file that code of the import system says it is from.
_IMPORTING = "<frozen importlib._bootstrap>"


def imports_for_a_call() -> bool:
    """Whether this is a worker, of whatever pool, and a module's own code runs on this thread."""
    return (_OURS or _is_child()) and is_importing()


def is_importing() -> bool:
    """Whether a module's own code runs on this thread: another that needs the module waits until that is over."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect is dear to import
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _is_child() -> bool:
    process = modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
