"""A `concurrent.futures.Executor` whose calls run on threads or in worker processes.

Does not know jobs of many inputs beyond `map`, which submits them in chunks.
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pointsman import _default
from pointsman._errors import CannotTravelError, InvalidArgumentError, InvalidTypeError, PoolBrokenError
from pointsman._job import awaited, check_async, check_callable, check_count, name_of
from pointsman._learning import Observed, lookup
from pointsman._machine import facts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from pointsman._async_calls import AsyncCalls
    from pointsman._executor_options import ExecutorOptions
    from pointsman._future import Future
    from pointsman._plan import Record

T = TypeVar("T")

_BACKENDS = ("auto", "threads", "processes", "asyncio")
# Bytes of shared memory that a pool needs, and more for each worker: its rings and slots, and room for some results.
_LEAST_SHARED = 4 << 20
_LEAST_SHARED_EACH = 128 << 10
# Calls in other processes that are remembered before the finished ones are dropped.
_MOST_KEPT = 256


class Executor(concurrent.futures.Executor):
    """Runs calls in the background and hands out futures.

    Parameters
    ----------
    max_workers
        Threads or worker processes at most. None: as many as there are usable cores for processes; for threads the
        standard library's `min(32, cores + 4)`.
    thread_name_prefix
        Prefix of the names of the threads.
    initializer, initargs
        Called in each worker before its first call. If it raises, the executor is broken.
    backend
        "threads" or "processes". "auto" is threads; with `max_workers=None`, functions whose calls have been seen to
        hold the GIL for long go to worker processes, if that cannot change what they mean. Coroutine functions run on
        one background event loop under "auto" and "asyncio" (which takes nothing else), `max_workers` at a time if
        given; under "threads" and "processes" each worker runs them on a loop of its own.
    queue_capacity
        Calls that may wait; `submit` blocks beyond it. None for no bound.
    thread_stack_size
        Bytes of stack of each thread; None for the system's default.
    max_tasks_per_child
        Calls after which a worker process is replaced by a new one; None for never.
    memory_limit
        Bytes of private memory beyond which a worker process is replaced by a new one, between two calls. To bound a
        single call, set RLIMIT_AS in the initializer.
    shared_memory
        Bytes that arguments and results on their way may take at most. What finds no room waits; a single call's
        arguments that never will fail with `SharedMemoryFullError`. None: what the environment variable
        POINTSMAN_SHARED_MEMORY says, else as much as is needed.

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
        max_tasks_per_child: int | None = None,
        memory_limit: int | None = None,
        shared_memory: int | None = None,
    ) -> None:
        if backend not in _BACKENDS:
            message = f"backend must be one of {', '.join(map(repr, _BACKENDS))}, not {backend!r}"
            raise InvalidArgumentError(message)
        if initializer is not None and not callable(initializer):
            message = f"initializer must be callable, not {initializer!r}"
            raise InvalidTypeError(message)
        self._asked = backend
        self._backend = "processes" if backend == "processes" else "threads"
        self._asked, self._limit = backend, check_count("max_workers", max_workers)
        # What runs coroutine functions on the background loop, once there was one.
        self._coroutines: AsyncCalls | None = None
        self._max_workers = check_count("max_workers", max_workers) or self._default_workers()
        self._initializer, self._initargs = initializer, tuple(initargs)
        self._lock = threading.Lock()
        self._shut_down = False
        self._broken: BaseException | None = None
        self._pool: Any = None
        # Calls that went to the program's processes, for `shutdown` to wait for.
        self._elsewhere: list[Any] = []
        self._learns = backend == "auto" and max_workers is None and initializer is None
        self._submit: Any = None
        self._name = thread_name_prefix or "pointsman-executor"
        self._queue_capacity = check_count("queue_capacity", queue_capacity)
        self._stack_size = check_count("thread_stack_size", thread_stack_size)
        self._limits: dict[str, Any] = {
            "max_tasks": check_count("max_tasks_per_child", max_tasks_per_child),
            "memory_limit": check_count("memory_limit", memory_limit),
            "shared_memory": check_count("shared_memory", shared_memory),
        }
        if self._backend == "threads" and any(limit is not None for limit in self._limits.values()):
            message = (
                "max_tasks_per_child, memory_limit and shared_memory are of worker processes: add backend='processes'"
            )
            raise InvalidArgumentError(message)
        least = _LEAST_SHARED + _LEAST_SHARED_EACH * self._max_workers
        if shared_memory is not None and shared_memory < least:
            message = (
                f"shared_memory must be at least {least} bytes for {self._max_workers} workers, not {shared_memory}"
            )
            raise InvalidArgumentError(message)
        if self._backend == "processes" and queue_capacity is not None:
            message = "queue_capacity bounds the queue of threads; worker processes apply back-pressure by themselves"
            raise InvalidArgumentError(message)

    def _default_workers(self) -> int:
        cores = max(1, round(facts().cores))
        return cores if self._backend == "processes" else min(32, cores + 4)

    def _start(self) -> Any:
        """Make the pool when the first call comes; returns its `submit`."""
        with self._lock:
            if self._pool is None:
                if self._backend == "threads":
                    from pointsman.backends.threads import Threads

                    self._pool = Threads(
                        self._max_workers,
                        initializer=self._initializer,
                        initargs=self._initargs,
                        on_broken=self._break,
                        name=self._name,
                        queue_capacity=self._queue_capacity,
                        stack_size=self._stack_size,
                    )
                else:
                    from pointsman._pool import Processes

                    self._pool = Processes(
                        self._max_workers,
                        cores=facts().cores,
                        initializer=self._initializer,
                        initargs=self._initargs,
                        patient=True,
                        **self._limits,
                    )
            self._submit = self._pool.native.submit
            return self._submit

    def _break(self, error: BaseException) -> None:
        broken = _broken_pool(f"the initializer {name_of(self._initializer)} raised {type(error).__name__}: {error}")
        broken.__cause__ = error
        self._broken = broken
        self._pool.native.break_with(broken)

    @overload
    def submit(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call and return its future. Every keyword belongs to `fn`.

        Raises
        ------
        InvalidTypeError
            If `fn` is not callable.
        RuntimeError
            After `shutdown`; `PoolBrokenError` if the workers cannot be started.

        """
        self._check_open()
        check_callable(fn)
        if check_async(fn, self._asked):
            if self._asked in ("auto", "asyncio"):
                return self._submit_to_loop(fn, args, kwargs)
            fn = awaited(fn)
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
            return (self._submit or self._start())(fn, args, kwargs)  # type: ignore[no-any-return]
        except RuntimeError:
            self._check_open()
            raise
        except Exception as why:  # noqa: BLE001 - what cannot travel is an error in the future
            return _failed(fn, why)

    def options(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[Exception] | tuple[type[Exception], ...] = (),
        kill_on_cancel: bool = False,
    ) -> ExecutorOptions:
        """Return a view with `submit` and `map` whose calls run on these terms; see `pointsman.options`.

        Raises
        ------
        InvalidArgumentError
            If the executor's backend cannot keep them.

        """
        from pointsman._executor_options import ExecutorOptions
        from pointsman._terms import Terms

        terms = Terms(timeout, retries, retry_on, kill_on_cancel=kill_on_cancel)
        terms.check(self._asked)
        return ExecutorOptions(self, terms)

    def _submit_on(self, terms: Any, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        """Start a call on terms that only a worker process can keep."""
        self._check_open()
        try:
            if self._backend == "processes":
                self._start()
                return self._pool.native.submit(fn, args, kwargs, 2, terms)  # type: ignore[no-any-return]
            return self._submit_to_process(fn, args, kwargs, terms)
        except RuntimeError:
            self._check_open()
            raise
        except Exception as why:  # noqa: BLE001 - what cannot travel is an error in the future
            return _failed(fn, why)

    def _submit_to_process(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], terms: Any = None
    ) -> Future[T]:
        """Run a call in the program's worker processes; its counters are not this executor's."""
        cores = facts().cores
        pool = _default.processes(max(1, round(cores)), 1, cores)
        self._remember(future := pool.native.submit(fn, args, kwargs, 2, terms))
        return future  # type: ignore[return-value]

    def _submit_to_loop(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Run a coroutine function on the background loop; its counters are not this executor's."""
        if self._coroutines is None:
            from pointsman._async_calls import AsyncCalls

            self._coroutines = AsyncCalls(self._limit)
        future = self._coroutines.submit(fn, args, kwargs)
        self._remember(future)
        return future

    def _remember(self, future: Any) -> None:
        """Keep a call that runs elsewhere, for `shutdown` to wait for."""
        self._elsewhere.append(future)
        if len(self._elsewhere) > _MOST_KEPT:
            self._elsewhere = [waiting for waiting in self._elsewhere if not waiting.done()]

    def _check_open(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._shut_down:
            message = "cannot schedule new futures after shutdown"
            raise RuntimeError(message)

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[T]:
        """Submit `fn` over the inputs at once and yield the results in order.

        Parameters
        ----------
        fn, iterables
            The function, and its inputs.
        timeout
            Seconds from now within which each result must be there when it is asked for.
        chunksize
            Inputs that travel together to a worker process; None for one at a time. Threads ignore it, as they have
            nothing to send.

        """
        size = check_count("chunksize", chunksize) or 1
        if size > 1 and self._backend == "processes":
            return _unchunk(super().map(_Chunked(fn), _chunks(zip(*iterables, strict=False), size), timeout=timeout))
        return super().map(fn, *iterables, timeout=timeout)

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

        `active_threads`, `queued_tasks`, `running_tasks`, `completed_tasks`, `failed_tasks`, and
        `total_execution_time` (seconds that calls have run).
        """
        from pointsman._plan import Record

        names = (
            "active_threads",
            "queued_tasks",
            "running_tasks",
            "completed_tasks",
            "failed_tasks",
            "total_execution_time",
        )
        if self._pool is None:
            return Record(**dict.fromkeys(names, 0))
        figures = self._pool.native.figures()
        if self._backend == "threads":
            workers, _parked, queued, running, completed, failed, seconds = figures
        else:
            queued, running, completed, failed, _cancelled, seconds, _deaths = figures
            workers = len(self._pool.native.pids())
        return Record(**dict(zip(names, (workers, queued, running, completed, failed, seconds), strict=True)))

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


def _failed(fn: Callable[..., T], why: Exception) -> Future[T]:
    """Return the future of a call that could not be sent."""
    from pointsman._future import Future

    failed: Future[T] = Future()
    if type(why) is CannotTravelError:
        placed = CannotTravelError(f"a call of {name_of(fn)}: {why}")
        placed.__cause__ = why.__cause__
        why = placed
    failed.set_exception(why)
    return failed


def _broken_pool(message: str) -> PoolBrokenError:
    """The error of a broken pool, which is also the standard library's."""
    from concurrent.futures.thread import BrokenThreadPool

    kind: type[PoolBrokenError] = type(
        "PoolBrokenError", (PoolBrokenError, BrokenThreadPool), {"__module__": PoolBrokenError.__module__}
    )
    return kind(message)


class _Chunked:
    """Calls a function on each of a chunk's argument tuples."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, chunk: list[tuple[Any, ...]]) -> list[Any]:
        return [self.fn(*args) for args in chunk]


def _chunks(arguments: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    from itertools import islice

    iterator = iter(arguments)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _unchunk(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        yield from chunk
