"""An `Executor` whose calls run on a cluster.

Does not know any engine, how a cluster is found or started, or what errors of an engine mean.

Invariants:
    X1. A future is settled once: by its outcome, by a cancel, or by an error that names the cluster's address.
    X2. No lock is held while a future is settled: whoever waits for it may call in here.
    X3. Where the engine takes no call back, it has few at a time, whose futures say that they run; the others wait
        here, and are begun if nobody has cancelled them by then.
    X4. What has waited here is not sent from a thread of the engine, which may be the one that sends.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _trace
from pointsman._errors import InvalidArgumentError, WorkerDied
from pointsman._executor import Executor
from pointsman._executor_checks import failed_future
from pointsman._executor_options import ExecutorOptions
from pointsman._job import awaited, check_callable, is_async, name_of
from pointsman._scheduling import TaskPriority, check_priority
from pointsman._terms import NONE, Terms
from pointsman.backends._cluster import Cluster, make, of_job, unpack
from pointsman.backends._cluster_worker import serve, serve_timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman._future import Future
    from pointsman._plan import Record

T = TypeVar("T")

# Seconds of a call from which on a lane of an engine that takes nothing back is given the next when it ends: until then
# that can be cancelled. Arbitrary: a hundred times what it takes to hand one over.
_LONG = 0.1
# Calls for each lane, if they are shorter, or if the cluster may grow where more wait.
_AHEAD = 4
# Seconds without room after which the engine is asked whether it has some: a call may wait for one that waits here.
_PAUSE = 1.0


class ClusterExecutor(Executor):
    """An `Executor` whose calls run on a cluster of dask or ray.

    Parameters
    ----------
    max_workers
        Calls at a time on a local cluster; None for one per core. Not with `address`.
    backend
        "dask" or "ray".
    address
        Of an existing cluster ("tcp://host:port" of dask; "host:port", "auto" or "ray://host:port" of ray); None starts
        a local one, which `shutdown` closes.

    Raises
    ------
    PoolBrokenError
        If no cluster answers.
    MissingExtraError
        If the engine is not installed; the message has the pip command.

    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        backend: str = "dask",
        address: str | None = None,
        _cluster: Cluster | None = None,
        **others: Any,
    ) -> None:
        others |= {"thread_name_prefix": thread_name_prefix, "initializer": initializer, "initargs": initargs}
        refused = sorted(name for name, value in others.items() if value not in (None, "", ()))
        if refused:
            message = f"a {backend} cluster has no {', '.join(refused)}: its workers are set up where they are started"
            raise InvalidArgumentError(message)
        super().__init__(max_workers, backend="threads")
        self._asked = self._backend = backend
        self._cluster = _cluster or make(backend, address, max_workers)
        self._changed = threading.Condition()
        self._pending: dict[Any, _Flight] = {}
        # What the engine has not been given, and how much it has, where it takes nothing back (X3).
        self._waiting: deque[_Flight] = deque()
        self._handed_over = 0
        self._feeding = False
        # Seconds of a call, as those of late were.
        self._mean: float | None = None
        self._counts = {"completed": 0, "failed": 0, "seconds": 0.0}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Any:
        """Start a call on the cluster and return its future.

        Raises
        ------
        InvalidArgumentError
            For a `priority` where the engine has none.

        """
        priority = TaskPriority.NORMAL
        if type(kwargs.get("priority")) is TaskPriority:
            priority = kwargs.pop("priority")
        return self.begin(fn, args, kwargs, priority=self.check_priority(priority))

    def check_priority(self, priority: int) -> TaskPriority:
        """Return a priority that the engine knows."""
        asked = check_priority(priority)
        if asked != TaskPriority.NORMAL and not self._cluster.has_priorities:
            message = f"{self._backend} has no priorities: its calls begin in the order in which workers are free"
            raise InvalidArgumentError(message)
        return asked

    def begin(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        priority: TaskPriority = TaskPriority.NORMAL,
        terms: Terms = NONE,
    ) -> Future[T]:
        """Start a call on terms that were checked."""
        from pointsman._future import Future

        if self._shut_down:
            message = "cannot schedule new futures after shutdown"
            raise RuntimeError(message)
        check_callable(fn)
        self._cluster.check()
        future: Future[T] = Future()
        try:
            key, function = self._cluster.sent.function(terms.wrap(awaited(fn) if is_async(fn) else fn))
            packed, large = self._cluster.sent.calls([(args, kwargs)])
            flight = _Flight(self, future, name_of(fn), (key, packed, False, function, *large), priority, terms.retries)
            with self._changed:
                self._pending[future] = flight
                if not self._cluster.takes_back:
                    self._waiting.append(flight)
            if self._cluster.takes_back:
                flight.begin()
        except Exception as error:  # noqa: BLE001 - what cannot travel is an error in the future
            with self._changed:
                self._pending.pop(future, None)
            return failed_future(fn, error)
        future.add_done_callback(flight.forward)
        self._hand_over()
        return future

    def _hand_over(self, beyond: int = 0) -> None:
        """Give the engine what waits here, as far as it shall have it, or so many; the rest is left to a thread."""
        while (flight := self._next(anyway=beyond > 0)) is not None:
            beyond -= 1
            try:
                self._cluster.check()
                flight.begin()
            except BaseException as error:
                # It is the call's, and a Ctrl-C this thread's as well.
                self.left(flight)
                flight.fail(error)
                if not isinstance(error, Exception):
                    raise
        self._leave_to_feeder()

    def _leave_to_feeder(self) -> None:
        """Leave what waits to a thread, if it is not by now."""
        with self._changed:
            if not self._waiting or self._feeding:
                return
            self._feeding = True
        name = f"pointsman-{self._backend}-feeder"
        try:
            threading.Thread(target=self._feed, name=name, daemon=True).start()
        except RuntimeError:
            # No more threads now; perhaps when the next call has come back.
            self._feeding = False

    def _feed(self) -> None:
        """Hand over what waits, until nothing does (X4)."""
        while True:
            with self._changed:
                came = not self._waiting or self._has_room() or self._changed.wait(_PAUSE)
                if not self._waiting:
                    self._feeding = False
                    return
            self._hand_over(0 if came else self._cluster.spare())

    def _has_room(self) -> bool:
        short = self._mean is not None and self._mean < _LONG
        ahead = _AHEAD if short or not self._cluster.is_local else 1
        return self._handed_over < ahead * self._cluster.lanes

    def _next(self, *, anyway: bool) -> _Flight | None:
        with self._changed:
            while self._waiting and (anyway or self._has_room()):
                flight = self._waiting.popleft()
                # What has been settled meanwhile was cancelled, or lost with the cluster.
                if flight.future in self._pending and flight.future.set_running_or_notify_cancel():
                    flight.handed_over = True
                    self._handed_over += 1
                    return flight
        return None

    def left(self, flight: _Flight) -> None:
        """Note that the engine does not have a call any more."""
        with self._changed:
            if flight.handed_over:
                flight.handed_over = False
                self._handed_over -= 1
                self._changed.notify_all()
        self._leave_to_feeder()

    def _submit_with(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], rank: int = 2, *more: Any
    ) -> Future[T]:
        del more
        return self.begin(fn, args, kwargs, priority=self.check_priority(rank))

    def settle(self, future: Any, act: Callable[[], None], *, failed: bool = False, seconds: float = 0.0) -> None:
        """Give a future its outcome, unless it has one (X1)."""
        with self._changed:
            if self._pending.pop(future, None) is None:
                return
            if not future.cancelled():
                self._counts["failed" if failed else "completed"] += 1
                self._counts["seconds"] += seconds
                self._mean = seconds if self._mean is None else 0.9 * self._mean + 0.1 * seconds
            self._changed.notify_all()
        # Until now it says so only where it was handed over for good; and whoever gathers may give up on one that runs.
        if future.cancelled() or not (future.running() or future.set_running_or_notify_cancel()):
            return
        with contextlib.suppress(InvalidStateError):
            act()

    def options(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[Exception] | tuple[type[Exception], ...] = (),
        kill_on_cancel: bool = False,
        priority: TaskPriority = TaskPriority.NORMAL,
        run_on_caller: bool = False,
    ) -> Any:
        """Return a view with `submit` and `map` whose calls run on these terms.

        Parameters
        ----------
        retries, retry_on
            As for `pointsman.options`.
        priority
            How urgent the calls are among those that wait; dask only.
        timeout, kill_on_cancel, run_on_caller
            Refused: no engine stops a call that runs.

        Raises
        ------
        InvalidArgumentError
            For what the engine cannot keep.

        """
        terms = Terms(timeout, retries, retry_on, kill_on_cancel=kill_on_cancel)
        terms.check(self._backend)
        if run_on_caller:
            message = f"run_on_caller is for threads: the caller's thread is no worker of {self._backend}"
            raise InvalidArgumentError(message)
        return ClusterOptions(self, terms, self.check_priority(priority))

    def get_stats(self) -> Record:
        """The figures of this moment, as those of other executors; what runs is known to the scheduler alone."""
        from pointsman._plan import Record

        lanes, under_way = self._cluster.lanes, len(self._pending)
        running = min(lanes, under_way)
        return Record(
            active_threads=lanes,
            idle_threads=lanes - running,
            queued_tasks=under_way - running,
            running_tasks=running,
            completed_tasks=self._counts["completed"],
            failed_tasks=self._counts["failed"],
            total_execution_time=self._counts["seconds"],
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further calls, and end the connection once the calls under way are done.

        With `wait=False` that happens in the background.
        """
        self._shut_down = True
        if cancel_futures:
            for future in list(self._pending):
                future.cancel()
        if wait:
            self._close()
        elif not self._cluster.closed:
            threading.Thread(target=self._close, name=f"pointsman-{self._backend}-end").start()

    def _close(self) -> None:
        with self._changed:
            # A lost cluster settles every future; a look now and then guards against a notice that was lost.
            while self._pending and self._cluster.alive:
                self._changed.wait(1.0)
        for future in list(self._pending):
            self.settle(future, self._fail(future), failed=True)
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        self._cluster.close()

    def _fail(self, future: Any) -> Callable[[], None]:
        return lambda: future.set_exception(self._cluster.lost())

    def _pids(self) -> list[int]:
        return []


class _Flight:
    """A call on its way, and begun again if its terms say so."""

    def __init__(
        self,
        executor: ClusterExecutor,
        future: Any,
        name: str,
        values: tuple[Any, ...],
        priority: TaskPriority,
        retries: int,
    ) -> None:
        self.executor, self.future, self.name, self.values = executor, future, name, values
        self.urgency = TaskPriority.NORMAL - priority
        self.cluster = executor._cluster  # noqa: SLF001 - this module
        # Those that the engine does not see to.
        self.left = 0 if self.cluster.has_retries else retries
        self.retries = retries if self.cluster.has_retries else 0
        self.started: Any = None
        # When it was sent, if somebody traces; else 0.
        self.posted: int = 0
        # Whether it counts among those that the engine has (X3).
        self.handed_over = False

    def begin(self) -> None:
        self.posted = _trace.posted()
        run = serve_timed if self.posted else serve
        self.started = self.cluster.start(run, *self.values, urgency=self.urgency, retries=self.retries)
        self.cluster.when_done(self.started, self.arrived)

    def forward(self, future: Any) -> None:
        """Tell the engine of a cancel."""
        if future.cancelled():
            self.executor.settle(future, lambda: None)
            self.values = ()
            if self.started is not None:
                self.cluster.cancel([self.started])

    def arrived(self) -> None:
        """Take what became of the call, on a thread of the engine."""
        future = self.future
        self.executor.left(self)
        if future.cancelled():
            # Whoever gathers may give up on a call that runs.
            self.executor.settle(future, lambda: None)
            return
        try:
            outcome = self.cluster.outcome(self.started, self.name)
            _trace.ran(self.cluster.kind, self.name, self.posted, outcome.times)
            values, failures = unpack(outcome, self.name, None)
        except WorkerDied as error:
            _trace.died(self.cluster.kind, self.name, self.posted)
            if self.left > 0:
                self.left -= 1
                self._once_more(error)
                return
            self.fail(error)
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            self.fail(error)
        else:
            if failures:
                self.fail(failures[0][1], outcome.seconds)
            else:
                self.executor.settle(future, lambda: future.set_result(values[0]), seconds=outcome.seconds)

    def _once_more(self, error: BaseException) -> None:
        try:
            self.begin()
        except Exception:  # noqa: BLE001 - the first error tells more
            self.fail(error)

    def fail(self, error: BaseException, seconds: float = 0.0) -> None:
        future = self.future
        self.executor.settle(future, lambda: future.set_exception(error), failed=True, seconds=seconds)


class ClusterOptions(ExecutorOptions):
    """`run`, `submit`, `map` and `execute` of a cluster's executor, on terms."""

    def __init__(self, executor: ClusterExecutor, terms: Terms, priority: TaskPriority) -> None:
        super().__init__(executor, terms, priority)
        self._urgency = priority

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call and return its future. Every keyword belongs to `fn`."""
        executor: ClusterExecutor = self._executor
        return executor.begin(fn, args, kwargs, priority=self._urgency, terms=self._terms)


_executors: dict[Cluster, ClusterExecutor] = {}


def shared_executor(kind: str, max_workers: int | None, address: str | None) -> ClusterExecutor:
    """The executor of the cluster that `pointsman.cluster` named, or of the program's own; anew when that was lost."""
    cluster = of_job(kind, address, max_workers, chosen=False)
    for lost in [known for known in _executors if known.closed]:
        del _executors[lost]
    if cluster not in _executors:
        _executors[cluster] = ClusterExecutor(max_workers, backend=kind, address=address, _cluster=cluster)
    return _executors[cluster]
