"""What programs read of the standard library's executors though it is private, and what only those take.

Does not know how calls run.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from pointsman._errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable


def check_context(mp_context: Any) -> Any:
    """Accept a context of multiprocessing whose start method describes what our workers do."""
    if mp_context is None:
        return None
    method = getattr(mp_context, "get_start_method", None)
    if method is None:
        message = f"mp_context must be a context of multiprocessing, not {mp_context!r}"
        raise InvalidTypeError(message)
    if method() == "fork":
        message = (
            "mp_context is one that forks this process, which is not safe once it has threads; workers here are forked "
            "from a clean process instead: leave mp_context out, or pass multiprocessing.get_context('spawn')"
        )
        raise InvalidArgumentError(message)
    return mp_context


class Worker:
    """A worker process, in the words of `multiprocessing.Process`."""

    def __init__(self, pid: int, is_listed: Callable[[int], bool]) -> None:
        self.pid = pid
        self._is_listed = is_listed

    def is_alive(self) -> bool:
        """Whether it belongs to the pool still."""
        return self._is_listed(self.pid)

    def terminate(self) -> None:
        """End it; the call that it runs fails."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; the call that it runs fails."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        # A process id may be used again once its process is gone.
        if self.is_alive():
            os.kill(self.pid, number)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        from time import monotonic, sleep

        until = None if timeout is None else monotonic() + timeout
        while self.is_alive() and (until is None or monotonic() < until):
            sleep(0.002)

    def __repr__(self) -> str:
        return f"<worker process {self.pid}{'' if self.is_alive() else ', ended'}>"


class Manager:
    """What stands for the thread that manages a standard pool: it has ended when the pool's workers have."""

    def __init__(self, is_over: Callable[[float | None], bool]) -> None:
        self._is_over = is_over

    def is_alive(self) -> bool:
        """Whether workers are left."""
        return not self._is_over(0.0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the workers have ended, at most `timeout` seconds."""
        self._is_over(timeout)
