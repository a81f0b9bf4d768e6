"""Calls from all over a list are measured before their turn where nobody can see that: a list may be sorted by cost.

What it does not know: how a plan is made of the figures.
"""

import hashlib
import json
import logging
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import functions
import pointsman
from pointsman import _default, _native, _pool
from pointsman._ahead import Ahead, may_be
from pointsman._job import Job
from pointsman._meaning import judge
from pointsman._meaning._decode import READABLE
from pointsman._measure import Meter
from pointsman._source import Source
from pointsman._spinning import Spinners

readable = pytest.mark.skipif(
    not READABLE, reason="the bytecode of this Python is not known, so nothing is called ahead"
)


def work(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += i & 3
    return total


def fail_from_fifty(x: int) -> int:
    work(2000)
    if x >= 50:
        message = f"number {x}"
        raise ValueError(message)
    return x


def measured(job: Job, count: int) -> tuple[Meter, list[int]]:
    """Measure the first calls of a job, as a run does."""
    meter, results = Meter(), []
    for item in job.source.take(count):
        meter.begin(look=True)
        results.append(job.function(item))
        meter.end(1, keep=True)
    return meter, results


def made_ahead(function, inputs, count=5) -> tuple[Ahead, Meter, Job, list[int]]:
    job = Job(function, (inputs,))
    meter, results = measured(job, count)
    ahead = Ahead(job)
    ahead.run(meter)
    meter.close()
    return ahead, meter, job, results


def all_results(ahead: Ahead, job: Job, results: list[int]) -> list[int]:
    delivered = [*results]
    while not job.source.ended:
        for part in ahead.merge([job.function(item) for item in job.source.take(7)], len(delivered)):
            delivered += part
    return delivered


@given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 8), st.lists(st.integers(1, 9), max_size=60))
def test_inputs_taken_ahead_are_left_out_and_all_others_come_in_their_order(length, first, count, sizes):
    source = Source((list(range(length)),))
    taken = source.take(first)
    holes = dict(source.ahead(count))
    for size in [*sizes, 100]:
        before, place, unbroken = source.left(), source.next_place, source.unbroken
        items = source.take(size)
        taken += items

        assert source.left() == before - len(items)
        assert items[:unbroken] == list(range(place, place + len(items[:unbroken])))
    assert source.left() == 0
    assert holes == {place: place for place in holes}
    assert sorted([*taken, *holes]) == list(range(length))
    assert taken == sorted(taken)


def test_the_places_looked_at_are_spread_evenly_over_what_is_left():
    source = Source((range(108),))
    source.take(8)

    assert source.spread(4) == [20, 45, 70, 95]
    assert [place for place, _item in source.ahead(2)] == [33, 83]


@pytest.mark.parametrize("inputs", [list(range(0, 40_000, 100)), list(range(40_000, 0, -100))], ids=["cheap", "dear"])
def test_of_a_list_sorted_by_cost_the_mean_call_is_known_though_the_first_ones_are_not_like_it(inputs):
    ahead, meter, job, results = made_ahead(work, inputs, count=3)
    calls_of_the_middle = measured(Job(work, ([20_000] * 5,)), 5)[0]
    seen = ahead.correct(meter.observation())

    assert calls_of_the_middle.mean / 2.5 < seen.held + seen.free + seen.wait < 2.5 * calls_of_the_middle.mean
    assert seen.longest >= ahead.mean
    assert all_results(ahead, job, results) == [work(x) for x in inputs]


def test_a_list_whose_calls_are_alike_is_taken_at_the_word_of_its_first_ones():
    ahead, _meter, job, results = made_ahead(work, [20_000] * 200)

    assert not ahead.corrects(ahead.mean)
    assert all_results(ahead, job, results) == [work(20_000)] * 200


def test_what_a_call_ahead_raises_is_raised_in_its_turn_after_the_results_before_it():
    inputs = [x % 40 for x in range(200)]
    inputs[78] = 60
    ahead, _meter, job, results = made_ahead(fail_from_fifty, inputs)
    delivered = [*results]
    with pytest.raises(ValueError, match="number 60"):
        while not job.source.ended:
            for part in ahead.merge([job.function(item) for item in job.source.take(7)], len(delivered)):
                delivered += part

    assert delivered == inputs[:78]


@readable
def test_a_plan_is_made_for_the_whole_list_not_for_calls_like_its_first_ones():
    steps = range(10_000, 210_000, 500)

    sorted_list, alike = pointsman.optimize(work, list(steps)), pointsman.optimize(work, [10_000] * 400)

    assert sorted_list.observation.held > 3 * alike.observation.held
    assert sorted_list.calls_left == 400 - sorted_list.observation.calls


@readable
def test_the_error_of_the_first_failing_item_in_order_is_the_one_raised():
    for _ in range(3):
        with pytest.raises(ValueError, match="^number 50$"):
            pointsman.execute(fail_from_fifty, list(range(2000)))


@readable
def test_errors_are_results_at_their_places_if_that_was_asked_for():
    results = pointsman.execute(fail_from_fifty, list(range(400)), on_error="return")

    assert results[:50] == list(range(50))
    assert [str(error) for error in results[50:]] == [f"number {x}" for x in range(50, 400)]


@readable
@pytest.mark.parametrize("order", [1, -1])
def test_results_of_a_sorted_list_come_in_order(order):
    inputs = list(range(0, 3000, 5))[::order]

    assert pointsman.execute(work, inputs) == [work(x) for x in inputs]


def test_each_input_is_computed_once_and_in_order_where_calls_can_be_seen(tmp_path):
    seen = []

    def note(x):
        work(3000)
        seen.append(x)
        return x

    assert pointsman.execute(note, list(range(300)), max_workers=1) == list(range(300))
    assert seen == list(range(300))
    assert not judge(note, (1,)).quiet


@pytest.mark.parametrize(
    "options",
    [{"backend": "threads"}, {"lazy": True}, {"sample_size": 3}, {"profile": True}],
    ids=lambda options: next(iter(options)),
)
def test_who_asks_for_a_way_or_for_figures_gets_calls_in_their_order(options):
    assert may_be(Job(work, ([1, 2, 3],)))
    assert not may_be(Job(work, ([1, 2, 3],), **options))
    assert not may_be(Job(work, (iter([1, 2, 3]),)))


CONFIG = {"scale": 3}
LOG = logging.getLogger("quiet")


class Point:
    def __init__(self, x: float) -> None:
        self.x = x

    def norm(self) -> float:
        return abs(self.x)


QUIET = [
    work,
    lambda x: re.findall("[a-z]+", "abc def" * x),
    lambda x: json.dumps({"x": x, "y": [x] * 3}),
    lambda x: hashlib.sha256(b"x" * x).hexdigest(),
    lambda x: sorted(str(i) for i in range(x)),
    lambda x: CONFIG["scale"] * x,
    lambda x: Point(x).norm(),
    lambda x: "-".join(map(str, range(x))).split("-"),
]


def says(x: int) -> int:
    print(x)  # noqa: T201 - it is what may be seen
    return x


def writes(x: int) -> int:
    Path("/dev/null").write_text(str(x), encoding="utf-8")
    return x


def opens(x: int) -> int:
    with open("/dev/null", "w", encoding="utf-8") as file:
        file.write(str(x))
    return x


def tells(x: int) -> int:
    sys.stdout.write(str(x))
    return x


LOUD = [
    says,
    writes,
    opens,
    tells,
    lambda x: LOG.info("%s", x),
    lambda x: random.randrange(9) + x,  # noqa: S311 - no secret
    lambda x: time.sleep(0) or x,
    lambda x: time.time() + x,
    lambda x: subprocess.run(["true"], check=True).returncode + x,
    lambda x: threading.Thread(target=work, args=(x,)).start(),
    lambda x: CONFIG.update(x=x),
    lambda x: x.frobnicate(),
]


@readable
@pytest.mark.parametrize("function", QUIET, ids=range(len(QUIET)))
def test_a_function_that_only_computes_may_be_called_in_any_order(function):
    assert judge(function, (1,)).quiet


@readable
@pytest.mark.parametrize("function", LOUD, ids=range(len(LOUD)))
def test_a_function_that_reaches_outside_is_called_in_order(function):
    assert not judge(function).quiet


def test_an_error_names_the_place_of_its_input_though_others_were_taken_ahead():
    pool = _default.processes(1, 1, 1.0)
    job = _pool.job(pool, functions.give_lock, star=False, keep_going=False, base=0, terms=None)
    job.push([1], 41)
    raised = None
    until = time.monotonic() + functions.PATIENCE
    while raised is None and time.monotonic() < until:
        job.wait(0.1)
        _values, raised = job.take()

    assert "item 41" in str(raised)


def test_a_thread_that_ran_before_the_call_is_told_from_one_that_the_call_sets_to_work():
    done = threading.Event()

    def burn() -> None:
        while not done.is_set():
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 20_000)

    thread = threading.Thread(target=burn)
    thread.start()
    try:
        until = time.monotonic() + functions.PATIENCE
        found = False
        # On a loaded machine the thread may not have a core just then.
        while not found and time.monotonic() < until:
            spinners = Spinners(time.perf_counter())
            time.sleep(0.01)
            spinners.begin()
            found = spinners.are_there
    finally:
        done.set()
        thread.join()
    fresh = Spinners(time.perf_counter())
    fresh.begin()

    assert found
    assert spinners.used() >= 0
    assert not fresh.are_there
    assert fresh.used() == 0


def test_what_still_runs_after_the_longest_spin_runs_for_the_calls():
    spinners = Spinners(time.perf_counter() - 1.0)
    spinners.begin()

    assert not spinners.are_there
    assert spinners.used() == 0


def test_a_running_call_tells_what_it_did_last():
    seen = _native.Observation(held=0.003, wait=0.002, partial=True, recent=0.0)

    assert seen.recent == 0.0
    assert "recent=0.0" in repr(seen)
