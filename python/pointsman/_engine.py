"""Runs a job: measures the first calls, asks for a plan, and runs the rest as planned.

Does not know how a backend runs calls, or what the public functions look like. Results come out in order, each input is
computed once: the measured calls are the job's own.
"""

from __future__ import annotations

import threading
from _contextvars import copy_context
from time import perf_counter

from pointsman import _advice, _ahead, _asking, _clusters, _default, _learning, _native, _planner
from pointsman import _pilot as pilots
from pointsman._brief import MOST, is_brief
from pointsman._errors import CannotTravelError, PoolBrokenError
from pointsman._locks import fork_safe_rlock, in_the_end
from pointsman._looking import AWAY, BUSY, Looking
from pointsman._meaning import Verdict, judge_all
from pointsman._measure import Meter, carried
from pointsman._placing import Caller, open_run
from pointsman._plan import Actual, Plan
from pointsman._source import InTurn, Stretch
from pointsman.backends import inline
from pointsman.backends.threads import ThreadRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from pointsman._job import Job
    from pointsman._plan import Sample
    from pointsman.backends.processes import ProcessRun

# Seconds of work below which nothing can be gained by going elsewhere: two threads cost that much to start.
_TRIFLE = 0.5e-3
# Seconds of measured calls after which the figures are good enough to decide: the probe is within 5 points after 5 ms
# (FEASIBILITY F).
_ENOUGH = 4e-3
# A single call this long is measured well by itself.
_LONG_CALL = 1e-3
# Calls left from which on one more measured call costs little.
_MANY = 12
# Work below which the function is not read for what it writes: no process would be started for it anyway.
_WORTH_READING = 5e-3
# Seconds of work before which the function is read for the plan's sake, if nothing rests on that: it takes 10 ms.
_WORTH_EXPLAINING = 0.3
# Times the first call's seconds for which the next is not looked at. Arbitrary from 1.2 to 2.
_UNDISTURBED = 1.5
# Share of the calls' time, spent on fresh memory, from which on workers, who keep theirs, may be better than threads.
_SAVED = 0.05
# Seconds that an input's call must take for its type to be looked at: a look takes 40 ns.
_A_LOOK = 2e-6
# A plain loop whose calls cost this many times what was measured is worth another look. Arbitrary between 2 and 5.
_DRIFT = 3.0


class Run(Looking):
    """A job on its way: its results as a stream, and what was decided."""

    def __init__(self, job: Job, plan: Plan | None = None) -> None:
        if plan is not None:
            job.terms.check(plan.backend)
        self.job = job
        job.begin(look=plan is not None or job.backend == "inline" or job.max_workers == 1)
        self._decided: Plan | None = None
        self._latest: Plan | None = None
        self.plan = plan
        # Results that were given, and those of them that were made in their turn.
        self.delivered = self._in_turn = 0
        self._ahead: _ahead.Ahead | None = None
        self._total = job.source.left()
        self._given = plan
        # The plain loop that ended early for another look.
        self._looped: Plan | None = None
        self._meter: Meter | None = None
        self._struck: dict[str, str] = {}
        self._verdict: Verdict | None = None
        # What earlier jobs of this function have taught, whether this one's first calls are like theirs, and whether
        # somebody wants to know what each choice would cost.
        self._recalled: _learning.Recalled | None = None
        self._as_before = self._trusting = self._foreseen = self._explains = False
        # Whether others were started beside a measured call, and the figures of those before it.
        self._crowded = False
        self._alone: _native.Observation | None = None
        self._samples: list[Sample] = []
        # Whether every result so far was None.
        self._only_none = True
        self._arguments: list[Any] = []
        self._results: list[Any] = []
        # Between this thread and the pilot's: what runs now, and the run that the pilot has begun beside it.
        self._lock = fork_safe_rlock()
        self._context = copy_context()
        self._daemon = threading.current_thread().daemon
        self._caller = threading.get_ident()
        self._running: tuple[list[Any] | range | Stretch, Iterator[Any]] | None = None
        self._early: ThreadRun | ProcessRun | None = None
        self._begun = self._left = 0
        self._start = perf_counter()

    @property
    def plan(self) -> Plan | None:
        """What was decided last; None while calls are measured."""
        return self._decided

    @plan.setter
    def plan(self, plan: Plan | None) -> None:
        self._decided = plan
        if plan is not None and plan is not self._latest:
            before, self._latest = self._latest, plan
            self.job.decided(plan, before)

    def stream(self) -> Iterator[list[Any]]:
        """Yield lists of results in order; raise what a call raised after the results before it."""
        self._start = began = perf_counter()
        __tracebackhide__ = True
        error: BaseException | None = None
        results = self._stream()
        try:
            for values in results:
                self._in_turn += len(values)
                for ready in (values,) if self._ahead is None else self._ahead.merge(values, self.delivered):
                    self.delivered += len(ready)
                    yield ready
            self._learn()
        except BaseException as why:
            error = why
            if isinstance(why, CannotTravelError) and self.job.backend == "auto" and self._recalled is not None:
                self._recalled.keep_here()
            raise
        finally:
            results.close()
            self.job.ended(self.delivered, perf_counter() - began, error)
            if self._meter is not None:
                self._meter.close()
        if (plan := self.plan) is not None:
            plan.samples = tuple(self._samples)
            seconds = perf_counter() - began
            after = seconds - plan.decided_after
            plan.actual = Actual(seconds=seconds, after_decision=after, calls=self.delivered, backend=plan.backend)

    def _read_for_plan(self, plan: Plan) -> None:
        """Let a plan that is asked for say what the code itself promises, where nothing rests on that."""
        if self._verdict is None and self._meter is not None and self.job.backend == "auto":
            _advice.read(plan, self._judge(), only_none=self._only_none)

    def prepare(self) -> Plan:
        """Measure and decide without running the rest; the results of the measured calls are dropped."""
        self._explains = True
        self.plan = _asking.fixed(self.job)
        if self.plan is None:
            for values in self._sample(watched=False):
                self.delivered += len(values)
                self._in_turn += len(values)
            self._look_ahead()
            self.plan = self.decide()
            self._read_for_plan(self.plan)
            self._learn()
            if self._meter is not None:
                self._meter.close()
        return self.plan

    def _learn(self) -> None:
        """Keep what was measured for the next job of this function."""
        meter, known = self._meter, self._recalled
        if meter is None or known is None or self._as_before or not meter.calls or self._corrects():
            return
        # Calls beside which others were started have waited for those, too.
        seen = meter.observation() if not self._crowded or meter.calls == 1 else self._alone
        if seen is not None and seen.calls * seen.wall >= _LONG_CALL:
            known.learn(_planner.observed(seen))

    def _stream(self) -> Generator[list[Any]]:
        """Run calls that cannot last, and whatever else as it turns out to be best."""
        __tracebackhide__ = True
        self.plan = self._given or _asking.fixed(self.job)
        if self.plan is None and self._is_brief():
            yield from self._hurry()
            if self.plan is not None:
                return
        yield from self._stream_looking()

    def _stream_looking(self) -> Iterator[list[Any]]:
        """Measure, decide and run; and again, if the calls turn out to cost something else."""
        source = self.job.source
        __tracebackhide__ = True
        # Before the first call that may last, which is to be like those that follow.
        _native.keep_some_freed()
        while True:
            if self.plan is None:
                yield from self._sample(watched=True)
                if self._early is None and not self._decides():
                    continue
            if self._early is None:
                yield from self._follow()
            if self._early is not None:
                try:
                    agreed = self._look_back(self._early)
                except BaseException:
                    # As a Ctrl-C does, in a call that is made meanwhile.
                    self._early.stop()
                    raise
                yield from self._early.stream()
                self._early = None
                if agreed is not None:
                    self.plan = agreed
                    continue
            if source.ended:
                return
            self._looped = self.plan if self.plan is not None and self.plan.backend == "inline" else None
            self.plan = None

    def _decides(self) -> bool:
        """Decide about what is left, unless inputs were taken on trust that others must not be given."""
        self._look_ahead()
        plan = self.decide()
        if plan.backend != "inline" and self.job.source.trusted():
            return False
        self.plan = plan
        if self.job.explained and (plan.estimated_seconds or 0.0) > _WORTH_EXPLAINING:
            self._read_for_plan(plan)
        return True

    def _is_brief(self) -> bool:
        """Whether all calls together are over before anybody could look at one, by what the code says."""
        job, inputs = self.job, self.job.source.untouched
        if job.backend != "auto" or job.lazy or job.profile or job.sample_size is not None or self._explains:
            return False
        return bool(inputs) and len(inputs) <= MOST and is_brief(job.asked, inputs)

    def _hurry(self) -> Iterator[list[Any]]:
        """Run calls that cannot last as the plain loop would, for as long as the clock agrees."""
        job, source = self.job, self.job.source
        __tracebackhide__ = True
        count, calls, spent = 16, 0, 0.0
        while items := source.take(count):
            results: list[Any] = []
            began, how = perf_counter(), {"star": source.star, "keep_going": job.keep_going, "whole": True}
            try:
                results = inline.run_batch(job.at(self._in_turn), items, iter(items), results, **how)
            except Exception:
                yield results
                raise
            took = perf_counter() - began
            spent, calls, left = spent + took, calls + len(items), source.left() or 0
            self._only_none = self._only_none and results[0] is None
            if not left:
                mean = spent / calls
                seen = _native.Observation(calls=calls, held=mean, free=0.0, wait=0.0)
                self.plan = self._advised(_asking.trifle(job, seen, 0, self._total, 0.0))
                self.plan.decided_after = perf_counter() - self._start
            yield results
            # The first few are slow for being the first.
            if took > _TRIFLE or (calls > count and left * took / len(items) > _TRIFLE):
                return
            count *= 8

    def _look_back(self, early: ThreadRun | ProcessRun) -> Plan | None:
        """Hold the plan that was made on a call in its course against the whole call.

        If they agree the run goes on with the better figures. If not, what it has not begun is put back, and the plan
        for that is returned.
        """
        plan, left = self.plan, early.growable()
        if plan is None or self._meter is None or not self._meter.calls:
            return None
        if self._foreseen and self._recalled is not None:
            self._foreseen = self._recalled.agrees(self._meter.wall, self._meter.cpu, self._meter.calls)
        # What the first call waited for may have been our starting others; theirs tell, unless it was said how many do.
        theirs = early.observed() if isinstance(early, ThreadRun) and self.job.sample_size is None else None
        seen = None if theirs is None else self._meter.corrected(*theirs)
        if not left:
            # Nothing can be changed any more; the figures can be those of a whole call.
            again = self.decide(left=self._left, seen=seen)
            if again.place == plan.place:
                again.max_workers, again.decided_after = plan.max_workers, plan.decided_after
                self.plan = again
            else:
                plan.price_again(again)
            return None
        later = self.decide(left=left, seen=seen)
        if later.place == plan.place:
            early.grow(later)
            self.plan = later
            return None
        # A first call may be like no other, and its figures those of its company. Cores that are busy say more.
        stays = isinstance(early, ThreadRun) and self._meter.calls == 1 and early.has_all_cores()
        if stays or not later.gains_on(plan):
            plan.price_again(later)
            plan.decided_after = later.decided_after
            return None
        self.job.source.put_back(early.give_back())
        return later

    def _sample(self, *, watched: bool) -> Iterator[list[Any]]:
        """Run the first calls here, measured, until it is known what a call is like. Their results count."""
        job, source = self.job, self.job.source
        __tracebackhide__ = True
        if self._meter is not None:
            self._meter.close()
        meter = self._meter = Meter(self._start)
        self._alone = None
        count, wanted = 1, job.sample_size
        # What was remembered is for a run's first calls; who asks for figures gets those of calls made now.
        self._trusting = watched and self._recalled is None and wanted is None and not job.profile
        self._as_before = False
        while items := source.in_turn(inline.bounded(job, count), inline.aim(job), timed=True):
            self._arguments = items[:3]
            job.example = self._arguments[0]
            self._recall(self._arguments[0])
            for results in self._batch(items, look=True, watched=watched):
                self._results = results[:3]
                self._only_none = self._only_none and all(result is None for result in results)
                if job.profile and results:
                    self._samples.append(meter.last(len(results), items[:1], results[:1]))
                yield results
            if self._early is not None:
                return
            if meter.mean > _LONG_CALL and not meter.looked_twice and meter.cpu > BUSY * meter.wall:
                # Before others are started beside a call that lasts: then it would be too late to know.
                self._size(meter, list(items[:1]), self._results[:1])
            if self._is_enough(meter):
                return
            self._prepare_soon(meter, source.left())
            count = 1 if job.profile else max(1, min(int(1e-3 / max(meter.mean, 1e-9)), count * 8))
            if wanted is not None:
                count = min(count, wanted - meter.calls)

    def _recall(self, item: Any) -> None:
        """Learn what earlier jobs of the function have taught, `item` being the first input of this one."""
        if self._recalled is None:
            if self.job.source.gives_iterators(item):
                self._strike("an input that is an iterator may be good only until the next is taken", "threads")
            self._recalled = _learning.recall(self.job.asked, item, star=self.job.source.star)
            if self._recalled is not None and self._recalled.stays:
                self._strike("a result of an earlier call could not be pickled")

    def _look_ahead(self) -> None:
        """Make a few calls from all over the list before it is decided, if nobody can see that: it may be sorted."""
        job, meter, left = self.job, self._meter, self.job.source.left()
        if self._ahead is not None or self._as_before or meter is None or not left or not _ahead.may_be(job):
            return
        if _ahead.is_worth_it(meter, left):
            self._judge()
            if self._verdict is not None and self._verdict.may_travel and _ahead.nobody_sees(job, self._arguments):
                self._ahead = _ahead.Ahead(job)
                self._ahead.run(meter)

    def _is_enough(self, meter: Meter) -> bool:
        """Whether what was measured will do for a decision."""
        left, wanted = self.job.source.left(), self.job.sample_size
        known = self._recalled
        if self.job.source.repeats.unsure and wanted is None:
            return False
        if self._trusting and known is not None and known.agrees(meter.wall, meter.cpu, meter.calls):
            self._as_before = True
            return True
        if wanted is not None:
            return meter.calls >= wanted
        doubtful = meter.spinners.are_there and (meter.held > BUSY * meter.wall or self._may_be_nested())
        if (meter.unsettled or doubtful) and (left is None or left > 1):
            return False
        if left is not None and left * meter.mean < _TRIFLE:
            return True
        if meter.mean >= _LONG_CALL and not meter.looked_twice and (left is None or left >= _MANY):
            # The first call may have imported, opened and filled what later ones find: one more tells.
            self._alone = meter.observation()
            self._prepare_soon(meter, left)
            meter.forget()
            return False
        return meter.wall >= _ENOUGH or meter.mean >= _LONG_CALL or meter.waits

    def _batch(self, items: list[Any] | range | Stretch | InTurn, *, look: bool, watched: bool) -> Iterator[list[Any]]:
        """Run a batch on this thread and yield its results.

        With `look` what it took is measured. With `watched`, a call that lasts is looked at while it runs, and others
        are started beside it.
        """
        job, meter, source = self.job, self._meter, self.job.source
        __tracebackhide__ = True
        watched = watched and self.may_watch()
        iterator = iter(items)
        results: list[Any] = []
        if watched and not isinstance(items, InTurn):
            self._running, self._begun = (items, iterator), 0
            pilots.looking.start()
        if meter is not None:
            meter.begin(look=look)
        inputs = source.wall, source.cpu
        try:
            if watched:
                pilots.looking.watch(self, self._first_look() if look else inline.LATE)
            how = {"star": source.star, "keep_going": job.keep_going, "whole": not job.lazy}
            results = inline.run_batch(job.at(self._in_turn), items, iterator, results, **how)
        except BaseException as error:
            if watched:
                # Before the look at what the pilot began: after this it begins nothing more.
                self._land()
            if self._early is not None:
                self._early.stop()
            if isinstance(error, Exception):
                yield results
            raise
        finally:
            if watched:
                self._land()
            if meter is not None:
                meter.inputs = source.wall - inputs[0], source.cpu - inputs[1]
                meter.end(max(1, len(results)), keep=look)
        yield results

    def _first_look(self) -> float:
        """Seconds after which calls that are measured are looked at; a look spoils the figures of calls that wait."""
        alone = 0.0 if self._alone is None else _UNDISTURBED * self._alone.wall
        return pilots.FIRST if self._meter is None or not self._meter.looked else max(pilots.LATER, alone)

    def _land(self) -> None:
        """Let no look at the batch begin after this."""
        if self._meter is not None and self._running is not None:
            self._meter.stop()
        pilots.looking.land(self)
        # A look that is under way is let finish, also if a Ctrl-C comes meanwhile: what it begins would go on for ever.
        in_the_end(self._lock, self._end_of_batch)

    def _end_of_batch(self) -> None:
        self._running = None

    def _follow(self) -> Iterator[list[Any]]:
        """Run what is left as planned; a plain loop ends early when another look is due."""
        job = self.job
        __tracebackhide__ = True
        while self.plan is not None and self.plan.backend != "inline":
            given, in_turn = job.source.given, self._in_turn
            try:
                yield from self._open(self.plan).stream()
            except (CannotTravelError, PoolBrokenError) as why:
                # Calls that were begun and have no result must not be made twice: the error is their answer.
                if job.source.given - given != self._in_turn - in_turn:
                    raise
                # Where the user asked for processes this is the answer; where we chose them it is our mistake.
                if job.backend != "auto" or job.source.ended:
                    raise
                self._struck[self.plan.backend] = str(why)
                self.plan = self.decide()
            else:
                return
        yield from self._inline()

    def _inline(self) -> Iterator[list[Any]]:
        """Run what is left here, until it is done or the calls cost something else than was measured."""
        job, source = self.job, self.job.source
        __tracebackhide__ = True
        expected = self._mean()
        count = inline.first_count(job, expected)
        cuts = source.sized and inline.goes_through_anything(job)
        while items := source.stretch(count) if cuts else source.in_turn(count, inline.aim(job)):
            made = 1
            began = perf_counter()
            for results in self._batch(items, look=False, watched=True):
                took, made = perf_counter() - began, max(1, len(results))
                yield results
            if self._early is not None:
                return
            if job.backend == "auto" and expected and took > _ENOUGH and took / made > _DRIFT * expected:
                return
            count = inline.next_count(job, made, took)

    def decide(self, *, left: int | None = None, seen: _native.Observation | None = None, quick: bool = False) -> Plan:
        """Ask the planner about the calls that are left; `seen` is what a batch that still runs tells.

        With `quick` the function is not read first: the answer holds only if it is none that would need that.
        """
        job, meter = self.job, self._meter
        left = job.source.left() if left is None else left
        if meter is None or (meter.calls == 0 and seen is None):
            return _asking.said(job, "inline", 1)
        if seen is None and self._as_before and self._recalled is not None:
            seen = self._recalled.observation()
        if job.source.repeats.refilled or job.source.repeats.unsure:
            self._strike("the inputs are one object, filled anew for each call", "threads")
        job.source.repeats.forget()
        backends = ["inline", "threads"] if job.backend == "threads" else None
        mean = self._mean() or 0.0 if seen is None else seen.held + seen.free + seen.wait
        expected = mean * (left if left is not None else 1 << 20)
        if expected < _TRIFLE and backends is None and self._looped is not None:
            # The last calls of a plain loop: what was decided for all of them says more.
            return self._looped
        # Who asks for a plan gets its table.
        soon_over = seen is None and not self._explains and _asking.is_soon_over(job, meter, expected)
        if (expected < _TRIFLE and backends is None) or soon_over:
            plan = _asking.trifle(job, seen or meter.observation(), left, self._total, expected)
            plan.decided_after = perf_counter() - self._start
            return self._advised(plan)
        cluster = _clusters.facts()
        forks = expected > _WORTH_READING and not self._struck.keys() >= set(AWAY)
        # What computes without the GIL stays here, and what it would send is of no account, but for what workers save;
        # to those that run already it may go as well.
        holds, running = meter.held > 0.2 * meter.wall, _default.processes_running() > 0
        may_go = holds or running or meter.wall < _ENOUGH or meter.faulting > _SAVED
        if seen is None and may_go:
            self._size(meter, [*self._arguments[:1], *(job.source.spread(2) or self._arguments[1:])], self._results)
        if seen is None:
            corrects, seen = self._corrects(), meter.observation()
            seen = seen if corrects is None else corrects.correct(seen)
        # Calls may go to a cluster however few they are: nothing has to be started there.
        reads = backends is None and (forks or cluster is not None)
        # What was not read stays, though workers that run already would cost nothing to start.
        shut = {} if reads or backends or self._verdict else dict.fromkeys(AWAY, _advice.UNREAD)
        out = shut | self._ruled_out()
        plan = self._advised(_asking.priced(job, seen, left, self._total, out, backends, cluster))
        while self._reads(plan, away=reads and not quick):
            # Of what comes out in the end: advice may change the place, too.
            out = shut | self._ruled_out()
            plan = self._advised(_asking.priced(job, seen, left, self._total, out, backends, cluster))
        plan.decided_after = perf_counter() - self._start
        return plan

    def _reads(self, plan: Plan, *, away: bool) -> bool:
        """Read the function where it matters what it does; whether that may change the plan. It takes milliseconds."""
        job = self.job
        if plan.backend in AWAY and away and (self._verdict is None or job.carried is None):
            if self._verdict is None:
                self._judge()
            job.carried = job.carried or carried(job.function)
            return True
        if plan.backend == "threads" and job.backend == "auto" and self._verdict is None:
            verdict = self._judge()
            if verdict.reasons or verdict.alone_for(self._caller):
                return True
            _advice.read(plan, verdict, only_none=self._only_none)
        return False

    def _advised(self, plan: Plan) -> Plan:
        """Add what the price does not say: preferences, the code's own words, warnings, raw samples."""
        # The threads of a run that was begun beside the measured call are ours, not the call's.
        threads = self._meter.threads if self._meter is not None and self._early is None else 0
        _advice.advise(plan, self.job, self._verdict, threads, only_none=self._only_none)
        plan.samples = tuple(self._samples)
        if self._recalled is not None and (self._as_before or self._foreseen):
            plan.reasons = (*plan.reasons, self._recalled.told())
        return plan

    def _size(self, meter: Meter, arguments: list[Any], results: list[Any]) -> None:
        """Learn what would travel by pickling a few values, on the caller's thread; strike out what they rule out."""
        meter.size(arguments, results)
        if meter.result_stays and self._recalled is not None:
            self._recalled.keep_here()
        if meter.cannot_travel:
            self._strike("an argument or a result cannot be pickled, or not all of it")

    def _strike(self, why: str, *more: str) -> None:
        for away in (*AWAY, *more):
            self._struck.setdefault(away, why)

    def _judge(self) -> Verdict:
        # One input of each kind says more of what is done to it than the code does.
        sample = self._arguments[0] if self._arguments and self.job.source.star else self._arguments[:1]
        kinds = self.job.source.kinds(1 + int(_A_LOOK / max(self._mean() or 1.0, 1e-9)))
        verdict = self._verdict = judge_all(self.job.asked, kinds or [tuple(sample)])
        if not verdict.may_travel:
            self._struck.update(dict.fromkeys(AWAY, "; ".join(verdict.reasons)))
        return verdict

    def _prepare_soon(self, meter: Meter, left: int | None) -> None:
        """Let worker processes start while calls are still measured, if only they can help."""
        unread = self._verdict is None and "processes" not in self._struck
        if unread and _asking.is_for_processes(self.job, meter, left):
            self._judge()
            if "processes" not in self._struck:
                self._prepare_processes()

    def _prepare_processes(self) -> None:
        if (why := _asking.prepare_processes(self.job)) is not None:
            self._struck["processes"] = why

    def _open(self, plan: Plan) -> ThreadRun | ProcessRun | Any:
        """Make the run of a plan that is not inline."""
        caller = Caller(self._context, self._base(), self._daemon, self._mean(), self._arguments[:1])
        run, meter = open_run(self.job, plan, caller), self._meter
        if isinstance(run, ThreadRun):
            if meter and meter.spinners.are_there and meter.held < BUSY * meter.wall:
                # What they do may have been for the calls, after all: then fewer of these should run.
                run.review = meter.spinners.run_on
            elif self.job.backend == "auto" and plan.workload != "io-bound":
                run.watch_for_convoy(self._mean() or 0.0, self._struck)
        return run

    def _base(self) -> int:
        """Index of the first input that is left; those of a batch that runs come before."""
        return self._in_turn + (len(self._running[0]) if self._running is not None else 0)

    def _mean(self) -> float | None:
        figures = self._corrects() or (self._meter if self._meter and self._meter.calls else None)
        return None if figures is None else figures.mean

    def _corrects(self) -> _ahead.Ahead | None:
        """Return the calls from all over the list, if they say something else than those that were measured last."""
        meter, ahead = self._meter, self._ahead
        return ahead if meter is not None and ahead is not None and ahead.corrects(meter) else None
