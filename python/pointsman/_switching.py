"""How often threads have given up their cores by themselves: to wait, or to hand over the GIL.

Does not know what that tells.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _counter(whose: str) -> Callable[[], int] | None:
    try:
        import resource

        who: int = getattr(resource, whose)
    except (ImportError, AttributeError):
        # Not everywhere is it counted, and of one thread on Linux only.
        return None
    return lambda: resource.getrusage(who).ru_nvcsw


_of_thread, _of_process = _counter("RUSAGE_THREAD"), _counter("RUSAGE_SELF")


def of_thread() -> int | None:
    """Of the calling thread; None where nobody counts."""
    return _of_thread() if _of_thread is not None else None


def of_process() -> int | None:
    """Of all threads of this process; None where nobody counts."""
    return _of_process() if _of_process is not None else None
