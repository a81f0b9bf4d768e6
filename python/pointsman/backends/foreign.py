"""A job, or a call, in an executor of the caller's own: any `concurrent.futures.Executor`.

Does not know what kind of workers that has, who decided to use it, or who shuts it down: nobody here does.

Invariants:
    E1. At most a window of calls is unfinished; of a lazy job, at most so many are ahead of the results taken.
    E2. Results come in order, or as they are ready. What a call, an input or the executor raised comes after the
        results before it.
    E3. When a job ends early, what the executor has not begun is cancelled.
    E4. The caller's thread takes the inputs and sends the calls.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _errors
from pointsman._future import Future
from pointsman._job import awaited, check_callable, is_async, on_terms
from pointsman._outcome import refuse_coroutine

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator

    from pointsman._job import Job
    from pointsman._lent import Lent
    from pointsman._plan import Plan
    from pointsman._source import Source
    from pointsman._terms import Terms

# Chunks on their way for each worker, and at least. Arbitrary: a caller that wakes up late finds its workers busy, and
# others who use the executor wait for no more than this.
_DEPTH = 4
_FEWEST = 16
# Workers of an executor that does not say how many it has. Arbitrary: enough for most clusters.
_UNKNOWN = 64
# Seconds between two looks at futures, and the most of them that are looked at. The seconds are arbitrary; those that
# end next are among the first.
_SLICE = 0.1
_LOOKED_AT = 64
# Seconds of waiting for inputs after which results that are ready are given out first.
_PATIENCE = 0.01


class Raised:
    """What a call of a chunk raised, in the place of its result; pickled it takes its traceback along as text."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException = error

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the exception and the text of its traceback."""
        import traceback

        return _raised, (self.error, "".join(traceback.format_exception(self.error)))


def _tell(done: SimpleQueue[_Flight], flight: _Flight, _future: object) -> None:
    done.put(flight)


def _raised(error: BaseException, text: str) -> Raised:
    error.__cause__ = _errors._RemoteTraceback(text)  # noqa: SLF001 - shared by the package, not public
    return Raised(error)


def serve(function: Callable[..., Any], items: list[Any], star: bool, keep_going: bool) -> list[Any]:
    """Run a chunk in a worker; it ends with the first exception, unless it shall `keep_going`."""
    results: list[Any] = []
    for item in items:
        try:
            value = function(*item) if star else function(item)
            refuse_coroutine(value, function)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the call's outcome
            results.append(Raised(error))
            if not (keep_going and isinstance(error, Exception)):
                break
        else:
            results.append(value)
    return results


def serve_one(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a call in a worker that shares no memory with the caller."""
    value = function(*args, **kwargs)
    refuse_coroutine(value, function)
    return value


class _Flight:
    """A chunk on its way; `alone` says that it is a call without the function that serves chunks."""

    __slots__ = ("alone", "count", "future")

    def __init__(self, future: concurrent.futures.Future[Any], count: int, *, alone: bool) -> None:
        self.future, self.count, self.alone = future, count, alone

    @property
    def done(self) -> bool:
        return self.future.done()


class ForeignRun:
    """What is left of a job, in an executor of the caller's."""

    def __init__(self, job: Job, plan: Plan, lent: Lent) -> None:
        self.job = job
        self.source: Source = job.source
        self.executor: concurrent.futures.Executor = lent.executor
        self.size: int = job.chunksize or plan.chunksize
        # Only where a chunk is served can be seen what a call returned that cannot travel.
        self._alone = self.size == 1 and not lent.apart
        # A `pointsman.Executor` runs coroutine functions by itself, but not within a chunk.
        whole = self._alone or not is_async(job.function)
        self._function: Callable[..., Any] = job.function if whole else awaited(job.function)
        self._window = max(_FEWEST, _DEPTH * (lent.workers or _UNKNOWN))
        self._bound: int | None = (job.buffersize or self._window * self.size) if job.lazy else None
        self._ordered = job.ordered
        # Those whose results have not been taken, in the order of their inputs.
        self._flights: deque[_Flight] = deque()
        # Those of a `pointsman.Executor` that are not known to be done: the others tell. A worker of its own that waits
        # for a call runs that meanwhile, if nothing but the wait hangs on it.
        self._asked: list[_Flight] | None = [] if lent.ours else None
        # Those that are done, and those of these that were heard of, if results are wanted as they are ready.
        self._done: SimpleQueue[_Flight] = SimpleQueue()
        self._arrived: deque[_Flight] = deque()
        self._unfinished = 0
        # Calls in all flights.
        self._ahead = 0
        self._ended = False
        # What the inputs have raised, or the executor when a call was sent.
        self._error: Exception | None = None

    def stop(self) -> None:
        """Cancel what no worker has begun (E3)."""
        self._ended = True
        while self._flights:
            # The last first: nothing that is to be cancelled begins meanwhile.
            flight = self._flights.pop()
            if not flight.future.cancel() and flight.alone:
                flight.future.add_done_callback(self._drop)

    def _drop(self, future: concurrent.futures.Future[Any]) -> None:
        """Close a coroutine that nobody will be given."""
        with suppress(_errors.InvalidTypeError):
            if raised(future) is None:
                refuse_coroutine(future.result(), self.job.function)

    def stream(self) -> Iterator[list[Any]]:
        """Yield results until the job is done; raise what a call raised after the results before it."""
        __tracebackhide__ = True
        try:
            while True:
                try:
                    self._fill()
                except Exception as why:  # noqa: BLE001 - it takes its turn behind the results of what was sent
                    self._ended, self._error = True, why
                if not self._flights:
                    if self._error is not None:
                        raise self._error
                    return
                self._wait()
                values, error = self._take()
                if values:
                    yield values
                if error is not None:
                    raise error
        finally:
            self.stop()

    def _fill(self) -> None:
        """Send chunks until the window is full (E1)."""
        began = perf_counter()
        while not self._ended:
            count = self.size if self._bound is None else min(self.size, self._bound - self._ahead)
            if count < 1 or not self._has_room():
                return
            items = self.source.take(count, brief=True)
            if not items:
                self._ended = True
                return
            flight = self._send(items)
            self._flights.append(flight)
            self._unfinished += 1
            self._ahead += flight.count
            if self._asked is not None:
                self._asked.append(flight)
            else:
                flight.future.add_done_callback(partial(_tell, self._done, flight))
            if perf_counter() - began > _PATIENCE and self._is_ready():
                return

    def _send(self, items: list[Any]) -> _Flight:
        job, star = self.job, self.source.star
        if self._alone:
            arguments = items[0] if star else items
            return _Flight(self.executor.submit(self._function, *arguments), 1, alone=True)
        sent = self.executor.submit(serve, self._function, items, star, job.keep_going)
        return _Flight(sent, len(items), alone=False)

    def _has_room(self) -> bool:
        """Whether another chunk may be sent, as far as the executor goes."""
        self._hear()
        return self._bound is not None or self._unfinished < self._window

    def _hear(self, seconds: float = 0.0) -> None:
        """Note which flights are done; wait up to so many seconds for one."""
        if self._asked is not None:
            for flight in [flight for flight in self._asked[:_LOOKED_AT] if flight.done]:
                self._asked.remove(flight)
                self._done.put(flight)
        with suppress(Empty):
            flight = self._done.get(timeout=seconds) if seconds else self._done.get_nowait()
            while True:
                self._unfinished -= 1
                if not self._ordered:
                    self._arrived.append(flight)
                flight = self._done.get_nowait()

    def _is_ready(self) -> bool:
        """Whether there is a result to be given out."""
        self._hear()
        return self._flights[0].done if self._ordered else bool(self._arrived)

    def _wait(self) -> None:
        """Wait until there is a result to be given out, or room for another chunk."""
        while not self._is_ready():
            if self._bound is None and not self._ended and self._has_room():
                return
            if self._asked:
                wait([flight.future for flight in self._asked[:_LOOKED_AT]], _SLICE, FIRST_COMPLETED)
            else:
                self._hear(_SLICE)

    def _take(self) -> tuple[list[Any], BaseException | None]:
        """Results that are ready, and the exception that comes after them."""
        values: list[Any] = []
        while (flight := self._next()) is not None:
            self._ahead -= flight.count
            error = self._open(flight, values)
            if error is not None:
                return values, error
        return values, None

    def _next(self) -> _Flight | None:
        """The next chunk whose results can be given out; it is none of those on their way any more."""
        if self._ordered:
            return self._flights.popleft() if self._flights and self._flights[0].done else None
        if not self._arrived:
            return None
        flight = self._arrived.popleft()
        # The first to be done are among the first.
        self._flights.remove(flight)
        return flight

    def _open(self, flight: _Flight, values: list[Any]) -> BaseException | None:
        """Append the results of a chunk; the exception that ends the job, if there is one."""
        keep_going = self.job.keep_going
        error = raised(flight.future)
        results = [] if error is not None else [flight.future.result()] if flight.alone else flight.future.result()
        if flight.alone and error is None:
            try:
                refuse_coroutine(results[0], self.job.function)
            except _errors.InvalidTypeError as why:
                error = why
        if error is not None:
            if not (keep_going and isinstance(error, Exception)):
                return error
            # Nobody knows which call of a chunk it was.
            values += [error] * flight.count
            return None
        for result in results:
            if type(result) is not Raised or flight.alone:
                values.append(result)
            elif keep_going and isinstance(result.error, Exception):
                values.append(result.error)
            else:
                return result.error
        return None


def raised(future: concurrent.futures.Future[Any]) -> BaseException | None:
    """What a future that is done holds in the place of a value."""
    # Whoever shuts an executor down may cancel what waits in it.
    return CancelledError() if future.cancelled() else future.exception()


class ForeignFuture(Future[Any]):
    """The outcome of a call in an executor of the caller's, which can be awaited as any other future of ours."""

    def __init__(self, inner: concurrent.futures.Future[Any], function: Callable[..., Any]) -> None:
        super().__init__()
        self._inner = inner
        self._function = function
        inner.add_done_callback(self._settle)

    def cancel(self, *, kill: bool = False) -> bool:  # noqa: ARG002 - the executor's workers are not ours to stop
        """Cancel the call if it has not begun."""
        return self._inner.cancel()

    def running(self) -> bool:
        """Whether the call runs."""
        return self._inner.running()

    def _settle(self, inner: concurrent.futures.Future[Any]) -> None:
        if inner.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = inner.exception()
        try:
            if error is None:
                refuse_coroutine(inner.result(), self._function)
        except _errors.InvalidTypeError as why:
            error = why
        if error is None:
            self.set_result(inner.result())
        else:
            self.set_exception(error)


def start(
    lent: Lent, function: Callable[..., Any], terms: Terms, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    """Start a single call and return its future."""
    check_callable(function)
    if is_async(function):
        called = on_terms(function, terms) if lent.ours else terms.wrap(awaited(function))
    else:
        called = terms.wrap(function)
    if lent.apart:
        return ForeignFuture(lent.executor.submit(serve_one, called, args, kwargs), function)
    future = lent.executor.submit(called, *args, **kwargs)
    return future if isinstance(future, Future) else ForeignFuture(future, function)
