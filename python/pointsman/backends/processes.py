"""Worker processes: chunks go out sized by measured cost, results come back, and the caller may take part.

Does not know how calls travel (the native pool does) or who decided.
"""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from pointsman import _default, _machine, _native, _pilot, _plain, _pool
from pointsman._ending import stay_if_daemon
from pointsman._errors import CannotTravelError
from pointsman._locks import fork_safe_lock
from pointsman.backends.inline import run_batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pointsman._job import Job
    from pointsman._plan import Plan
    from pointsman._source import Source

# Chunks in flight for each lane: one that runs, and enough behind it that the caller may be busy for a while.
_CHUNKS_PER_LANE = 3
# Inputs ahead of the results taken, for each lane of a lazy map, if nothing is said: enough for chunks of tiny calls.
# Of longer calls there are this many times as many as the lanes have under way.
_LAZY_CALLS_PER_LANE = 8192
_LAZY_ROUNDS = 2
# Seconds of calls in a chunk, at most. The threads of a worker of a lazy map share them: what they run at a time is
# ahead of what was asked for.
_CHUNK_SECONDS = 0.05
# Seconds of calls that the caller runs itself between two looks at the workers.
_CALLER_SECONDS = 0.005
# Seconds that calls get to end by themselves after a Ctrl-C, which a terminal sends to the workers, too. Arbitrary.
_GRACE = 0.1
# Seconds of the caller's calls after which, and between which, the pilot sends chunks in its place. Arbitrary from 5 to
# 20 ms: twice what those calls are expected to take, less than the chunks in flight do.
_AT_THE_HELM = 0.01
# Calls in the first chunks while nothing is known of their cost.
_FIRST_CHUNK = 1
# Workers that a job gets by itself at most, and bytes of the memory there is for each. Arbitrary: as many threads as
# `concurrent.futures.ThreadPoolExecutor` gives by itself; twice what a worker with a few imports takes.
_MOST_WORKERS, _MEMORY_EACH = 32, 64 << 20


class ProcessRun:
    """What is left of a job, on worker processes; the caller's thread takes part if the plan says so.

    `start` may be called from another thread than `stream`, before it. `mean` is the expected seconds per call, if any;
    `base` is the index of the first input in the whole job.
    """

    def __init__(self, job: Job, plan: Plan, mean: float | None, base: int) -> None:
        processes = max(1, plan.processes)
        pool = _default.processes(processes, plan.threads_per_worker, _machine.facts().cores)
        # Held as long as calls may be sent to it: another may take its place.
        self.pool: Any = pool
        native = _pool.job(
            pool,
            job.function,
            star=job.source.star,
            keep_going=job.keep_going,
            base=base,
            terms=job.terms.native and job.terms.native_for(standard=_pool.is_standard()),
            number=job.number,
            ordered=job.ordered,
            # What is chosen automatically writes to nothing that another call could miss.
            slim=job.backend == "auto",
        )
        # A pool with more workers than this job may use gets no more at a time than these are to run.
        depth = _CHUNKS_PER_LANE if pool.size <= processes else 1
        self.take_up(job, native, plan, mean, base, lanes=processes * plan.threads_per_worker, depth=depth)
        # Calls that must not have threads, which cannot be stopped, share the cores as threads would.
        self._widens = job.backend == "auto" and job.terms.needs_process and job.max_workers is None

    def take_up(
        self, job: Job, native: Any, plan: Plan, mean: float | None, base: int, *, lanes: int, depth: int
    ) -> None:
        """Be the run of `native`, which sends calls to `lanes` workers, `depth` chunks ahead for each."""
        self.job = job
        self.base = base
        self.native: _native.ProcessJob = native
        self.source: Source = job.source
        self.shares: bool = plan.caller_shares and job.caller_shares
        threads = max(1, plan.threads_per_worker)
        self.target: float = min(job.target, _CHUNK_SECONDS / (threads if job.lazy else 1))
        # Many lanes are ahead enough by what they have under way.
        self.rounds: int = _LAZY_ROUNDS if threads == 1 else 1
        self.lanes: int = lanes
        self.depth: int = depth
        self.mean = mean
        self.pushed: int = 0
        self.bytes: int = 0
        # Set once the rest was given back: no further input is taken then.
        self.closed: bool = False
        # Held by whoever takes inputs and sends them: the caller, or the pilot while the caller runs calls.
        self._sending = fork_safe_lock()
        self._calling = False
        # Whether the pilot has met an input that only the caller can send.
        self._stuck = False
        # What the inputs have raised: it comes after the results of those before it.
        self._inputs_raised: Exception | None = None
        self._plan = plan
        self._widens = False

    def start(self) -> None:
        """Send the first chunks."""
        with self._sending:
            self.feed(helps=False)

    def checkpoint(self) -> float:
        """Send chunks while the caller is in a call that lasts; the seconds until the next look, 0 for none."""
        with self._sending:
            if not self._calling or self.source.ended:
                return 0.0
            self.feed(helps=False)
            return 0.0 if self.closed or self._stuck else _AT_THE_HELM

    def grow(self, plan: Plan) -> None:
        """Do nothing: another number of processes is another place, which is for a look back to choose."""

    def growable(self) -> int:
        """Calls that have not come back, or 0 when each of them has a worker."""
        unfinished, left, _pushed, _taken = self.native.figures()
        return 0 if self.source.ended and unfinished <= self.lanes else left + (self.source.left() or 0)

    def give_back(self) -> list[Any]:
        """Take no further inputs, cancel the chunks that no worker has begun, and return theirs."""
        self.closed = True
        return self.native.give_back()

    def stream(self) -> Iterator[list[Any]]:
        """Yield results until the job is done, in order unless they are wanted as they are ready."""
        __tracebackhide__ = True
        try:
            yield from self._loop()
        except (Exception, GeneratorExit):
            self.stop()
            if self.job.terms.kill_on_cancel:
                self.native.kill(0.0)
            raise
        except BaseException:
            # Ctrl-C, which has not reached the workers if it was not typed in their terminal.
            self.stop()
            self.native.kill(_GRACE)
            raise
        self.stop()

    def stop(self) -> None:
        """Take no further inputs, and cancel what no worker has begun."""
        self.closed = True
        self.native.stop()

    def _loop(self) -> Iterator[list[Any]]:
        __tracebackhide__ = True
        while True:
            with self._sending:
                fed = self.feed()
            values, raised = self.native.take()
            # Who gets the list may empty it.
            news = bool(values)
            if news:
                yield values
            if raised is not None:
                # It may be that the pool has been ended, with the program.
                stay_if_daemon()
                raise raised
            unfinished, left, _pushed, _taken = self.native.figures()
            ended = self.closed or self.source.ended
            if ended and not left:
                if self._inputs_raised is not None:
                    raise self._inputs_raised
                return
            if self._widens:
                self._widen(unfinished)
            if self.shares and self.run_some():
                continue
            if not fed and not news:
                # With the source at its end only results are news; else a free place in the rings is, too.
                self.native.wait(None, 0 if ended else max(0, unfinished - 1))

    def _widen(self, unfinished: int) -> None:
        """Have as many workers as keep the cores busy, by what calls have waited so far.

        That is cores x (1 + wait / compute): B. Goetz, Java Concurrency in Practice, section 8.2.
        """
        calls, wall, cpu = self.native.observed()
        if calls < self.lanes:
            return
        facts = _machine.facts()
        most = min(_MOST_WORKERS, facts.memory_limit // _MEMORY_EACH, unfinished + (self.source.left() or 1 << 20))
        wanted = min(most, int(facts.cores * wall / max(cpu, 1e-9)))
        # Less than twice as many is what a machine looks like whose cores others share.
        if wanted >= 2 * self.lanes:
            self.pool.grow(wanted)
            self.lanes = self._plan.max_workers = self._plan.processes = wanted

    def feed(self, *, helps: bool = True) -> bool:
        """Send chunks until the workers have enough; whether any was sent.

        Without `helps` this is not the caller's thread: what may run the user's code, or cannot be sent, is left to it.
        """
        fed = self._stuck = False
        if not helps and not self.source.quiet:
            self._stuck = True
        while not (self.closed or self.source.ended or self._stuck):
            unfinished, left, _pushed, _taken = self.native.figures()
            if unfinished >= self.lanes * self.depth:
                break
            wanted = self.chunk()
            room = self.room(left, wanted)
            if room <= 0:
                break
            index, count = self.source.next_place, min(wanted, room, self.source.unbroken)
            items = self._take(count)
            if not items:
                break
            if helps:
                self._send(items, index)
            elif not self._send_quietly(items, index):
                break
            self.pushed += len(items)
            fed = True
        return fed

    def _take(self, count: int) -> list[Any]:
        try:
            return self.source.take(count)
        except Exception as why:  # noqa: BLE001 - it takes its turn behind the results
            self._inputs_raised = why
            return []

    def _send(self, items: list[Any], index: int) -> None:
        try:
            self.bytes += self.native.push(items, index)
        except CannotTravelError:
            self.push_one_by_one(items, index)

    def _send_quietly(self, items: list[Any], index: int) -> bool:
        """Send inputs from another thread than the caller's; what is not plain, or fails, is left to the caller."""
        # Whatever it is that fails, the caller will meet it, too.
        with suppress(BaseException):
            if _plain.run_no_code(items):
                self.bytes += self.native.push(items, index)
                return True
        self.source.put_back(items)
        self._stuck = True
        return False

    def push_one_by_one(self, items: list[Any], index: int) -> None:
        """Send inputs of which one at least cannot travel: the caller runs that, or its place gets the error.

        `index` is that of the first of them in the whole job.
        """
        for place, item in enumerate(items, index):
            try:
                self.native.push([item], place)
            except CannotTravelError as why:
                first = self.native.reserve(1)
                if self.shares:
                    self.run_here(first, [item])
                    continue
                # It was sent alone: its place among what was sent says nothing.
                kind, found, reason = str(why).removeprefix("item 0 of this chunk (").partition(")")
                text = f", {kind},{reason}" if found else f": {why}"
                error = CannotTravelError(f"item {place} of the inputs of {self.job.name}{text}")
                error.__cause__ = why.__cause__
                self.native.fill(first, [], error)

    def room(self, left: int, count: int) -> int:
        """Inputs that may be taken while `left` results are still to be taken, in chunks of `count`."""
        if not self.job.lazy:
            return 1 << 40
        ahead = min(_LAZY_CALLS_PER_LANE * self.lanes, self.rounds * self.lanes * self.depth * count)
        return (self.job.buffersize or ahead) - left

    def chunk(self) -> int:
        """Calls in the next chunk."""
        job = self.job
        if job.chunksize is not None:
            return job.chunksize
        calls, wall, _cpu = self.native.observed()
        if calls:
            self.mean = wall / calls
        left = self.source.left()
        lanes = self.lanes + self.shares
        if self.mean is None and left is not None and (known := self.native.known()) is not None:
            # Of these inputs nothing is known yet: whatever they take, a chunk of them is a small part of all.
            count = _native.chunk_size(left, lanes, known, 0.0, self.target)
            count = min(count, max(1, left // (_native.FAIR * self.lanes)))
        elif self.mean is None:
            # Nothing is known yet: more each time, until the first chunk is back, but only so much that it does not
            # matter which worker gets it.
            some = max(self.pushed // (2 * self.lanes), min(self.pushed, (left or 0) // (_native.FAIR * self.lanes)))
            count = _FIRST_CHUNK if self.pushed < self.lanes else max(1, some)
        else:
            count = _native.chunk_size(left if left is not None else 1 << 40, lanes, self.mean, 0.0, self.target)
        if self.pushed and self.bytes:
            count = min(count, max(1, _native.CHUNK_BYTES * self.pushed // self.bytes))
        count = min(count, _native.CHUNK_CALLS)
        if job.lazy and job.buffersize is not None:
            count = min(count, max(1, job.buffersize // (2 * self.lanes)))
        return count

    def run_some(self) -> bool:
        """Run some calls on the caller's thread: new ones, or a chunk that no worker has begun; whether any were."""
        source = self.source
        if not (self.closed or source.ended):
            chunk = self.chunk()
            # No longer than what the workers have ahead of them.
            most = max(1, self.depth - 1) * chunk
            count = max(1, min(most, int(_CALLER_SECONDS / max(self.mean or _CALLER_SECONDS, 1e-9))))
            room = self.room(self.native.figures()[1], chunk)
            items = self._take(min(count, room)) if room > 0 else []
            if not items:
                return False
            first = self.native.reserve(len(items))
            if source.quiet and not self.job.lazy:
                self._run_at_the_helm(first, items)
                return True
        else:
            stolen = self.native.steal()
            if stolen is None:
                return False
            first, items = stolen
        self.run_here(first, items)
        return True

    def _run_at_the_helm(self, first: int, items: list[Any]) -> None:
        """Run a chunk on the caller's thread; if it lasts, the pilot sends to the workers meanwhile."""
        try:
            self._calling = True
            _pilot.sending.watch(self, _AT_THE_HELM)
            self.run_here(first, items)
        finally:
            self._calling = False
            _pilot.sending.land(self)
            # Whoever sends is let finish.
            with self._sending:
                pass

    def run_here(self, first: int, items: list[Any]) -> None:
        """Run a chunk on the caller's thread."""
        job, source = self.job, self.source
        results: list[Any] = []
        raised: BaseException | None = None
        began = perf_counter()
        try:
            function = job.at(self.base + first)
            run_batch(function, items, iter(items), results, star=source.star, keep_going=job.keep_going)
        except Exception as error:  # noqa: BLE001 - it takes its turn among the results
            raised = error
        if self.mean is None and results:
            self.mean = (perf_counter() - began) / len(results)
        self.native.fill(first, results, raised)
