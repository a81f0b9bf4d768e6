"""A run that was begun beside the first calls gives its place up when a whole call says that another one is better.

What it does not know: which figures speak for which place.
"""

import os
import time

import pytest

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
        function="place_of", calls=CALLS, calls_left=CALLS, candidates=(only,),
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
