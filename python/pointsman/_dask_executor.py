"""An `Executor` whose calls run on a dask cluster.

Does not know how a cluster is found or started, or what errors of the engine mean.

Invariants:
    X1. A future is settled once: by its outcome, by a cancel, or by an error that names the scheduler's address.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman._errors import InvalidArgumentError
from pointsman._executor import Executor
from pointsman._job import awaited, check_callable, is_async, name_of
from pointsman.backends._cluster import Cluster, shared
from pointsman.backends.dask import Scattered, translate

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class DaskExecutor(Executor):
    """An `Executor` whose calls run on a dask cluster.

    Parameters
    ----------
    max_workers
        Worker processes of a local cluster; None for one per core. Not with `address`.
    address
        Of an existing scheduler ("tcp://host:port"); None starts a local cluster, which `shutdown` closes.

    Raises
    ------
    PoolBrokenError
        If no scheduler answers.

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
            message = f"a dask cluster has no {', '.join(refused)}: its workers are set up where they are started"
            raise InvalidArgumentError(message)
        super().__init__(max_workers, backend="threads")
        self._asked = self._backend = backend
        self._cluster = _cluster or Cluster(address, max_workers)
        self._scattered = Scattered(self._cluster)
        self._changed = threading.Condition()
        self._pending: dict[Any, Any] = {}
        self._counts = {"completed": 0, "failed": 0, "seconds": 0.0}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Any:
        """Start a call on the cluster and return its future. `priority` is handed to the scheduler."""
        from pointsman._future import Future
        from pointsman._scheduling import TaskPriority

        if self._shut_down:
            message = "cannot schedule new futures after shutdown"
            raise RuntimeError(message)
        check_callable(fn)
        self._cluster.check()
        rank = 2
        if type(kwargs.get("priority")) is TaskPriority:
            rank = int(kwargs.pop("priority"))
        future: Future[T] = Future()
        name = name_of(fn)
        if is_async(fn):
            fn = awaited(fn)
        try:
            sent = [self._scattered.send(value) for value in args]
            named = {key: self._scattered.send(value) for key, value in kwargs.items()}
            theirs = self._cluster.client.submit(
                _timed, self._scattered.send(fn), len(sent), *sent, *named.values(), list(named), pure=False,
                priority=2 - rank,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - what cannot travel is an error in the future
            future.set_exception(error)
            return future
        with self._changed:
            self._pending[future] = theirs

        def forward(cancelled: Any) -> None:
            if cancelled.cancelled():
                self._settle(future, lambda: None)
                theirs.cancel()

        future.add_done_callback(forward)
        theirs.add_done_callback(lambda done: self._arrived(future, done, name))
        return future

    def _arrived(self, future: Any, theirs: Any, name: str) -> None:
        """Take an outcome, on a thread of the client."""
        try:
            value, seconds = theirs.result(timeout=60)
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            # The name would be gone at the end of this clause.
            why = translate(error, self._cluster, name)
            self._settle(future, lambda: future.set_exception(why), failed=True)
        else:
            self._settle(future, lambda: future.set_result(value), seconds=seconds)

    def _settle(self, future: Any, act: Callable[[], None], *, failed: bool = False, seconds: float = 0.0) -> None:
        with self._changed:
            if self._pending.pop(future, None) is None:
                return
            if not future.cancelled():
                self._counts["failed" if failed else "completed"] += 1
                self._counts["seconds"] += seconds
            self._changed.notify_all()
        if future.cancelled() or not future.set_running_or_notify_cancel():
            return
        act()

    def options(self, **terms: Any) -> Any:
        """Refuse: the terms of calls belong to our own workers."""
        named = ", ".join(sorted(terms)) or "options"
        message = f"{named}: calls on a dask cluster take no terms; pass priority= to submit()"
        raise InvalidArgumentError(message)

    def get_stats(self) -> Any:
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
            threading.Thread(target=self._close, name="pointsman-dask-end").start()

    def _close(self) -> None:
        with self._changed:
            # A lost scheduler settles every future; a look now and then guards against a notice that was lost.
            while self._pending and self._cluster.client.status not in ("closed", "closing"):
                self._changed.wait(1.0)
        self._cluster.close()
        for future in list(self._pending):
            self._settle(future, self._fail(future), failed=True)

    def _fail(self, future: Any) -> Callable[[], None]:
        return lambda: future.set_exception(self._cluster.lost())

    def _pids(self) -> list[int]:
        return []


_executors: dict[Cluster, DaskExecutor] = {}


def shared_executor(max_workers: int | None, address: str | None) -> DaskExecutor:
    """The executor of the program's own connection to a cluster; made anew when that was lost."""
    cluster = shared(address, max_workers)
    for lost in [known for known in _executors if known.closed]:
        del _executors[lost]
    if cluster not in _executors:
        _executors[cluster] = DaskExecutor(max_workers, address=address, _cluster=cluster)
    return _executors[cluster]


def _timed(fn: Callable[..., Any], positional: int, *values: Any) -> tuple[Any, float]:
    """On a worker: call the function, and say how many seconds it took."""
    *given, names = values
    began = perf_counter()
    value = fn(*given[:positional], **dict(zip(names, given[positional:], strict=True)))
    return value, perf_counter() - began
