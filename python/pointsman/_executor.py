"""A `concurrent.futures.Executor` whose calls run on threads or in worker processes.

Does not know how calls are queued or carried, or jobs of many inputs beyond `map`.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _default
from pointsman._errors import CannotTravelError, InvalidArgumentError, InvalidTypeError, PoolBrokenError
from pointsman._job import check_callable, check_count, name_of
from pointsman._learning import Observed, lookup
from pointsman._machine import facts
from pointsman._scheduling import TaskPriority, WorkStealingScheduler
from pointsman._standing_in import Manager, Worker, check_context, is_ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pointsman._future import Future
    from pointsman._plan import Record
    from pointsman._resources import CpuMeter

T = TypeVar("T")

_BACKENDS = ("auto", "threads", "processes")
_ON_WORKER_DEATH = ("replace", "break")
# Calls in other processes that are remembered before the finished ones are dropped.
_MOST_KEPT = 256

_all: weakref.WeakSet[Executor] = weakref.WeakSet()
_numbers = iter(range(1 << 62))


class Executor(concurrent.futures.Executor):
    """Runs calls in the background and hands out futures.

    Parameters
    ----------
    max_workers
        Threads or worker processes at most; more only while some wait for calls of the same executor. None: as many
        processes as there are usable cores; for threads the standard library's `min(32, cores + 4)` to begin with, and
        more while calls wait (rather than compute) and more threads get more of them done.
    thread_name_prefix
        Prefix of the names of the threads. (A context of multiprocessing is taken for `mp_context`, which stands in
        this place in the standard library's process pool.)
    initializer, initargs
        Called in each worker before its first call. If it raises, the executor is broken. `initargs` must be able to
        travel to a worker process as any argument: multiprocessing's own queues and locks cannot.
    backend
        "threads" or "processes". "auto" is threads; with `max_workers=None`, functions whose calls have been seen to
        hold the GIL for long go to worker processes, if that cannot change what they mean.
    queue_capacity
        Calls that may wait; `submit` blocks beyond it. Not in a worker of this executor, which runs a queued call
        instead, and not on a thread whose event loop is running, since queued calls may wait for that loop. None for
        no bound: a bound that nobody asked for would stop programs that work with other executors.
    thread_stack_size
        Bytes of stack of each thread; None for the system's default.
    scheduler
        `WorkStealingScheduler()`, or None for one queue, first in first out. Priorities go before both.
    mp_context
        For programs that pass one. Workers are processes then; "spawn" and "forkserver" describe how they start.
    on_worker_death
        "replace": the death of a worker process fails the call that it ran, and another takes its place. "break": it
        fails every call that is left and breaks the executor, as it does in the standard library.

    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        backend: str = "auto",
        queue_capacity: int | None = None,
        thread_stack_size: int | None = None,
        scheduler: WorkStealingScheduler | None = None,
        mp_context: Any = None,
        on_worker_death: str = "replace",
    ) -> None:
        if not isinstance(thread_name_prefix, str):
            thread_name_prefix, mp_context = "", thread_name_prefix
        self._mp_context = check_context(mp_context)
        if mp_context is not None and backend == "auto":
            backend = "processes"
        self._backend = _check_choices(backend, on_worker_death, scheduler, self._mp_context)
        self._learns = backend == "auto" and max_workers is None and initializer is None
        self._chosen = max_workers is not None
        self._max_workers = _check_workers(max_workers) or self._default_workers()
        if initializer is not None and not callable(initializer):
            message = f"initializer must be callable, not {initializer!r}"
            raise InvalidTypeError(message)
        self._initializer, self._initargs = initializer, tuple(initargs)
        self._queue_capacity = check_count("queue_capacity", queue_capacity)
        self._stack_size = check_count("thread_stack_size", thread_stack_size)
        if self._stack_size is not None and self._backend == "processes":
            message = "thread_stack_size is for threads; worker processes run calls on their main threads"
            raise InvalidArgumentError(message)
        self._steals = scheduler is not None
        self._breaks = on_worker_death == "break"
        self._name = thread_name_prefix or f"pointsman-executor-{next(_numbers)}"
        self._lock = threading.Lock()
        self._meter: CpuMeter | None = None
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Be as new: what is under way belongs to the parent, if this is a forked child."""
        self._shut_down = False
        self._error: BaseException | None = None
        self._pool: Any = None
        self._submit: Any = None
        # Calls that went to the program's processes, for `shutdown` to wait for; and those that were dropped when done.
        self._elsewhere: list[Any] = []
        self._dropped = [0, 0]

    def _default_workers(self) -> int:
        cores = max(1, round(facts().cores))
        return cores if self._backend == "processes" else min(32, cores + 4)

    def _start(self) -> Any:
        """Make the pool when the first call comes; returns its `submit`."""
        with self._lock:
            self._check_open()
            if self._pool is None:
                make = self._start_threads if self._backend == "threads" else self._start_processes
                self._pool = make()
            self._submit = self._pool.native.submit
            return self._submit

    def _start_threads(self) -> Any:
        from pointsman.backends.threads import Threads

        return Threads(
            self._max_workers,
            initializer=self._initializer,
            initargs=self._initargs,
            on_broken=self._break,
            name=self._name,
            queue_capacity=self._queue_capacity,
            stack_size=self._stack_size,
            stealing=self._steals,
            cores=None if self._chosen else facts().cores,
        )

    def _start_processes(self) -> Any:
        from pointsman._pool import Processes

        return Processes(
            self._max_workers,
            cores=facts().cores,
            initializer=self._initializer,
            initargs=self._initargs,
            patient=True,
            breaks=self._breaks,
        )

    def _break(self, error: BaseException) -> None:
        import logging

        # As the standard library does.
        logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=error)
        broken = _broken_pool(f"the initializer {name_of(self._initializer)} raised {type(error).__name__}: {error}")
        broken.__cause__ = error
        self._error = broken
        self._pool.native.break_with(broken)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call and return its future. Every keyword belongs to `fn`.

        Except one: `priority`, if its value is a `TaskPriority`, says how urgent the call is.

        Raises
        ------
        InvalidTypeError
            If `fn` is not callable.
        RuntimeError
            After `shutdown`; `PoolBrokenError` if the workers cannot be started.

        """
        rank = 2
        if kwargs and type(kwargs.get("priority")) is TaskPriority:
            rank = int(kwargs.pop("priority"))
        return self._submit_with(fn, args, kwargs, rank)

    def _submit_with(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], rank: int = 2, *more: Any
    ) -> Future[T]:
        if self._shut_down or self._error is not None:
            self._check_open()
        if not callable(fn):
            check_callable(fn)
        if self._learns:
            learnt = lookup(fn)
            if learnt is not None and not learnt.is_known:
                fn = Observed(fn, learnt)
            elif learnt is not None and learnt.leaves:
                try:
                    return self._submit_to_process(fn, args, kwargs)
                except CannotTravelError:
                    learnt.stays = True
        try:
            submit = self._submit or self._start()
            if self._queue_capacity is not None and self._backend == "processes":
                self._wait_for_room()
            return submit(fn, args, kwargs, rank, *more)  # type: ignore[no-any-return]
        except RuntimeError:
            self._check_open()
            raise
        except Exception as why:  # noqa: BLE001 - what cannot travel is an error in the future
            from pointsman._future import Future

            failed: Future[T] = Future()
            if type(why) is CannotTravelError:
                placed = CannotTravelError(f"a call of {name_of(fn)}: {why}")
                placed.__cause__ = why.__cause__
                why = placed
            failed.set_exception(why)
            return failed

    def _wait_for_room(self) -> None:
        import sys

        if "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:
            return
        self._pool.native.wait_for_room(self._queue_capacity)

    def _submit_to_process(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        """Run a call in the program's worker processes."""
        cores = facts().cores
        pool = _default.processes(max(1, round(cores)), 1, cores)
        future = pool.native.submit(fn, args, kwargs)
        with self._lock:
            self._elsewhere.append(future)
            if len(self._elsewhere) > _MOST_KEPT:
                self._drop_done()
        return future  # type: ignore[return-value]

    def _drop_done(self) -> None:
        kept = []
        for future in self._elsewhere:
            if not future.done():
                kept.append(future)
            elif not future.cancelled():
                self._dropped[future.exception() is not None] += 1
        self._elsewhere = kept

    def _check_open(self) -> None:
        if self._broken:
            raise self._broken
        if self._shut_down:
            message = "cannot schedule new futures after shutdown"
            raise RuntimeError(message)
        if is_ending():
            message = "cannot schedule new futures after interpreter shutdown"
            raise RuntimeError(message)

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Submit `fn` over the inputs at once and yield the results in order.

        An input with a length is submitted whole; one without, `buffersize` inputs ahead of the results taken (1,024
        unless given), so that an endless one is no danger.

        Parameters
        ----------
        fn, iterables
            The function, and its inputs.
        timeout
            Seconds from now within which each result must be there when it is asked for.
        chunksize
            Inputs that travel together to a worker process; None for one at a time. Threads ignore it, as they have
            nothing to send.
        buffersize
            Inputs ahead of the results taken, at most.

        """
        from pointsman import _mapping

        size = check_count("chunksize", chunksize) or 1
        ahead = check_count("buffersize", buffersize)
        check_callable(fn)
        self._check_open()
        arguments, star, sized = _mapping.arguments_of(iterables)
        if self._maps_by_submit():
            if size > 1 and self._backend == "processes":
                fn, star = _mapping.Chunked(fn), False  # type: ignore[assignment]
                chunked = _mapping.chunks(zip(*iterables, strict=False), size)
                ahead = -(-ahead // size) if ahead else None
                return _mapping.unchunk(self._map_calls(fn, zip(chunked, strict=False), ahead, timeout, sized=sized))  # type: ignore[arg-type]
            return self._map_calls(fn, zip(*iterables, strict=False), ahead, timeout, sized=sized)
        from contextvars import copy_context

        from pointsman import _native

        self._submit or self._start()
        job = _native.MapJob(self._pool.native, fn, star, copy_context())
        if ahead is None and sized:
            job.push(list(arguments))
            return job.results(timeout)
        return _mapping.fed(job, iter(arguments), ahead or _mapping.DEFAULT_BUFFER, timeout)

    def _maps_by_submit(self) -> bool:
        """Whether a map is calls of `submit`: each may go its own way, or must wait for room."""
        return (
            self._backend == "processes"
            or self._learns
            or self._queue_capacity is not None
            or type(self).submit is not Executor.submit
        )

    def _map_calls(
        self,
        fn: Callable[..., T],
        arguments: Iterable[tuple[Any, ...]],
        buffersize: int | None,
        timeout: float | None,
        *,
        sized: bool,
    ) -> Iterator[T]:
        from pointsman import _mapping

        ahead = buffersize or (_mapping.WHOLE if sized else _mapping.DEFAULT_BUFFER)
        return _mapping.windowed(self.submit, fn, iter(arguments), ahead, _mapping.countdown(timeout))

    def wait(self, futures: Iterable[Future[Any]], timeout: float | None = None) -> list[Future[Any]]:
        """Wait for the futures, at most `timeout` seconds, and return those that are done, in the order given."""
        futures = list(futures)
        concurrent.futures.wait(futures, timeout)
        return [future for future in futures if future.done()]

    def as_completed(self, futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
        """Yield the futures as they are done."""
        return concurrent.futures.as_completed(futures, timeout)  # type: ignore[return-value]

    def get_stats(self) -> Record:
        """Return the figures of this moment.

        `active_threads` (workers that are alive), `idle_threads`, `queued_tasks`, `running_tasks`, `completed_tasks`,
        `failed_tasks`, and `total_execution_time` (seconds that calls have run). A call is counted as completed or
        failed before its future says that it is done.
        """
        from pointsman._plan import Record

        workers = idle = queued = running = completed = failed = 0
        seconds = 0.0
        pool = self._pool
        if pool is not None and self._backend == "threads":
            workers, idle, queued, running, completed, failed, seconds = pool.native.figures()
        elif pool is not None:
            queued, running, completed, failed, _cancelled, seconds, _deaths = pool.native.figures()
            workers = len(pool.native.pids())
            idle = max(0, workers - running)
        with self._lock:
            self._drop_done()
            elsewhere, (done, raised) = len(self._elsewhere), self._dropped
        return Record(
            active_threads=workers,
            idle_threads=idle,
            queued_tasks=queued,
            running_tasks=running + elsewhere,
            completed_tasks=completed + done,
            failed_tasks=failed + raised,
            total_execution_time=seconds,
        )

    def get_cpu_usage(self) -> float:
        """CPU time of this process and of the executor's workers since the last look, in percent of one core."""
        if self._meter is None:
            from pointsman._resources import CpuMeter

            self._meter = CpuMeter()
            # The first look has no last one: a tenth of a second tells something.
            threading.Event().wait(0.1)
        return self._meter.percent(self._pids())

    def get_memory_usage(self) -> int:
        """Bytes of memory of this process and of the executor's workers."""
        from pointsman._resources import memory

        return memory(self._pids())

    def _pids(self) -> list[int]:
        return [] if self._pool is None or self._backend == "threads" else self._pool.native.pids()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further calls; with `cancel_futures` cancel those not begun; with `wait` wait for the rest."""
        with self._lock:
            self._shut_down = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait, cancel=cancel_futures)
        if cancel_futures:
            for future in self._elsewhere:
                future.cancel()
        if wait and self._elsewhere:
            concurrent.futures.wait(self._elsewhere)

    def __reduce__(self) -> Any:
        """Refuse to travel."""
        message = "an Executor cannot be pickled: its workers belong to this process; create one where the call runs"
        raise InvalidTypeError(message)

    # Read of the standard library's executors by programs and tests, though it is private there.

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

        def is_listed(pid: int) -> bool:
            return pid in pool.native.pids()

        return {pid: Worker(pid, is_listed) for pid in self._pids()}

    @property
    def _executor_manager_thread(self) -> Manager | None:
        return None if self._pool is None or self._backend == "threads" else Manager(self._pool.native.join)


def _check_choices(backend: str, on_worker_death: str, scheduler: Any, mp_context: Any) -> str:
    """The backend that remains, once the choices are known to go together."""
    if backend not in _BACKENDS:
        message = f"backend must be one of {', '.join(map(repr, _BACKENDS))}, not {backend!r}"
        raise InvalidArgumentError(message)
    if on_worker_death not in _ON_WORKER_DEATH:
        message = f"on_worker_death must be one of {', '.join(map(repr, _ON_WORKER_DEATH))}, not {on_worker_death!r}"
        raise InvalidArgumentError(message)
    if scheduler is not None and not isinstance(scheduler, WorkStealingScheduler):
        message = f"scheduler must be a WorkStealingScheduler or None, not {scheduler!r}"
        raise InvalidTypeError(message)
    if backend == "processes":
        if scheduler is not None:
            message = "scheduler is for threads; idle worker processes take calls from each other anyway"
            raise InvalidArgumentError(message)
        return "processes"
    if mp_context is not None:
        message = "mp_context is for worker processes: leave it out, or pass backend='processes'"
        raise InvalidArgumentError(message)
    if on_worker_death == "break":
        message = "on_worker_death is for worker processes: pass backend='processes', too"
        raise InvalidArgumentError(message)
    return "threads"


def _check_workers(max_workers: Any) -> int | None:
    if isinstance(max_workers, int) and max_workers <= 0:
        message = f"max_workers must be greater than 0, not {max_workers!r}"
        raise InvalidArgumentError(message)
    return check_count("max_workers", max_workers)


def _broken_pool(message: str) -> PoolBrokenError:
    """The error of a broken pool, which is also the standard library's."""
    from concurrent.futures.thread import BrokenThreadPool

    kind: type[PoolBrokenError] = type(
        "PoolBrokenError", (PoolBrokenError, BrokenThreadPool), {"__module__": PoolBrokenError.__module__}
    )
    return kind(message)


def _forget_all() -> None:
    """In a forked child: threads do not exist there, and worker processes belong to the parent."""
    for executor in list(_all):
        executor._lock = threading.Lock()  # noqa: SLF001 - this module
        closed = executor._shut_down  # noqa: SLF001 - this module
        executor._forget()  # noqa: SLF001 - this module
        executor._shut_down = closed  # noqa: SLF001 - this module


os.register_at_fork(after_in_child=_forget_all)
