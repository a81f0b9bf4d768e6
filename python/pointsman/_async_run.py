"""Runs a job whose function is a coroutine function: on the background loop, or spread over processes.

Every call of the job that stays in this process runs on the same loop, so that clients and locks which belong to a loop
can be used by all of them. What the loop's thread spends is measured meanwhile: coroutines that compute gain nothing
from a loop, and those that have not begun go to worker processes, each with a loop of its own.

Does not know how a stream keeps its limit, or how processes run calls.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _default, _planner
from pointsman._errors import PoolBrokenError
from pointsman._job import awaited
from pointsman._measure import Meter
from pointsman._plan import Actual, Plan
from pointsman.backends.event_loop import Call, Label, Stream, background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pointsman import _native
    from pointsman._job import Job
    from pointsman.backends.processes import ProcessRun

# Inputs ahead of the results for each place on the loop, where a job is not bounded otherwise.
_AHEAD = 4
# Inputs that are handed to the loop at a time.
_MOST_AT_ONCE = 256
# Inputs ahead of the results taken of a lazy map, if nothing is said.
_LAZY_AHEAD = 64
# Seconds of the first look at what the loop's thread spends, and how much later each further one comes: a look costs
# little, and by 20 ms the probe is sure (FEASIBILITY F).
_LOOK = 0.02
_LOOK_FACTOR = 3.0
# Share of the time on the CPU from which on a loop gains nothing: what `Plan.workload` calls CPU-bound.
_CPU_BOUND = 0.7


class AsyncRun:
    """A job of coroutines on its way: its results as a stream, and what was decided."""

    def __init__(self, job: Job, plan: Plan | None = None) -> None:
        self.job = job
        job.begin(look=False)
        self.plan = plan or _plan_for_loop(job)
        self._tell(None)
        self._given = plan is not None
        self._elsewhere: ProcessRun | None = None

    def _tell(self, before: Plan | None) -> None:
        self.job.decided(self.plan, before)

    def prepare(self) -> Plan:
        """Return the plan: to know more, calls would have to be run for nothing."""
        return self.plan

    def stream(self) -> Iterator[list[Any]]:
        """Yield lists of results in order; raise what a call raised after the results before it."""
        began, delivered = perf_counter(), 0
        error: BaseException | None = None
        try:
            for values in self._stream():
                delivered += len(values)
                yield values
        except BaseException as why:
            error = why
            raise
        finally:
            self.job.ended(delivered, perf_counter() - began, error)
        self.plan.actual = Actual(seconds=perf_counter() - began, calls=delivered, backend=self.plan.backend)

    def _stream(self) -> Iterator[list[Any]]:
        job = self.job
        looks = job.backend == "auto" and not self._given and job.max_workers is None and job.source.sized
        flight = _Flight(job, looks=looks)
        try:
            yield from flight.stream(self._moves, self._move)
        finally:
            flight.stop()
            if self.plan.backend == "asyncio" and job.max_workers is None:
                self.plan.max_workers = flight.most
        if self._elsewhere is not None:
            yield from self._elsewhere.stream()

    def _move(self, base: int) -> None:
        """Start what is left, from the input of that index on, on worker processes."""
        from pointsman.backends.processes import ProcessRun

        self.job.function = awaited(self.job.function)
        self._elsewhere = ProcessRun(self.job, self.plan, None, base)
        self._elsewhere.start()

    def _moves(self, seen: _native.Observation, left: int) -> bool:
        """Whether the calls that have not begun are better off in processes; called on the caller's thread."""
        from pointsman._meaning import judge

        job = self.job
        verdict = judge(job.asked, ())
        struck = {
            "threads": "coroutines of a job share one event loop",
            "interpreters": "coroutines that compute are spread over processes",
        }
        if not verdict.may_travel:
            struck["processes"] = "; ".join(verdict.reasons)
        plan = _planner.decide(
            seen,
            calls=left,
            threads_running=0,
            processes_running=_default.processes_running(),
            caller_shares=False,
            struck=struck,
            chunksize=job.chunksize,
            target_chunk_seconds=job.target,
            function=job.name,
            all_calls=job.source.left(),
        )
        if plan.backend != "processes":
            return False
        try:
            # Better now than after the loop has been given up.
            from pointsman._transport import dumps_anyway

            dumps_anyway(job.function)
        except Exception:  # noqa: BLE001 - whatever pickling runs into, the calls stay
            return False
        plan.caller_shares = False
        plan.reasons = (*plan.reasons, "its coroutines compute: an event loop would run them one after another")
        before, self.plan = self.plan, plan
        self._tell(before)
        return True


def _plan_for_loop(job: Job) -> Plan:
    asked = job.backend == "asyncio"
    return Plan(
        backend="asyncio",
        # Without a limit the loop finds out how many pay.
        max_workers=job.max_workers or 0,
        chunksize=1,
        function=job.name,
        calls=job.source.left(),
        reasons=(f"backend={job.backend!r} was asked for",) if asked else ("its calls are coroutines",),
    )


class _Flight:
    """The calls of one job on the background loop.

    Between the caller's thread and the loop's: the loop puts outcomes into `_done` and sets `_news`; the caller takes
    them out and pushes more inputs.
    """

    def __init__(self, job: Job, *, looks: bool) -> None:
        self._job = job
        self._source = job.source
        self._loop = background()
        self._streaming = Stream(self._loop, job.max_workers)
        self._context = copy_context()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._done: dict[int, tuple[bool, Any]] = {}
        self._calls: dict[int, Call] = {}
        self._pushed = self._taken = 0
        self._failed: int | None = None
        # What the inputs have raised: it comes after the results of those before it.
        self._inputs_raised: Exception | None = None
        self._meter: Meter | None = None
        self._finished = 0
        self._seen: _native.Observation | None = None
        self._looks = looks
        if looks:
            self._loop.call_soon_threadsafe(self._begin_look)

    # ------------------------------------------------------------------- the caller's thread

    @property
    def most(self) -> int:
        """Calls that were let run at a time in the end."""
        return self._streaming.climb.limit

    def stream(
        self, moves: Callable[[_native.Observation, int], bool], move: Callable[[int], None]
    ) -> Iterator[list[Any]]:
        """Yield results in order until all are there, or all before those that went elsewhere.

        `moves` says whether the rest goes elsewhere, and `move` sends it there, given its first index.
        """
        moving = False
        while True:
            self._news.clear()
            if not moving:
                self._feed()
            values, raised = self._take()
            if values:
                yield values
            if raised is not None:
                raise raised
            if self._taken == self._pushed and (moving or self._source.ended):
                if self._inputs_raised is not None:
                    raise self._inputs_raised
                return
            if self._seen is not None and not moving:
                seen, self._seen = self._seen, None
                moving = self._move(seen, moves)
                if moving:
                    move(self._pushed)
                continue
            if not values:
                self._wait(self._news)

    def _feed(self) -> None:
        source, job = self._source, self._job
        limit = self._streaming.climb.limit
        room = (job.buffersize or (_LAZY_AHEAD if job.lazy else _AHEAD * limit)) - (self._pushed - self._taken)
        if source.ended or self._failed is not None or room <= 0:
            return
        try:
            items = source.take(min(room, _MOST_AT_ONCE), brief=True)
        except Exception as why:  # noqa: BLE001 - it takes its turn behind the results
            self._inputs_raised = why
            return
        calls = []
        for item in items:
            call = self._call(self._pushed, item)
            self._calls[self._pushed] = call
            self._pushed += 1
            calls.append(call)
        if calls:
            self._streaming.push(calls)
        if len(items) < room:
            # There is room for more, which may be slow to come: what has arrived is handed on before.
            self._news.set()

    def _call(self, index: int, item: Any) -> Call:
        function = self._job.function
        make = partial(function, *item) if self._source.star else partial(function, item)
        call = Call(make, partial(self._ended, index), self._context.copy())
        if self._job.number:
            call.label = Label(self._job.name, self._job.number, index)
        return call

    def _take(self) -> tuple[list[Any], BaseException | None]:
        values: list[Any] = []
        with self._lock:
            while self._done:
                # As they were finished, the earliest first; or the one whose turn it is.
                index = self._taken if self._job.ordered else next(iter(self._done))
                if index not in self._done:
                    break
                good, value = self._done.pop(index)
                self._calls.pop(index, None)
                if not good and not (self._job.keep_going and isinstance(value, Exception)):
                    return values, value
                values.append(value)
                self._taken += 1
        return values, None

    def _wait(self, event: threading.Event) -> None:
        # In slices, so that Ctrl-C is heard on every system, and the end of the loop.
        while not event.wait(0.1):
            if self._loop.is_closed():
                message = "the program is ending: the rest of this job is not run"
                raise PoolBrokenError(message)

    def _move(self, seen: _native.Observation, moves: Callable[[_native.Observation, int], bool]) -> bool:
        """Ask whether the rest is to go elsewhere, and take back what has not begun if it is."""
        waiting = len(self._streaming.waiting)
        left = (self._source.left() or 0) + waiting
        if not left or not moves(seen, left):
            return False
        back: list[tuple[int, Any]] = []
        taken = threading.Event()

        def give_back() -> None:
            held = self._streaming.waiting
            kept = {id(call) for call in held}
            back.extend((index, call.make.args) for index, call in self._calls.items() if id(call) in kept)  # type: ignore[attr-defined]
            held.clear()
            taken.set()

        self._loop.call_soon_threadsafe(give_back)
        self._wait(taken)
        for index, _ in back:
            del self._calls[index]
        self._pushed -= len(back)
        items = [args if self._source.star else args[0] for _, args in sorted(back, key=lambda pair: pair[0])]
        self._source.put_back(items)
        return True

    def stop(self) -> None:
        """Cancel what is left."""
        if self._loop.is_closed():
            return

        def cancel() -> None:
            self._end_look()
            self._streaming.waiting.clear()
            for call in list(self._streaming.running):
                if call.task is not None:
                    call.task.cancel()

        self._loop.call_soon_threadsafe(cancel)

    # ------------------------------------------------------------------- the loop's thread

    def _ended(self, index: int, task: asyncio.Task[Any] | None, error: BaseException | None) -> None:
        if task is None:
            good, value = False, error
        elif task.cancelled():
            good, value = False, asyncio.CancelledError()
        else:
            value = task.exception()
            good = value is None
            if good:
                value = task.result()
        with self._lock:
            self._done[index] = (good, value)
        if not good and not (self._job.keep_going and isinstance(value, Exception)):
            # Nothing after it is wanted; what was begun before it is let finish.
            self._failed = index if self._failed is None else min(self._failed, index)
            self._streaming.waiting.clear()
        if index == self._taken or not self._job.ordered or not self._streaming.waiting:
            self._news.set()

    def _begin_look(self) -> None:
        # Until it is known whether they compute: what computes keeps the loop from looking.
        self._streaming.one_by_one = True
        self._meter = Meter()
        self._meter.begin(look=True)
        self._loop.call_later(_LOOK, self._look, _LOOK)

    def _end_look(self) -> None:
        if self._meter is not None:
            meter, self._meter = self._meter, None
            meter.end(1, keep=False)
            meter.close()

    def _look(self, after: float) -> None:
        """See what the loop's thread has spent on the calls so far."""
        meter, streaming = self._meter, self._streaming
        if meter is None:
            return
        finished, self._finished = streaming.finished - self._finished, streaming.finished
        meter.end(max(1, finished + len(streaming.running)), keep=True)
        streaming.one_by_one = meter.cpu >= _CPU_BOUND * meter.wall
        if streaming.one_by_one and streaming.waiting:
            # Begun, not finished: calls that take turns all finish at the end. So the figure is a lower bound.
            self._seen = meter.observation(partial=finished == 0)
            self._news.set()
        if streaming.waiting or not self._source.ended:
            meter.forget()
            meter.begin(look=True)
            self._loop.call_later(after * _LOOK_FACTOR, self._look, after * _LOOK_FACTOR)
        else:
            self._meter = None
            meter.close()
