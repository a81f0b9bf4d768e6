"""A job whose calls run on a dask cluster.

Does not know how a cluster is found or started, or who decided to use one.

Invariants:
    K1. A large argument or function is sent to the cluster once, as long as it has the same content.
    K2. At most a window of calls is on its way, whatever the length of the input.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import OrderedDict, deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman._errors import CannotTravelError, RemoteError, WorkerDied, _RemoteTraceback
from pointsman.backends._cluster import Cluster, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pointsman._job import Job
    from pointsman._plan import Plan
    from pointsman._source import Source

# Bytes from which an argument is scattered: below it, one more message costs more than the bytes. Arbitrary between 50
# and 500 kB.
_LARGE = 100_000
# Bytes of a chunk's inputs from which they go to the workers by themselves, past the scheduler.
_MOST_SENT = 4 << 20
# Scattered values that are remembered.
_MOST_KEPT = 32
# A chunk lasts this many times what its dispatch costs: 5 % is lost.
_WORTH = 20
# Chunks on their way for each lane: one that runs, and one behind it.
_DEPTH = 2


class Scattered:
    """Large values that the cluster has, by content."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def send(self, value: Any) -> Any:
        """The value itself if it is small, else what stands for it on the cluster."""
        from dask.base import tokenize
        from dask.sizeof import sizeof

        if sizeof(value) < _LARGE:
            return value
        token = tokenize(value)
        with self._lock:
            held = self._kept.get(token)
            if held is None or held.status not in ("finished", "pending"):
                # In a list, or the items of a dict would be scattered one by one. On all workers: one may die.
                (held,) = self._cluster.client.scatter([value], broadcast=True, hash=False)
                self._kept[token] = held
            self._kept.move_to_end(token)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return held


def translate(error: BaseException, cluster: Cluster, name: str) -> BaseException:
    """What the caller sees of an error of the engine."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        worker = getattr(error.last_worker, "address", error.last_worker)
        message = (
            f"the dask worker at {worker} died while it ran a call of {name} "
            f"(scheduler at {cluster.address}); other calls go on"
        )
        died = WorkerDied(message, "unknown", 0, 0, name, None)
        died.__cause__ = error
        return died
    if isinstance(error, FutureCancelledError | concurrent.futures.CancelledError):
        lost = cluster.lost()
        lost.__cause__ = error
        return lost
    return error


class DaskRun:
    """What is left of a job, on a cluster, in chunks sized by what a dispatch is measured to cost."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job = job
        self.source: Source = job.source
        self.cluster: Cluster = shared(job.address, job.max_workers)
        self.lanes: int = self.cluster.lanes
        plan.max_workers = self.lanes
        self._dispatch = self._measure()
        self._size = job.chunksize or 1
        self._mean: float | None = None
        self._function = Scattered(self.cluster)

    def _measure(self) -> float:
        """Seconds that one small call takes there and back."""
        costs = []
        for _ in range(3):
            began = perf_counter()
            self._result(self.cluster.client.submit(int, pure=False))
            costs.append(perf_counter() - began)
        return min(costs)

    def _result(self, theirs: Any) -> Any:
        self.cluster.check()
        try:
            return theirs.result()
        except BaseException as error:
            if not isinstance(error, Exception | concurrent.futures.CancelledError):
                raise
            why = translate(error, self.cluster, self.job.name)
            if why is error:
                raise
            raise why from error

    def stream(self) -> Iterator[list[Any]]:
        """Yield results in order until the job is done; raise what a call raised after the results before it."""
        under_way: deque[tuple[Any, int]] = deque()
        try:
            while True:
                self._fill(under_way)
                if not under_way:
                    return
                theirs, count = under_way.popleft()
                values, error, text, seconds = self._take(theirs, count)
                self._learn(len(values), seconds)
                if values:
                    yield values
                if error is not None:
                    if error.__cause__ is None:
                        error.__cause__ = _RemoteTraceback(text)
                    raise error
        finally:
            for theirs, _count in under_way:
                theirs.cancel()

    def _take(self, theirs: Any, count: int) -> Any:
        try:
            return self._result(theirs)
        except WorkerDied as error:
            if not self.job.keep_going:
                raise
            # Each call of the chunk had the same fate.
            return [error] * count, None, "", 0.0

    def _fill(self, under_way: deque[tuple[Any, int]]) -> None:
        """Send chunks until the window is full."""
        ahead = sum(count for _theirs, count in under_way)
        bound = self.job.buffersize
        while len(under_way) < _DEPTH * self.lanes:
            count = self._size if bound is None else min(self._size, bound - ahead)
            items = self.source.take(count) if count > 0 else []
            if not items:
                return
            self.cluster.check()
            theirs = self.cluster.client.submit(
                _run_chunk,
                self._function.send(self.job.function),
                self._pack(items),
                star=self.source.star,
                keep_going=self.job.keep_going,
                pure=False,
            )
            under_way.append((theirs, len(items)))
            ahead += len(items)

    def _pack(self, items: list[Any]) -> Any:
        """The inputs of a chunk as bytes, which the engine neither searches nor copies."""
        import cloudpickle

        try:
            packed = cloudpickle.dumps(items, 5)
        except Exception as error:
            message = f"an input of {self.job.name} cannot be pickled: {type(error).__name__}: {error}"
            raise CannotTravelError(message) from error
        if len(packed) < _MOST_SENT:
            return packed
        (held,) = self.cluster.client.scatter([packed], broadcast=True, hash=False)
        return held

    def _learn(self, calls: int, seconds: float) -> None:
        """Size the chunks that follow: long against a dispatch, short against the job."""
        if self.job.chunksize is not None or not calls:
            return
        mean = seconds / calls
        self._mean = mean if self._mean is None else 0.5 * (self._mean + mean)
        aim = min(self.job.target, _WORTH * self._dispatch)
        size = int(aim / max(self._mean, 1e-9))
        left = self.source.left()
        if left is not None:
            # All lanes have something to do until the end.
            size = min(size, -(-left // (_DEPTH * self.lanes)))
        self._size = max(1, min(size, self._size * 8))

    def growable(self) -> int:
        """Calls that are not begun."""
        return self.source.left() or 0


def _run_chunk(
    function: Callable[..., Any], packed: bytes, *, star: bool, keep_going: bool
) -> tuple[list[Any], BaseException | None, str, float]:
    """On a worker: results, the exception that ended them with its traceback, and seconds."""
    import traceback

    import cloudpickle

    results: list[Any] = []
    began = perf_counter()
    for item in cloudpickle.loads(packed):
        try:
            results.append(function(*item) if star else function(item))
        except Exception as error:  # noqa: BLE001 - it belongs to the caller
            text = "".join(traceback.format_exception(error))
            error = _portable(error, text)
            if not keep_going:
                return results, error, text, perf_counter() - began
            results.append(error)
    return results, None, "", perf_counter() - began


def _portable(error: Exception, text: str) -> Exception:
    """The exception, or one that stands for it if it cannot be pickled."""
    import cloudpickle

    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever keeps it from travelling
        return RemoteError(f"a call raised an exception that cannot be pickled:\n{text}")
    error.__traceback__ = None
    return error


__all__ = ["DaskRun", "Scattered", "translate"]
