"""What programs read of the standard library's executors though it is private, and what only those take.

Does not know how calls run.
"""

from __future__ import annotations

import os
import signal
import threading
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
        message = f"mp_context must be a context of multiprocessing, such as get_context('spawn'), not {mp_context!r}"
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


class StandardAttributes:
    """What is read of the standard library's executors by programs and tests, though it is private there."""

    _backend: str
    _shut_down: bool
    _error: BaseException | None
    _pool: Any

    def _pids(self) -> list[int]:
        return [] if self._pool is None or self._backend == "threads" else self._pool.native.pids()

    @property
    def _broken(self) -> BaseException | None:
        if self._error is None and self._pool is not None and self._backend == "processes":
            self._error = self._pool.native.broken()
        return self._error

    @property
    def _threads(self) -> set[threading.Thread]:
        return set() if self._pool is None or self._backend == "processes" else set(self._pool.threads)

    @property
    def _processes(self) -> dict[int, Worker]:
        pool = self._pool
        # They start in the background; who looks for them wants to see one.
        patience = 1000 if pool is not None and self._backend == "processes" and not self._shut_down else 0
        while not self._pids() and not self._broken and patience:
            threading.Event().wait(0.005)
            patience -= 1

        def is_listed(pid: int) -> bool:
            return pid in pool.native.pids()

        return {pid: Worker(pid, is_listed) for pid in self._pids()}

    @property
    def _executor_manager_thread(self) -> Manager | None:
        return None if self._pool is None or self._backend == "threads" else Manager(self._pool.native.join)
