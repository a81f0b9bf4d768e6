"""Who runs the calls of a job may change: a better place takes over, and workers do not wait for a caller that is busy.

What it does not know: which figures speak for which place.
"""

import os
import threading
import time
from functools import partial

import pytest

from functions import PATIENCE
from pointsman import _default
from pointsman._edition import INTERPRETERS
from pointsman._engine import Run
from pointsman._job import Job
from pointsman._measure import Meter
from pointsman._plan import Candidate, Plan

CALLS = 60


def place_of(x):
    time.sleep(0.01)
    return x, os.getpid()


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
