"""A `concurrent.futures.Executor` whose calls run on threads or in worker processes.

Does not know how calls are queued or carried, or jobs of many inputs beyond `map`.
"""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pointsman import _default, _future, _native  # noqa: F401 - futures are made natively, where nothing should be imported
from pointsman._errors import CannotTravelError, InvalidTypeError
from pointsman._executor_checks import (
    check_choices,
    check_for_loop,
    check_futures,
    check_initializer,
    check_limits,
    check_most,
    check_patience,
    check_second,
    check_stack_size,
    check_workers_keep,
    failed_future,
    initializer_failed,
)
from pointsman._forks import at_fork
from pointsman._job import (
    CLUSTERS,
    awaited,
    check_address,
    check_async,
    check_callable,
    check_count,
)
from pointsman._machine import facts
from pointsman._scheduling import TaskPriority, WorkStealingScheduler, check_priority
from pointsman._standing_in import StandardAttributes, check_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from pointsman._async_calls import AsyncCalls
    from pointsman._executor_options import ExecutorOptions
    from pointsman._future import Future
    from pointsman._plan import Record
    from pointsman._resources import CpuMeter

T = TypeVar("T")

# Calls in other processes that are remembered before the finished ones are dropped.
_MOST_KEPT = 256

_all: weakref.WeakSet[Executor] = weakref.WeakSet()
_numbers = iter(range(1 << 62))
# Set when the interpreter begins to end: from then on no thread can be started.
_ending = False


class Executor(StandardAttributes, _native.ExecutorCore, concurrent.futures.Executor):
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
        "threads", "processes" or "interpreters". "auto" is threads; with `max_workers=None`, functions whose calls have
        been seen to hold the GIL for long go to processes, if that cannot change what they mean. Coroutine functions
        run on one background event loop under "auto" and "asyncio" (which takes nothing else), `max_workers` at a time
        if given; else each worker runs them on a loop of its own.
    queue_capacity
        Calls that may wait; `submit` blocks beyond it. Not in a worker of this executor, and not on a thread whose
        event loop is running, since queued calls may wait for those. None for no bound: a bound that nobody asked for
        would stop programs that work with other executors. Coroutines on the background loop are not counted.
    thread_stack_size
        Bytes of stack of each thread; None for the system's default.
    scheduler
        `WorkStealingScheduler()`, or None for one queue, first in first out. Priorities go before both.
    mp_context
        For programs that pass one. Workers are processes then; "spawn" and "forkserver" describe how they start.
    on_worker_death
        "replace": the death of a worker process fails the call that it ran, and another takes its place. "break": it
        fails every call that is left and breaks the executor, as it does in the standard library.
    max_tasks_per_child
        Calls after which a worker process is replaced by a new one; None for never.
    memory_limit
        Bytes of private memory beyond which a worker process is replaced by a new one, between two calls. To bound a
        single call, set RLIMIT_AS in the initializer.
    shared_memory
        Bytes that arguments and results on their way may take at most. What finds no room waits; a single call's
        arguments that never will fail with `SharedMemoryFullError`. None: what the environment variable
        POINTSMAN_SHARED_MEMORY says, else as much as is needed.
    address
        Of the cluster, for `backend="dask"` or "ray"; None starts a local one, which `shutdown` closes.

    """

    def __new__(cls, *_args: Any, **options: Any) -> Executor:  # noqa: PYI034 - another class for clusters
        """Choose the class that drives the backend."""
        if cls is Executor and options.get("backend") in CLUSTERS:
            from pointsman._cluster_executor import ClusterExecutor

            return super().__new__(ClusterExecutor)
        return super().__new__(cls)

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
        max_tasks_per_child: int | None = None,
        memory_limit: int | None = None,
        shared_memory: int | None = None,
        address: str | None = None,
    ) -> None:
        check_address(backend, address)
        thread_name_prefix, mp_context = check_second(thread_name_prefix, mp_context)
        self._mp_context = check_context(mp_context)
        if mp_context is not None and backend == "auto":
            backend = "processes"
        self._asked = backend
        self._backend = check_choices(backend, on_worker_death, scheduler, self._mp_context)
        self._learns = backend == "auto" and max_workers is None and initializer is None
        if self._learns:
            # Not where nothing is learnt: it takes a while to import.
            from pointsman import _learning

            self._learning = _learning
        self._chosen = max_workers is not None
        self._max_workers = check_most(self._backend, max_workers) or self._default_workers()
        self._initializer, self._initargs = check_initializer(initializer, initargs)
        self._queue_capacity = check_count("queue_capacity", queue_capacity)
        self._stack_size = check_stack_size(thread_stack_size, self._backend)
        self._limits = check_limits(self._asked, self._max_workers, max_tasks_per_child, memory_limit, shared_memory)
        self._steals = scheduler is not None
        if backend == "asyncio":
            check_for_loop(
                initializer=initializer,
                queue_capacity=queue_capacity,
                thread_stack_size=thread_stack_size,
                scheduler=scheduler,
            )
        self._breaks = on_worker_death == "break"
        self._name = thread_name_prefix or f"pointsman-executor-{next(_numbers)}"
        self._lock = threading.RLock()
        self._meter: CpuMeter | None = None
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Be as new: what is under way belongs to the parent, if this is a forked child."""
        self._shut_down = False
        self._error: BaseException | None = None
        self._pool: Any = None
        self._submit: Any = None
        self._go_quickly(None)
        # What runs coroutine functions on the background loop, once there was one.
        self._coroutines: AsyncCalls | None = None
        # Calls that went to the program's processes or loop, for `shutdown` to wait for; and those dropped when done.
        self._elsewhere: list[Any] = []
        self._dropped = [0, 0]
        # Of calls in the program's worker processes, which others use, too.
        self._spent = _native.Spent()

    def _default_workers(self) -> int:
        cores = max(1, round(facts().cores))
        return cores if self._backend == "processes" else min(32, cores + 4)

    def _start(self, fn: Callable[..., Any]) -> Any:
        """Make the pool when the first call comes, of `fn`; returns its `submit`."""
        with self._lock:
            self._check_open()
            if self._pool is None:
                made = self._start_threads() if self._backend == "threads" else self._start_processes(fn)
                # A signal handler or a finalizer of this thread may have come in between, and made one.
                if self._pool is None:
                    self._pool = made
                else:
                    made.shutdown(wait=False)
            self._submit = self._pool.native.submit
            if not self._learns and (self._backend == "threads" or self._queue_capacity is None):
                self._go_quickly(self._pool.native)
            return self._submit

    def _start_threads(self) -> Any:
        from pointsman.backends.threads import Threads

        initializer, this = self._initializer, weakref.ref(self)

        def broken(error: BaseException) -> BaseException:
            # The threads hold this, and must not hold the executor: one that is dropped ends them.
            told = initializer_failed(initializer, error)
            if (executor := this()) is not None:
                executor._error = told  # noqa: SLF001 - this class
                executor._go_quickly(None)  # noqa: SLF001 - this class
            return told

        return Threads(
            self._max_workers,
            initializer=self._initializer,
            initargs=self._initargs,
            on_broken=broken,
            name=self._name,
            queue_capacity=self._queue_capacity,
            stack_size=self._stack_size,
            stealing=self._steals,
            cores=None if self._chosen else facts().cores,
        )

    def _start_processes(self, fn: Callable[..., Any]) -> Any:
        from pointsman._pool import make, prepare

        prepare(fn)
        return make(
            self._max_workers,
            initializer=self._initializer,
            initargs=self._initargs,
            patient=True,
            breaks=self._breaks,
            cores=facts().cores,
            **self._limits,
        )

    if TYPE_CHECKING:

        @overload
        def submit(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
        @overload
        def submit(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            """Start a call and return its future: the native half does, at a third of the price."""

    else:
        submit = _native.ExecutorCore.submit

    def _submit_looking(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._submit_anyhow(fn, args, kwargs)

    def _submit_anyhow(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Start a call of which more is to be asked than the native half does."""
        rank = 2
        if kwargs and type(kwargs.get("priority")) is TaskPriority:
            rank = int(kwargs.pop("priority"))
        return self._submit_with(fn, args, kwargs, rank)

    def _submit_with(  # noqa: C901 - one question after the other
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], rank: int = 2, *more: Any
    ) -> Future[T]:
        if self._shut_down or self._error is not None:
            self._check_open()
        if not callable(fn):
            check_callable(fn)
        if check_async(fn, self._asked):
            if self._asked in ("auto", "asyncio"):
                return self._submit_to_loop(fn, args, kwargs, rank)
            fn = awaited(fn)
        elif self._learns:
            learnt = self._learning.lookup(fn)
            if learnt is not None and not learnt.is_known:
                fn = self._learning.Observed(fn, learnt)
            elif learnt is not None and learnt.leaves(fn):
                try:
                    return self._submit_to_process(fn, args, kwargs, rank=rank)
                except CannotTravelError:
                    learnt.stays = True
        try:
            submit = self._submit or self._start(fn)
            if self._queue_capacity is not None and self._backend == "processes":
                self._wait_for_room()
                future = submit(fn, args, kwargs, rank, *more)
                if self._shut_down and future.cancelled():
                    # Shut down while this waited: it was never taken.
                    self._check_open()
                return future  # type: ignore[no-any-return]
            return submit(fn, args, kwargs, rank, *more)  # type: ignore[no-any-return]
        except Exception as why:  # noqa: BLE001 - what cannot travel is an error in the future
            return self._not_sent(fn, why)

    def _not_sent(self, fn: Callable[..., T], why: Exception) -> Future[T]:
        if isinstance(why, RuntimeError):
            self._check_open()
            raise why
        return failed_future(fn, why)

    def options(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[Exception] | tuple[type[Exception], ...] = (),
        kill_on_cancel: bool = False,
        priority: TaskPriority = TaskPriority.NORMAL,
        run_on_caller: bool = False,
    ) -> ExecutorOptions:
        """Return a view with `run`, `submit`, `map` and `execute` whose calls run on these terms.

        Parameters
        ----------
        timeout, retries, retry_on, kill_on_cancel
            As for `pointsman.options`. A thread cannot be stopped: on threads a call that runs longer than `timeout`
            fails with `CallTimeoutError` all the same, and goes on; nobody hears of its outcome. With
            `backend="auto"`, and neither `max_workers` nor `initializer` given, calls that may travel run in the
            program's worker processes instead, where they are stopped.
        priority
            How urgent the calls are among those that wait.
        run_on_caller
            Let a thread that waits for one of the calls run it itself, if it has not begun: the cheapest way by far
            where it does not matter which thread runs a call. On threads only.

        Raises
        ------
        InvalidArgumentError
            If the executor's backend cannot keep them.

        """
        from pointsman._executor_options import ExecutorOptions
        from pointsman._terms import Terms

        terms = Terms(timeout, retries, retry_on, kill_on_cancel=kill_on_cancel)
        terms.check(self._asked)
        # "auto" with workers that somebody has said is threads.
        check_workers_keep("auto" if self._learns else self._backend, kill=kill_on_cancel, on_caller=run_on_caller)
        return ExecutorOptions(self, terms, check_priority(priority), run_on_caller=run_on_caller)

    def _wait_for_room(self) -> None:
        """Wait until fewer calls are queued than may be; not where that would stop an event loop."""
        import sys

        if "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:  # noqa: SLF001 - documented
            return
        self._pool.native.wait_for_room(self._queue_capacity)

    def _submit_to_process(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], terms: Any = None, *, rank: int = 2
    ) -> Future[T]:
        """Run a call in the program's worker processes."""
        cores = facts().cores
        pool = _default.processes(max(1, round(cores)), 1, cores)
        future = pool.native.submit(fn, args, kwargs, rank, terms, self._spent)
        self._remember(future)
        return future  # type: ignore[return-value]

    def _submit_to_loop(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], rank: int
    ) -> Future[Any]:
        """Run a coroutine function on the background loop."""
        if self._coroutines is None:
            from pointsman._async_calls import AsyncCalls

            self._coroutines = AsyncCalls(self._max_workers if self._chosen else None)
        future = self._coroutines.submit(fn, args, kwargs, rank)
        self._remember(future)
        return future

    def _remember(self, future: Any) -> None:
        with self._lock:
            self._elsewhere.append(future)
            many = len(self._elsewhere) > _MOST_KEPT
        if many:
            self._drop_done()

    def _drop_done(self) -> None:
        with self._lock:
            futures = list(self._elsewhere)
        # Without the lock: to ask tells whoever waits for an outcome, and unpacks it, which is the user's code.
        done = [future for future in futures if future.done()]
        raised = {future: None if future.cancelled() else future.exception() is not None for future in done}
        with self._lock:
            for future in self._elsewhere:
                failed = raised.get(future)
                if failed is not None:
                    self._dropped[failed] += 1
            self._elsewhere = [future for future in self._elsewhere if future not in raised]

    def _check_open(self) -> None:
        if self._broken:
            raise self._broken
        if _ending:
            message = "cannot schedule new futures after interpreter shutdown"
            raise RuntimeError(message)
        if self._shut_down:
            message = "cannot schedule new futures after shutdown"
            raise RuntimeError(message)

    @overload
    def map(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], timeout: float | None = ...,
        chunksize: int | None = ..., buffersize: int | None = ...,
    ) -> Iterator[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T | Awaitable[T]], /, *iterables: Iterable[Any], timeout: float | None = ...,
        chunksize: int | None = ..., buffersize: int | None = ...,
    ) -> Iterator[T]: ...  # fmt: skip
    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
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
            Inputs that travel together to a worker process; None for as many as take a hundredth of a second or so, by
            what was measured of the first. Threads ignore it, as they have nothing to send.
        buffersize
            Inputs ahead of the results taken, at most.

        Raises
        ------
        Exception
            Whatever a call raises, when its result is asked for.
        TimeoutError
            When a result is not there in time.
        RuntimeError
            After `shutdown`.

        """
        from pointsman import _executor_map

        return _executor_map.start(self, fn, iterables, timeout, chunksize, buffersize)

    def _maps_by_submit(self) -> bool:
        """Whether a map is calls of `submit`: each may go its own way, or must wait for room."""
        return (
            self._learns
            or self._queue_capacity is not None
            # Somebody wants to see each call: a subclass, or who has replaced the method (tqdm does).
            or type(self).submit is not Executor.submit
            or "submit" in self.__dict__
        )

    def _native_pool(self, fn: Callable[..., Any]) -> Any:
        """The pool, started."""
        self._submit or self._start(fn)
        return self._pool.native

    def _chunk(self, size: int | None) -> int | None:
        """Calls of a map that travel together: one where a worker is to be looked at after each."""
        one = self._limits["max_tasks"] is not None or self._limits["memory_limit"] is not None
        return 1 if size is None and one else size

    def wait(self, futures: Iterable[Future[T]], timeout: float | None = None) -> list[Future[T]]:
        """Wait for the futures, at most `timeout` seconds, and return those that are done, in the order given."""
        futures = check_futures(futures)
        concurrent.futures.wait(futures, check_patience(timeout))
        return [future for future in futures if future.done()]

    def as_completed(self, futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
        """Yield the futures as they are done; `TimeoutError` if that takes more than `timeout` seconds."""
        return concurrent.futures.as_completed(check_futures(futures), check_patience(timeout))  # type: ignore[return-value]

    def get_stats(self) -> Record:
        """Return the figures of this moment.

        `active_threads` (workers that are alive), `idle_threads`, `queued_tasks`, `running_tasks`, `completed_tasks`,
        `failed_tasks`, and `total_execution_time` (seconds that calls have run; of a coroutine, from its
        beginning to its end). A call is counted as completed or
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
            workers = pool.workers
            idle = max(0, workers - running)
        self._drop_done()
        with self._lock:
            futures, (done, raised) = list(self._elsewhere), self._dropped
        waiting, elsewhere = sum(not future.running() for future in futures), len(futures)
        seconds += self._spent.seconds
        if self._coroutines is not None:
            seconds += self._coroutines.seconds
            # Their futures stay pending, since they can be cancelled at any time.
            waiting -= min(waiting, self._coroutines.running())
        return Record(
            active_threads=workers,
            idle_threads=idle,
            queued_tasks=queued + waiting,
            running_tasks=running + elsewhere - waiting,
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

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further calls; with `cancel_futures` cancel those not begun; with `wait` wait for the rest."""
        if wait and self._coroutines is not None:
            self._coroutines.refuse_to_wait()
        with self._lock:
            self._shut_down = True
            self._go_quickly(None)
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait, cancel=cancel_futures)
        if cancel_futures:
            coroutines = self._coroutines
            for future in self._elsewhere:
                if coroutines is None or not coroutines.owns(future):
                    future.cancel()
            if coroutines is not None:
                coroutines.cancel_waiting()
        if wait and self._elsewhere:
            concurrent.futures.wait(self._elsewhere)

    def __repr__(self) -> str:
        """Return one line with what was asked for and whether calls are taken."""
        state = ", broken" if self._error is not None else ", shut down" if self._shut_down else ""
        return f"<{type(self).__name__} backend={self._asked!r} max_workers={self._max_workers}{state}>"

    def __reduce__(self) -> Any:
        """Refuse to travel."""
        message = "an Executor cannot be pickled: its workers belong to this process; create one where the call runs"
        raise InvalidTypeError(message)


# What its complaints call it.
Executor._submit_looking.__qualname__ = "Executor.submit"  # noqa: SLF001 - this module


def _end_all() -> None:
    """Refuse calls from now on: the pools have run what was submitted, and end with the program."""
    global _ending  # noqa: PLW0603 - once per process
    _ending = True
    for executor in list(_all):
        executor._shut_down = True  # noqa: SLF001 - this module
        executor._go_quickly(None)  # noqa: SLF001 - this module


# Runs before the interpreter waits for its threads. Hooks that were registered later (those of pools) run before it.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - what concurrent.futures uses, too


def _forget_all() -> None:
    """In a forked child: threads do not exist there, and worker processes belong to the parent."""
    for executor in list(_all):
        executor._lock = threading.RLock()  # noqa: SLF001 - this module
        closed = executor._shut_down  # noqa: SLF001 - this module
        executor._forget()  # noqa: SLF001 - this module
        executor._shut_down = closed  # noqa: SLF001 - this module


at_fork(_forget_all)
