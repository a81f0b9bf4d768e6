"""Threads of this process: ordinary `threading.Thread`s whose loop is native.

Does not know jobs, plans, or the other backends.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from sys import version_info
from time import perf_counter, process_time, sleep

from pointsman import _convoy, _default, _machine, _native
from pointsman._ending import is_ending, is_waited_for, leave, stay_if_daemon, was_interrupted
from pointsman._errors import PoolBrokenError
from pointsman._forks import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context
    from typing import Any

    from pointsman._job import Job
    from pointsman._plan import Plan

# Seconds after which an idle thread ends. Arbitrary: a thread costs 60 us to start and some 20 KiB to keep.
PATIENCE = 10.0

# Threads that a pool must have started before the quickest start tells anything of the machine.
_STARTS_TO_LEARN = 16

# Seconds within which a thread that the system was asked for begins. Arbitrary.
_LIMBO = 1.0

_alive: weakref.WeakSet[Threads] = weakref.WeakSet()
# Threads of all pools, also of those that nobody holds any more.
_working: set[threading.Thread] = set()
_stack_lock = threading.Lock()


class Threads:
    """A pool of threads.

    Parameters
    ----------
    most
        Most threads at one time. They are started when calls wait and no thread is idle.
    name
        Prefix of the threads' names.
    initializer, initargs
        Called on each thread before its first call. If it raises, `on_broken` is asked with what its calls fail then.
    stack_size
        Bytes of stack for each thread; None for the system's default.
    stealing
        Whether each thread has a queue of its own.
    cores
        Cores there are, if the pool may grow beyond `most` while calls wait and more threads bring more.

    """

    def __init__(
        self,
        most: int,
        *,
        name: str = "pointsman",
        queue_capacity: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        stack_size: int | None = None,
        on_broken: Callable[[BaseException], BaseException] | None = None,
        stealing: bool = False,
        cores: float | None = None,
    ) -> None:
        _native.keep_some_freed()
        self._threads: set[threading.Thread] = set()
        self._owner = os.getpid()
        self.started: int = 0
        self.quickest_start: float = float("inf")
        this = weakref.ref(self)

        def start() -> BaseException | None:
            pool = this()
            if pool is None:
                message = "the pool has gone"
                raise RuntimeError(message)
            return pool._start()  # noqa: SLF001 - this class

        self.native: _native.ThreadPool
        self.native = native = _native.ThreadPool(most, queue_capacity, start, stealing, cores)
        self._name = name
        self._stack_size = stack_size
        threads = self._threads

        def work() -> None:
            me = threading.current_thread()
            _working.add(me)
            try:
                if initializer is not None:
                    try:
                        initializer(*initargs)
                    except BaseException as error:  # noqa: BLE001 - the pool is broken whatever it was
                        native.remove_worker()
                        if on_broken is not None:
                            native.break_with(on_broken(error))
                        return
                # While the program ends it waits for this thread.
                native.work(0.0 if is_ending() else PATIENCE)
            finally:
                threads.discard(me)
                _working.discard(me)

        self._work = work
        _register_hooks()
        _alive.add(self)
        # Threads refer to the native pool only: when nobody holds this object any more, they run out of work and end.
        self._finalizer = weakref.finalize(self, _close, native, self._owner)
        self._finalizer.atexit = False

    def _start(self) -> BaseException | None:
        """Start a thread; return what a handler of a signal raised if the thread is there all the same."""
        self.started += 1
        # Whoever asks for it: a daemon would be cut off in a native frame, by which the program would crash.
        thread = threading.Thread(target=self._work, name=f"{self._name}_{self.started - 1}", daemon=False)
        began = perf_counter()
        raised: BaseException | None = None
        if self._stack_size is None:
            raised = _start(thread)
            # The quickest start is what a start costs: others include waiting for the GIL.
            self.quickest_start = min(self.quickest_start, perf_counter() - began)
        else:
            with _stack_lock:
                before = threading.stack_size(self._stack_size)
                try:
                    raised = _start(thread)
                finally:
                    threading.stack_size(before)
        self._threads.add(thread)
        return raised

    @property
    def threads(self) -> frozenset[threading.Thread]:
        """The threads that are alive."""
        return frozenset(self._threads)

    def shutdown(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Refuse further calls, run or with `cancel` cancel the queued ones, and with `wait` wait for the threads."""
        if self._owner != os.getpid():
            return
        self.native.close(cancel)
        if wait:
            for thread in list(self._threads):
                if thread is not threading.current_thread():
                    thread.join()


def _start(thread: threading.Thread) -> BaseException | None:
    """Start a thread, or raise; return what was raised, by a handler of a signal, when it was started already."""
    try:
        thread.start()
    except BaseException as raised:
        # Between the two it is in limbo, as the module calls it; for good, if the system was not asked for it yet.
        until = perf_counter() + _LIMBO
        while thread.ident is None:
            if thread not in getattr(threading, "_limbo", ()) or perf_counter() > until:
                raise
            sleep(_LIMBO / 1000)
        return raised
    return None


def _close(
    native: _native.ThreadPool,
    owner: int,
    # Bound here: a pool that was made while the interpreter ended may outlive the names of this module.
    getpid: Callable[[], int] = os.getpid,
) -> None:
    """Let the threads of a pool end; not in a forked child, where a thread may hold the queue's lock for ever."""
    if owner == getpid():
        native.close(discard=False)


def _leave_calls_behind() -> None:
    """End the process if calls still run: another Ctrl-C has ended the wait for them.

    Up to CPython 3.13 their threads would be ended with `pthread_exit` as soon as they want the GIL, which must not
    unwind through native frames; later ones let them hang.
    """
    if version_info < (3, 14) and any(thread.is_alive() for thread in list(_working)):
        leave()


# What is registered first is called last.
atexit.register(_leave_calls_behind)
_hooked = False


def _register_hooks() -> None:
    global _hooked  # noqa: PLW0603 - once per process
    if not _hooked:
        _hooked = True
        at_fork(_alive.clear)
        at_fork(_working.clear)
        atexit.register(_native.interpreter_ends)
        # Runs before the interpreter waits for its threads; from then on they see a closed queue and end.
    try:
        threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - what concurrent.futures uses, too
    except RuntimeError:
        if not is_waited_for():
            _hooked = False
            message = "no thread can be started any more: the program is ending (interpreter shutdown)"
            raise PoolBrokenError(message) from None
        atexit.register(_end_all)


def _end_all() -> None:
    pools = list(_alive)
    for pool in pools:
        # Jobs of daemon threads would keep their helpers for as long as they have inputs.
        pool.native.interrupt()
        # After a Ctrl-C nobody waits for the calls that are queued.
        pool.shutdown(wait=False, cancel=was_interrupted())
    for pool in pools:
        pool.shutdown()
        if pool.started >= _STARTS_TO_LEARN:
            _machine.record("thread_start", pool.quickest_start)
    _machine.flush()


# Threads beyond which adapting does not go by itself. Arbitrary: a plan may ask for more.
_MOST_ADAPTED = 128
# Threads that one look at a waiting call may start: later calls may be different, and a call that has begun on a thread
# stays there. Each later look, and the first results, may double them. Arbitrary between 16 and 64.
_FIRST_WAVE = 16
# Share of the cores from which on calls have enough of them, whatever they were measured to do: elsewhere they would
# run little faster. Arbitrary from 0.55, which two cores have if the GIL is the limit, to 0.7, which they have if many
# threads ask for memory at once. And the seconds of calls that tell: those which all began by waiting compute by then.
_ENOUGH, _TELLING = 0.6, 0.05
# Inputs in flight for each thread when the input has no length, or the results are taken lazily.
_WINDOW_PER_THREAD = 2
# Seconds of work in flight for each thread of a lazy map whose input has a length, once the cost of a call is known;
# and the most inputs that may be ahead of the results. Arbitrary: from a millisecond on the hand-over costs nothing.
_WINDOW_SECONDS = 0.002
_MOST_AHEAD = 8192


# Seconds for which the results of a job are left where they are while its last calls run on other threads. Arbitrary:
# less than anybody notices, and more than a thread takes for what it claims at a time.
_LAST_CALLS = 1e-3
# The same where this thread has nothing else to do: progress is seen that often.
_UNTIL_A_LOOK = 0.02


def _computing(plan: Plan) -> float | None:
    """Seconds that a call was measured to compute."""
    seen = plan.observation
    return max(1e-4, seen.held + seen.free) if seen is not None else None


class ThreadRun:
    """What is left of a job, on threads; the caller's thread takes part if the plan says so.

    `start` may be called from another thread than `stream`, before it. Every thread has the variables of `context`.
    `base` is the index of the first input in the whole job. `daemon` says that the caller's thread is a daemon.
    """

    def __init__(self, job: Job, plan: Plan, context: Context, base: int = 0, *, daemon: bool) -> None:
        source = job.source
        self._context = context
        self._source = source
        # At the program's end a daemon thread is cut off where it is, which must not be in a native frame.
        self._shares = plan.caller_shares and job.caller_shares and not daemon
        self._daemon = daemon
        self._shared = _native.SharedJob(
            job.function, source.star, job.keep_going, base, job.number, job.name, job.ordered
        )
        self._pool = _default.threads().native
        self._eager = source.sized and not job.lazy
        self._window = max(1, job.buffersize or plan.max_workers * _WINDOW_PER_THREAD)
        self._least = self._window
        self._widens = job.buffersize is None and not self._eager
        # What the inputs have raised: it comes after the results of those before it.
        self._inputs_raised: Exception | None = None
        self._helpers = 0
        self._began = perf_counter(), process_time()
        self._wanted = plan.max_workers - 1 if self._shares else plan.max_workers
        self._closed = self._closed_early = False
        # Asked after calls of the caller's own, for as long as it answers None: whether the rest is to be planned anew.
        self.review: Callable[[], bool | None] | None = None
        # Only calls that mostly wait: threads that compute gain nothing from company.
        waits = plan.workload in {"io-bound", "mixed"} and self._shares and self._eager
        self._adapts = plan.workload == "io-bound" and waits and job.max_workers is None
        if self._adapts and plan.observation is not None and plan.observation.calls <= 1:
            self._wanted = min(self._wanted, _FIRST_WAVE - 1)
        # Calls that waited when they were measured may come to compute: then threads are the wrong place.
        expected = _computing(plan) if waits and job.backend == "auto" else None
        if expected is not None:
            self._shared.watch(expected, _ENOUGH * _machine.facts().cores)

    def watch_for_convoy(self, mean: float, struck: dict[str, str]) -> None:
        """Leave the rest, and say why, if these threads get in each other's way; a call takes `mean` seconds alone."""
        if self._shares and self._eager and mean >= _convoy.LEAST:
            self.review = _convoy.Convoy(self, mean, struck).review

    def _room(self) -> int:
        """Inputs to take now."""
        if self._eager:
            # What says its length may be wrong: only the end of it is the end.
            return self._source.left() or 1
        if self._widens and self._source.sized:
            calls, wall, _cpu, _longest = self._shared.observed()
            if calls:
                useful = int(_WINDOW_SECONDS * (self._wanted + 1) * calls / max(wall, 1e-9))
                self._window = max(self._least, min(useful, _MOST_AHEAD))
        return self._window - self._shared.figures()[2]

    def start(self) -> None:
        """Hand out inputs, and see that enough threads take part."""
        source = self._source
        if not self._closed:
            room = self._room()
            if room > 0:
                self._shared.push(self._take(room))
            if source.ended:
                self._shared.close()
                self._closed = True
        unclaimed, running, _left, _finished = self._shared.figures()
        useful = self._helpers if not unclaimed else min(self._wanted, unclaimed + running)
        while self._helpers < useful:
            try:
                self._pool.share(self._shared, self._context.copy())
            except RuntimeError:
                # The pool was closed, with the program.
                stay_if_daemon()
                raise
            self._helpers += 1

    def _pulls(self) -> bool:
        """Whether this thread is to get more inputs, which no other can, and to leave the calls to the others.

        An iterator that takes its time has given fewer than there is room for.
        """
        return not self._eager and not self._closed and self._inputs_raised is None and self._room() > 0

    def _take(self, count: int) -> list[Any]:
        try:
            # What an iterator that takes its time has given need not wait for what follows.
            return self._source.take(count, brief=not self._eager)
        except Exception as why:  # noqa: BLE001 - it takes its turn behind the results
            self._inputs_raised = why
            return []

    def grow(self, plan: Plan) -> None:
        """Let more threads take part, as a later plan says."""
        wanted = plan.max_workers - 1 if self._shares else plan.max_workers
        if self._adapts:
            wanted = min(wanted, 2 * self._wanted + 1)
        self._wanted = max(self._wanted, wanted)
        self.start()

    def _adapt(self) -> None:
        """Let more threads take part while calls turn out to wait for more of their time than was measured.

        By Little's law, calls that compute for a share s of their time keep one core busy with 1/s threads.
        """
        calls, wall, cpu, _longest = self._shared.observed()
        if not self._adapts or calls < self._wanted + 1:
            return
        useful = min(_MOST_ADAPTED, int(wall / max(cpu, wall / _MOST_ADAPTED)))
        if useful > self._wanted:
            self._wanted = min(useful, 2 * self._wanted + 1)
            self.start()
        elif calls >= 2 * (self._wanted + 1):
            self._adapts = False

    def _is_to_be_planned_anew(self) -> bool:
        answer = self.review() if self.review is not None else None
        if answer is not None:
            self.review = None
        return bool(answer)

    def growable(self) -> int:
        """Calls that more threads could speed up: all that are not finished, or 0 when each has a thread."""
        unclaimed, running, _left, _finished = self._shared.figures()
        return unclaimed + running if unclaimed else 0

    def observed(self) -> tuple[int, float, float]:
        """Calls so far, and their seconds: in all, and on the CPU."""
        calls, wall, cpu, _longest = self._shared.observed()
        return calls, wall, cpu

    def has_all_cores(self) -> bool:
        """Whether the calls keep the cores busy, so that they would run little faster elsewhere.

        Where nothing much has been seen of them this thread makes one more.
        """
        if (busy := self._keeps_busy(*self._began)) or perf_counter() - self._began[0] > _TELLING:
            return busy
        before = perf_counter(), process_time()
        self._shared.run(0.0)
        return self._keeps_busy(*before)

    def _keeps_busy(self, since: float, computed: float) -> bool:
        cores = min(_machine.facts().cores, self._helpers + 1)
        return process_time() - computed > _ENOUGH * cores * (perf_counter() - since)

    def give_back(self) -> list[Any]:
        """Claim no further inputs, and return those that nobody has begun."""
        self._closed = True
        return self._shared.stop()

    def stream(self) -> Iterator[list[Any]]:
        """Yield results until the job is done, in order unless they are wanted as they are ready."""
        __tracebackhide__ = True
        shared = self._shared
        try:
            while True:
                self.start()
                pulls = self._pulls()
                if self._shares:
                    self._take_part(pulls)
                self._wait_a_little()
                # Asked before the results are taken: what is finished then has none that could still come.
                finished = shared.figures()[3]
                values, raised = shared.take()
                # Who gets the list may empty it.
                news = bool(values)
                if news:
                    yield values
                if raised is not None:
                    raise raised
                unclaimed, _running, left, _finished = shared.figures()
                if finished and not left:
                    break
                if finished and not news:
                    self._end_with_the_program()
                full = self._closed or left >= self._window
                if not news and not pulls and (full or not unclaimed):
                    shared.wait(None if full else 0.001)
        finally:
            self.stop()
        if self._inputs_raised is not None:
            raise self._inputs_raised

    def _take_part(self, pulls: bool) -> None:
        if not pulls:
            # While threads are still to be added, a look after each of its own calls.
            seconds = 0.0 if self._adapts or not self._eager else _convoy.PAUSE if self.review else None
            self._shared.run(seconds)
        self._adapt()
        if not self._closed_early and (self._shared.turned or self._is_to_be_planned_anew()):
            self._closed_early = True
            self._source.put_back(self.give_back())

    def _end_with_the_program(self) -> None:
        if self._daemon:
            # As daemon threads do: without a word.
            threading.Event().wait()
        message = "the program is ending: the rest of this job is not run"
        raise PoolBrokenError(message)

    def _wait_a_little(self) -> None:
        # Nobody looks at results before the end: those of a list that is complete need not be copied.
        if self._eager and self._closed:
            self._shared.wait_finished(_LAST_CALLS if self._shares else _UNTIL_A_LOOK)

    def stop(self) -> None:
        """Claim no further inputs; calls that run are let finish."""
        self.give_back()
