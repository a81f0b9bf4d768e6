"""What pointsman says through the standard library's `logging`: the logger `pointsman`, silent unless somebody listens.

Decisions are INFO, changes of mind and workers that died are WARNING, details are DEBUG. `logging` is dear to import: a
program that has not imported it has no handler that could hear anything.

A file of the user's that is damaged, or cannot be read or written, is a Python warning besides: a program that never
looks at logs would otherwise not learn that what it asked to be remembered is not.

Does not know who listens.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any

_logger: Logger | None = None
# Who else wants to hear of jobs and of workers that died: an object like that of `integrations.otel`.
listener: Any = None


def logger() -> Logger:
    """The logger, with a handler that does nothing: without one, warnings would go to standard error."""
    global _logger  # noqa: PLW0603 - made once
    if _logger is None:
        import logging

        _logger = logging.getLogger("pointsman")
        _logger.addHandler(logging.NullHandler())
    return _logger


def heard() -> Logger | None:
    """The logger, if anybody could hear it."""
    return logger() if "logging" in sys.modules else None


def decided(job: Any, plan: Any, before: Any) -> None:
    """Tell of a plan, and of the one that it replaces."""
    log = heard()
    if log is None:
        return
    where = _place(plan)
    if before is not None and before.place != plan.place:
        log.warning("%s: moves from %s to %s: %s", job.name, _place(before), where, _why(plan))
    elif before is not None:
        log.debug("%s: stays on %s, with better figures", job.name, where)
    elif plan.estimated_seconds is None:
        log.info("%s: runs on %s: %s", job.name, where, _why(plan))
    else:
        expected = plan.estimated_seconds
        log.info("%s: runs on %s, predicted %.3g s: %s", job.name, where, expected, _why(plan))
    if plan.observation is not None:
        seen = plan.observation
        log.debug(
            "%s: of %d calls, each held the GIL for %.3g s, computed without it for %.3g s and waited for %.3g s",
            *(job.name, seen.calls, seen.held, seen.free, seen.wait),
        )
    # What is known of a call that still runs is a guess, as it should be.
    tell = log.debug if plan.observation is not None and plan.observation.partial else log.warning
    for warning in plan.warnings:
        tell("%s: %s", job.name, warning)


def finished(job: Any, calls: int, seconds: float, error: BaseException | None) -> None:
    """Tell of a job that has ended."""
    log = heard()
    if log is None:
        return
    if error is None:
        log.debug("%s: %d results after %.3g s", job.name, calls, seconds)
    else:
        log.debug("%s: ended by %s after %d results and %.3g s", job.name, type(error).__name__, calls, seconds)


# What killed a worker process, with which number, its process id, and whether another takes its place.
Death = tuple[str, int, int, bool]


def tell_unasked(deaths: list[Death]) -> None:
    """Tell of worker processes that died, on a thread of its own: this one is none of Python's."""
    if listener is None and heard() is None:
        return
    import threading

    try:
        threading.Thread(target=tell_of_deaths, args=(deaths,), name="pointsman-obituary", daemon=True).start()
    except RuntimeError:
        # The program is ending, and starts no more threads.
        tell_of_deaths(deaths)


def tell_of_deaths(deaths: list[Death]) -> None:
    """Tell of worker processes that died."""
    for death in deaths:
        worker_died(*death)


def worker_died(cause: str, number: int, pid: int, replaced: bool) -> None:
    """Tell of a worker process that died."""
    if listener is not None:
        listener.worker_died(cause, pid)
    log = heard()
    if log is not None:
        what = {"signal": f"was killed by signal {number}", "exit": f"ended itself with code {number}"}
        then = "another takes its place" if replaced else "none takes its place"
        log.warning("the worker process %d %s: %s", pid, what.get(cause, f"died ({cause})"), then)


def file_ignored(message: str) -> None:
    """Say that a file is not used or not written: to the log, and as a `RuntimeWarning` where the program called us.

    Never raises, also where warnings are errors: no call fails over a file that only saves time.
    """
    logger().warning(message)
    from warnings import warn

    try:
        warn(message, RuntimeWarning, stacklevel=_steps_out())
    except RuntimeWarning:
        logger().debug("the warning is not raised: no call fails over such a file")


def _steps_out() -> int:
    """Frames from the caller of this function to the first that is not of this package."""
    package = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 - pathlib is dear to import
    frame = sys._getframe(1)  # noqa: SLF001 - as `warnings` does
    steps = 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, steps = frame.f_back, steps + 1
    return steps


def _place(plan: Any) -> str:
    if plan.backend == "inline":
        return "the caller's thread"
    return f"{plan.max_workers or 'all'} {plan.backend}"


def _why(plan: Any) -> str:
    return "; ".join(plan.reasons) or "no other choice was considered"
