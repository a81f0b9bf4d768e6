"""A job whose calls run on a cluster, in chunks sized by what a dispatch is measured to cost.

Does not know any engine, how a cluster is found or started, or who decided to use one.

Invariants:
    K1. At most a window of calls is on its way, whatever the length of the input.
    K2. Results come in order, or chunk by chunk as they are ready. What a call raised comes after those before it.
    K3. A chunk whose worker died is begun again only if the job's terms say so, and then call by call: one that kills
        its worker takes none of its neighbours along.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _trace
from pointsman._errors import CannotTravelError, WorkerDied
from pointsman.backends import _cluster
from pointsman.backends._cluster_worker import serve, serve_timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman._job import Job
    from pointsman._plan import Plan
    from pointsman._source import Source

# A chunk lasts this many times what its dispatch costs: 5 % is lost.
_WORTH = 20
# Chunks on their way for each lane: one that runs, and one behind it.
_DEPTH = 2
# Seconds for which a cluster is taken to have the workers that it had: some grow and shrink with their work.
_SECONDS_OF_A_SIZE = 1.0
# Seconds between two looks whether the cluster is still there, while nothing is heard of it.
_SLICE = 1.0
# A chunk has at most so many times the calls of the one before it.
_GROWTH = 8


class _Flight:
    """A chunk on its way."""

    def __init__(self, started: Any, items: list[Any], base: int, posted: int, *, kept: bool) -> None:
        # `posted`: when it was sent, if somebody traces; else 0.
        self.started, self.count, self.base, self.posted = started, len(items), base, posted
        # Only what may be begun again is needed again.
        self.items = items if kept else None


class ClusterRun:
    """What is left of a job, on a cluster.

    `start` may be called from another thread than `stream`, before it.
    """

    def __init__(self, job: Job, plan: Plan, mean: float | None) -> None:
        self.job = job
        self.source: Source = job.source
        chosen = job.backend == "auto"
        most = None if chosen else job.max_workers
        self.cluster: _cluster.Cluster = _cluster.of_job(plan.backend, job.address, most, chosen=chosen)
        # A plan that was made on the cluster's size may hold; one that was said knows none.
        self._most = (plan.max_workers if chosen else job.max_workers) or 1 << 20
        self.lanes: int = min(self.cluster.lanes, self._most)
        plan.max_workers = self.lanes
        self._looked = perf_counter()
        self._dispatch = self.cluster.facts().dispatch
        self._mean = mean
        self._size = job.chunksize or self._fitting(1 << 30)
        self._under_way: deque[_Flight] = deque()
        # Those of them that are done, if results are wanted as they are ready.
        self._done: SimpleQueue[_Flight] | None = None if job.ordered else SimpleQueue()
        self._stopped = False
        # What the inputs have raised, or what came of sending them.
        self._raised: Exception | None = None
        self._key, self._function = self.cluster.sent.function(job.function)

    def start(self) -> None:
        """Send the first chunks."""
        self._fill()

    def grow(self, plan: Plan) -> None:
        """Do nothing: the cluster has the workers that it has."""

    def growable(self) -> int:
        """Calls that have not come back."""
        return sum(flight.count for flight in self._under_way) + (self.source.left() or 0)

    def give_back(self) -> list[Any]:
        """Begin nothing more. What was sent may have been begun, so it is waited for."""
        self._stopped = True
        return []

    def stop(self) -> None:
        """Cancel what no worker has begun."""
        self._stopped = True
        flights = [self._under_way.popleft() for _ in range(len(self._under_way))]
        self.cluster.cancel([flight.started for flight in flights])

    def stream(self) -> Iterator[list[Any]]:
        """Yield results until the job is done; raise what a call raised after the results before it."""
        __tracebackhide__ = True
        try:
            while True:
                try:
                    self._fill()
                except Exception as why:  # noqa: BLE001 - it takes its turn behind the results of what was sent
                    self._stopped, self._raised = True, why
                if not self._under_way:
                    if self._raised is not None:
                        raise self._raised
                    return
                values, error = self._take(self._next())
                if values:
                    yield values
                if error is not None:
                    raise error
        finally:
            self.stop()

    def _fill(self) -> None:
        """Send chunks until the window is full."""
        if perf_counter() - self._looked > _SECONDS_OF_A_SIZE:
            self.lanes, self._looked = min(self.cluster.lanes, self._most), perf_counter()
        ahead = sum(flight.count for flight in self._under_way)
        bound = self.job.buffersize
        while len(self._under_way) < _DEPTH * self.lanes and not self._stopped:
            count = self._size if bound is None else min(self._size, bound - ahead)
            # A chunk is named after its first input: the others must follow it without a gap.
            place, count = self.source.next_place, min(count, self.source.unbroken)
            items = self.source.take(count, brief=True) if count > 0 else []
            if not items:
                return
            flight = self._send(items, place)
            self._under_way.append(flight)
            if self._done is not None:
                self.cluster.when_done(flight.started, partial(self._done.put, flight))
            ahead += len(items)

    def _next(self) -> _Flight:
        """The chunk whose results come next."""
        while self._done is not None and self.cluster.alive:
            try:
                flight = self._done.get(timeout=_SLICE)
            except Empty:
                continue
            # An engine may tell of it twice.
            if flight in self._under_way:
                self._under_way.remove(flight)
                return flight
        return self._under_way.popleft()

    def _send(self, items: list[Any], base: int) -> _Flight:
        job = self.job
        self.cluster.check()
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            (tuple(item), {}) if self.source.star else ((item,), {}) for item in items
        ]
        try:
            packed, large = self.cluster.sent.calls(calls)
        except CannotTravelError as why:
            message = f"an input of {job.name}, from item {base} on: {why}"
            raise CannotTravelError(message) from why.__cause__
        posted = _trace.posted()
        run = serve_timed if posted else serve
        started = self.cluster.start(run, self._key, packed, job.keep_going, self._function, *large)
        return _Flight(started, items, base, posted, kept=job.terms.retries > 0)

    def _take(self, flight: _Flight, attempts: int = 0) -> tuple[list[Any], BaseException | None]:
        """Results of a chunk, and what ended it."""
        job, kind = self.job, self.cluster.kind
        try:
            outcome = self.cluster.outcome(flight.started, job.name)
        except WorkerDied as error:
            _trace.died(kind, job.name, flight.posted, job=job.number, first=flight.base)
            if flight.items is not None and attempts < self.job.terms.retries:
                return self._again(flight.items, flight.base, attempts + 1)
            if not self.job.keep_going:
                return [], error
            # Nobody knows which call of the chunk it was.
            return [error] * flight.count, None
        except Exception as error:  # noqa: BLE001 - its turn is after the results before it
            return [], error
        _trace.ran(kind, job.name, flight.posted, outcome.times, job=job.number, first=flight.base)
        values, failures = _cluster.unpack(outcome, self.job.name, flight.base)
        self._learn(max(1, len(values)), outcome.seconds)
        if not failures:
            return values, None
        if not self.job.keep_going or len(values) < flight.count:
            return values, failures[0][1]
        for place, raised in failures:
            values[place] = raised
        return values, None

    def _again(self, items: list[Any], base: int, attempts: int) -> tuple[list[Any], BaseException | None]:
        """Begin each call of a chunk anew (K3)."""
        flights = [self._send([item], base + place) for place, item in enumerate(items)]
        results: list[Any] = []
        for place, flight in enumerate(flights):
            values, error = self._take(flight, attempts)
            results += values
            if error is not None:
                self.cluster.cancel([other.started for other in flights[place + 1 :]])
                return results, error
        return results, None

    def _learn(self, calls: int, seconds: float) -> None:
        """Size the chunks that follow."""
        if self.job.chunksize is None:
            mean = seconds / calls
            self._mean = mean if self._mean is None else 0.5 * (self._mean + mean)
            self._size = self._fitting(self._size * _GROWTH)

    def _fitting(self, most: int) -> int:
        """Calls of a chunk that is long against a dispatch, and short against the job."""
        if self._mean is None:
            return 1
        aim = min(self.job.target, _WORTH * self._dispatch)
        size = min(most, int(aim / max(self._mean, 1e-9)))
        left = self.source.left()
        if left is not None:
            # All lanes have something to do until the end.
            size = min(size, -(-left // (_DEPTH * self.lanes)))
        return max(1, size)


__all__ = ["ClusterRun"]
