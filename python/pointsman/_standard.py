"""Worker processes of the standard library, for systems without what the native pool is built on.

The same calls, results and errors; slower, and without what only the native pool can do: stopping a call, running it
again, limits of memory. Asked for, those are errors. When a worker dies the standard pool fails every call that it has;
then a new one takes its place.

Does not know jobs or plans.

Invariants:
    B1. What travels is packed here: the standard pool sees bytes, so it never fails over what they hold.
    B2. Workers do not run the program's main module: what it defines travels by value.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from _pickle import loads
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import ProcessPoolExecutor
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from time import sleep
from typing import TYPE_CHECKING, Any, ClassVar

from pointsman import _outcome, _trace
from pointsman._errors import InvalidArgumentError
from pointsman._forks import at_fork
from pointsman._future import Future
from pointsman._job import name_of
from pointsman._standard_context import make_context
from pointsman._standard_worker import Sent, begin, call
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

_alive: weakref.WeakSet[StandardProcesses] = weakref.WeakSet()
_hooked = False
_finalizing = 0


class StandardProcesses:
    """A pool of worker processes of the standard library; what `_pool.Processes` is elsewhere."""

    # What traces call a worker.
    kind: ClassVar[str] = "process"

    def __init__(
        self,
        processes: int,
        threads: int = 1,
        *,
        cores: float = 1.0,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        patient: bool = False,
        max_tasks: int | None = None,
        memory_limit: int | None = None,
        shared_memory: int | None = None,
        breaks: bool = False,
    ) -> None:
        check(memory_limit=memory_limit, shared_memory=shared_memory)
        self.threads: int = threads
        self.size: int = processes
        self.closed: bool = False
        self.native = self
        self._lock = threading.Lock()
        self._patient, self._owner, self._max_tasks = patient, os.getpid(), max_tasks
        self._initializer, self._breaks = initializer, breaks
        share = max(1.0, cores / max(1, processes))
        packed = dumps_anyway((initializer, initargs)) if initializer is not None else None
        self._begin = (share, dict(os.environ), sys.get_int_max_str_digits(), packed)
        self._counts = {"running": 0, "completed": 0, "failed": 0, "cancelled": 0, "deaths": 0}
        self._seconds = 0.0
        # Why no worker will ever come.
        self._broken: BaseException | None = None
        self._waiting: weakref.WeakSet[concurrent.futures.Future[Any]] = weakref.WeakSet()
        self._pool: Any = None
        self._over = False
        _register(self)

    def pause(self) -> None:
        """Let a daemon thread go no further once the program has ended: nobody wants what it would say."""
        if self._over and threading.current_thread().daemon:
            threading.Event().wait()

    def _started(self) -> Any:
        self.pause()
        with self._lock:
            if self.closed:
                message = "cannot schedule new futures after shutdown"
                raise RuntimeError(message)
            if self._pool is None:
                self._pool = self._make()
            return self._pool

    def _make(self) -> Any:
        return ProcessPoolExecutor(
            self.size,
            mp_context=make_context(),
            initializer=begin,
            initargs=self._begin,
            max_tasks_per_child=self._max_tasks,
        )

    def send(self, function: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        """Submit to the standard pool, or to a new one if it has broken meanwhile."""
        if self._broken is not None:
            raise self._broken
        try:
            sent = self._started().submit(function, *args)
        except BrokenExecutor:
            self.renew()
            sent = self._started().submit(function, *args)
        self._waiting.add(sent)
        return sent  # type: ignore[no-any-return]

    def renew(self, *, kill: bool = False) -> None:
        """Drop the standard pool, so that the next call makes another."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            processes = list((getattr(pool, "_processes", None) or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes if kill else ():
                process.kill()

    def grow(self, processes: int) -> None:
        """Have this many workers from the next call on."""
        if processes > self.size:
            self.size = processes
            with self._lock:
                pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown(wait=False)

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        _priority: int = 2,
        terms: object = None,
    ) -> Future[Any]:
        """Start a call and return its future."""
        refuse(terms)
        posted = _trace.posted()
        sent = self.send(call, dumps_anyway(function), dumps_anyway((args, kwargs or {})), posted != 0)
        future = StandardFuture(sent)
        name = name_of(function)
        self._counts["running"] += 1

        def settle(done: concurrent.futures.Future[Any]) -> None:
            self._counts["running"] -= 1
            if done.cancelled():
                self._counts["cancelled"] += 1
                Future.cancel(future)
                future.set_running_or_notify_cancel()
                return
            value, error = self.open(done, name, posted)
            self._counts["completed" if error is None else "failed"] += 1
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        sent.add_done_callback(settle)
        return future

    def open(
        self, done: concurrent.futures.Future[Any], name: str, posted: int = 0
    ) -> tuple[Any, BaseException | None]:
        """Return the value or the exception of a call that is over."""
        why = done.exception()
        if why is not None:
            _trace.died(self.kind, name, posted)
            return None, self.explain(why, name, None)
        sent, seconds, times = done.result()
        _trace.ran(self.kind, name, posted, times)
        self._seconds += seconds
        return self.unpack(sent, name, None)

    def unpack(self, sent: Sent, name: str, index: int | None) -> tuple[Any, BaseException | None]:
        """Return the value or the exception of a call."""
        good, packed = sent
        if not good:
            return None, _outcome.unpack_exception(packed, name, index)
        try:
            return loads(packed), None
        except BaseException as why:  # noqa: BLE001 - unpickling runs the user's code
            return None, _outcome.unreadable_result(why, name, index)

    def explain(self, why: BaseException, name: str, index: int | None) -> BaseException:
        """Return our error for one of the standard pool's."""
        if not isinstance(why, BrokenExecutor):
            return why
        self._counts["deaths"] += 1
        if self._initializer is not None and not self._seconds:
            # No call has ever come back: it is the workers' beginning that fails.
            cause = f"never started: the initializer {name_of(self._initializer)} raised, see its traceback"
            error = self._broken = _outcome.worker_died(cause, 0, 0, name, index)
        else:
            error = _outcome.worker_died("unknown", 0, 0, name, index)
            if self._breaks:
                self._broken = error
        error.__cause__ = why
        return error

    def figures(self) -> tuple[int, int, int, int, int, float, int]:
        """Return what the native pool does: queued, running, completed, failed, cancelled, seconds, deaths."""
        counts, running = self._counts, sum(future.running() for future in list(self._waiting))
        queued = max(0, counts["running"] - running)
        ends = counts["completed"], counts["failed"], counts["cancelled"]
        return queued, min(running, counts["running"]), *ends, self._seconds, counts["deaths"]

    def broken(self) -> BaseException | None:
        """Return why no worker will ever come, if none will."""
        return self._broken

    def wait_for_room(self, capacity: int) -> None:
        """Wait until fewer than `capacity` calls wait for a worker."""
        while self.figures()[0] >= capacity:
            # Workers that begin a call ring no bell: look now and then.
            sleep(0.002)

    @property
    def workers(self) -> int:
        """Workers that are alive."""
        return len(self.pids())

    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return list(getattr(self._pool, "_processes", None) or {})

    def cancel_all(self) -> None:
        """Cancel every call that no worker has begun."""
        for future in list(self._waiting):
            future.cancel()

    def shutdown(self, *, wait: bool = True, cancel: bool = False, kill: bool = False) -> None:
        """End the workers after the queued calls; with `cancel` these are cancelled, with `kill` all end now."""
        if self._owner != os.getpid():
            return None
        self.closed = True
        if kill:
            return self.renew(kill=True)
        pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait, cancel_futures=cancel)
        return None

    def end(self) -> None:
        """End with the program."""
        interrupted = issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)
        self._over = True
        self.shutdown(kill=interrupted or not self._patient)


class StandardFuture(Future[Any]):
    """The future of a call in the standard pool."""

    def __init__(self, sent: concurrent.futures.Future[Any]) -> None:
        super().__init__()
        self._sent = sent

    def cancel(self, *, kill: bool = False) -> bool:
        """Cancel the call if it has not begun."""
        if kill and self._sent.running():
            message = "cancel(kill=True) needs the native pool; the standard library's cannot stop a call"
            raise InvalidArgumentError(message)
        return self._sent.cancel()

    def running(self) -> bool:
        """Whether the call runs now."""
        return self._sent.running() and not self.done()


def check(*, memory_limit: int | None = None, shared_memory: int | None = None) -> None:
    """Raise for what the standard pool cannot do."""
    if memory_limit is not None or shared_memory is not None:
        message = (
            "memory_limit and shared_memory need the native pool of worker processes, which this system cannot run"
        )
        raise InvalidArgumentError(message)


def refuse(terms: object) -> None:
    """Raise for terms, which the standard pool cannot keep."""
    if terms is not None:
        message = (
            "timeout, kill_on_cancel, and retries without retry_on need the native pool of worker processes; "
            "this is the standard library's, which can neither stop a call nor run it again when its worker has died"
        )
        raise InvalidArgumentError(message)


def _register(pool: StandardProcesses) -> None:
    global _hooked, _finalizing  # noqa: PLW0603 - once per process
    _alive.add(pool)
    if not _hooked:
        _hooked = True
        at_fork(_alive.clear)
        # Before the standard library's own hook, which would wait for every queued call.
        threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - what concurrent.futures uses, too
    if _finalizing != os.getpid() and parent_process() is not None:
        _finalizing = os.getpid()
        # A process of multiprocessing waits for its own children before it comes to those hooks.
        Finalize(None, _end_all, exitpriority=100)


def _end_all() -> None:
    for pool in list(_alive):
        pool.end()
