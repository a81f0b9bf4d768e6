"""Who runs the calls of a job may change: a better place takes over, and workers do not wait for a caller that is busy.

What it does not know: which figures speak for which place.
"""

import os
import threading
import time
from functools import partial

import pytest

import pointsman
from fixtures import wait_until
from functions import PATIENCE
from interpreter_functions import place_of
from pointsman import _default, _machine, _pilot
from pointsman._edition import INTERPRETERS
from pointsman._engine import Run
from pointsman._job import Job
from pointsman._locks import fork_safe_lock
from pointsman._measure import Meter
from pointsman._plan import Candidate, Plan
from pointsman._standard_job import StandardJob
from pointsman.backends import threads

CALLS = 60


def planned(backend, processes):
    workers = max(2, processes)
    only = Candidate(
        backend=backend, workers=workers, processes=processes, threads_per_worker=1, chunksize=1, seconds=0.1, start_up=0.0, rate=1.0,
        limit="", struck_out=None,
    )  # fmt: skip
    return Plan(
        backend=backend, max_workers=workers, processes=processes, threads_per_worker=1, chunksize=1,
        function="place_of", calls=CALLS, calls_left=CALLS, candidates=(only,), caller_shares=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "begun",
    [
        "processes",
        pytest.param(
            "interpreters",
            marks=pytest.mark.skipif(not INTERPRETERS, reason="interpreter pools came with CPython 3.14"),
        ),
    ],
)
def test_what_no_worker_has_begun_goes_to_the_better_place(begun, monkeypatch):
    meter = Meter()
    meter.begin(look=True)
    place_of(0)
    meter.end(1, keep=True)

    def begin_early(run, *, watched):
        run.plan, run._meter = planned(begun, 1), meter
        run._early = run._open(run.plan)
        run._early.start()
        return iter(())

    monkeypatch.setattr(Run, "_sample", begin_early)
    monkeypatch.setattr(Run, "decide", lambda _run, **_: planned("threads", 0))
    run = Run(Job(place_of, (list(range(CALLS)),)))
    results = [result for results in run.stream() for result in results]

    assert [x for x, _pid in results] == list(range(CALLS))
    assert run.plan.backend == "threads"
    # A chunk or two for each worker that runs, the program's pool may have several.
    assert [pid for _x, pid in results].count(os.getpid()) > CALLS // 2


def wait_for_the_others(caller, record, x):
    """In the caller, wait until the worker has made most calls; returns whether it has."""
    if os.getpid() != caller:
        with record.open("a") as file:
            file.write("x")
        return x
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and record.stat().st_size < CALLS // 2:
        time.sleep(0.001)
    return x if record.stat().st_size >= CALLS // 2 else None


@pytest.mark.parametrize("alive", [1, 3])
def test_workers_get_calls_while_the_caller_is_in_one_that_lasts(alive, tmp_path):
    # Of a pool with more workers than the job may use, too.
    _default.processes(alive, 1, 2.0)
    record = tmp_path / "record"
    record.touch()
    function = partial(wait_for_the_others, os.getpid(), record)
    run = Run(Job(function, (list(range(CALLS)),), chunksize=1), planned("processes", 1))

    assert [result for results in run.stream() for result in results] == list(range(CALLS))


def test_what_cannot_be_sent_while_the_caller_is_busy_runs_on_its_own_thread():
    caller = threading.get_ident()
    # Locks cannot be pickled.
    inputs = [threading.Lock() if x % 20 == 19 else x for x in range(CALLS)]
    run = Run(Job(partial(thread_of, os.getpid()), (inputs,), chunksize=1), planned("processes", 1))
    ran = [result for results in run.stream() for result in results]

    assert [thread for thread in ran if thread is not None and thread != caller] == []
    assert ran[19] == ran[39] == ran[59] == caller


def thread_of(caller, _item):
    """The thread, in the caller; it is busy for a while there."""
    if os.getpid() != caller:
        return None
    time.sleep(0.03)
    return threading.get_ident()


LOCK = threading.RLock()
BY = []


class Guarded:
    """An input that is pickled under a lock, which its caller may hold."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        BY.append(threading.current_thread())
        with LOCK:
            return Guarded, (self.x,)


def spin_in(guarded):
    total = 0
    for n in range(400_000):
        total += n & 3
    return guarded.x


@pytest.mark.parametrize("plan", [None, planned("processes", 1)], ids=["auto", "processes"])
def test_inputs_with_code_of_their_own_are_pickled_by_the_caller_alone(plan):
    BY.clear()
    with LOCK:
        run = Run(Job(spin_in, ([Guarded(x) for x in range(30)],), chunksize=1), plan)
        results = [result for results in run.stream() for result in results]

    assert results == list(range(30))
    assert {thread.ident for thread in BY} <= {threading.get_ident()}


class Counted:
    """Inputs that say how many they are, and end with an error."""

    def __len__(self):
        return 40

    def __iter__(self):
        yield 400_000
        yield 400_000
        raise ValueError("no more")


def count_to(steps):
    total = 0
    for n in range(steps):
        total += n & 3
    return total


def test_what_an_input_raises_is_raised_though_others_were_to_take_part():
    with pytest.raises(ValueError, match="no more"):
        pointsman.execute(count_to, Counted())


def test_a_run_that_was_stopped_takes_no_further_input():
    run = Run(Job(place_of, (list(range(CALLS)),), chunksize=1))
    begun = run._open(planned("processes", 1))
    begun.start()
    begun.stop()
    left = run.job.source.left()

    assert begun.checkpoint() == 0.0
    assert not begun.feed()
    assert run.job.source.left() == left


def test_a_pilot_survives_whatever_a_look_raises(caplog):
    seen = []

    class Flown:
        def checkpoint(self):
            seen.append(threading.current_thread())
            raise SystemExit

    pilot = _pilot.Pilot("pilot-of-a-test")
    for number in range(1, 3):
        run = Flown()
        pilot.watch(run, 0.001)
        assert wait_until(lambda number=number: len(seen) == number)
        pilot.land(run)

    assert seen[0] is seen[1]
    assert "the look at a running call failed" in caplog.text


def test_a_chunk_that_cannot_be_sent_to_a_standard_pool_is_none_of_the_job(monkeypatch):
    class Refusing:
        def send(self, *_args):
            raise OSError("no")

    job = StandardJob(Refusing(), place_of, star=False, keep_going=False, base=0)
    with pytest.raises(OSError, match="no"):
        job.push([1, 2])

    assert job.figures() == (0, 0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_watches_and_sends_though_its_parent_did_at_the_fork():
    lock = fork_safe_lock()
    with lock:
        _pilot.looking.watch(run := object(), 60)
        child = os.fork()
        if child == 0:
            free = lock.acquire(blocking=False) and not _pilot.looking._busy.locked()
            os._exit(0 if free else 1)
        _pilot.looking.land(run)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lazy_map_on_many_threads_of_workers_looks_only_a_little_ahead():
    taken = []

    def inputs():
        for x in range(10**6):
            taken.append(x)
            yield x

    plan = planned("processes", 2)
    plan.threads_per_worker = 16
    stream = Run(Job(place_of, (inputs(),), lazy=True), plan).stream()
    given, ahead = 0, []
    while given < CALLS:
        given += len(next(stream))
        ahead.append(len(taken) - given)
    stream.close()

    # Two rounds of three calls for each of 32 lanes.
    assert max(ahead) <= 200


def test_calls_that_compute_a_little_before_they_wait_are_not_held_back():
    running, beside = set(), []

    def mostly_waits(number):
        if number:
            until = time.thread_time() + 0.002
            while time.thread_time() < until:
                pass
        running.add(number)
        if number >= 64:
            beside.append(len(running))
        time.sleep(0.05)
        running.discard(number)

    pointsman.execute(mostly_waits, range(128))

    # The first call computes nothing: that the others do for a moment is no reason to run two at a time.
    assert max(beside) > 8


@pytest.mark.parametrize(("share", "stays"), [(0.95, True), (0.3, False)])
def test_threads_that_keep_the_cores_busy_are_not_left_for_what_one_first_call_was_like(share, stays, monkeypatch):
    meter = Meter()
    meter.begin(look=True)
    place_of(0)
    meter.end(1, keep=True)

    def begin_early(run, *, watched):
        run.plan, run._meter = planned("threads", 0), meter
        run._early = run._open(run.plan)
        run._early.start()
        return iter(())

    cores = min(_machine.facts().cores, 2)
    monkeypatch.setattr(Run, "_sample", begin_early)
    monkeypatch.setattr(Run, "decide", lambda _run, **_: planned("processes", 1))
    monkeypatch.setattr(threads, "process_time", lambda: share * cores * time.perf_counter())
    run = Run(Job(place_of, (list(range(CALLS)),)))
    results = [result for results in run.stream() for result in results]

    assert [x for x, _pid in results] == list(range(CALLS))
    assert (run.plan.backend == "threads") == stays
    assert ({pid for _x, pid in results} == {os.getpid()}) == stays


def test_a_ctrl_c_in_the_call_that_is_made_to_look_back_stops_what_was_begun(monkeypatch):
    begun = []

    def nap(x):
        begun.append(x)
        time.sleep(0.01)

    def begin_early(run, *, watched):
        meter = run._meter = Meter()
        meter.begin(look=True)
        meter.end(1, keep=True)
        run.plan = planned("threads", 0)
        run._early = run._open(run.plan)
        run._early.start()
        return iter(())

    def interrupted(_run):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_sample", begin_early)
    monkeypatch.setattr(Run, "decide", lambda _run, **_: planned("processes", 1))
    monkeypatch.setattr(threads.ThreadRun, "has_all_cores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(Run(Job(nap, (list(range(CALLS)),))).stream())
    few = len(begun)
    time.sleep(0.1)

    assert len(begun) <= few + 1 < CALLS
