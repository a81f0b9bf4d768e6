"""Calls from all over a list are measured before their turn where nobody can see that: a list may be sorted by cost.

What it does not know: how a plan is made of the figures.
"""

import hashlib
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import functions
import pointsman
from pointsman import _api, _default, _native, _pool, _terms
from pointsman._ahead import Ahead, may_be
from pointsman._engine import Run
from pointsman._job import Job
from pointsman._meaning import judge
from pointsman._measure import Meter
from pointsman._plan import Plan
from pointsman._source import Source
from pointsman._spinning import Spinners
from pointsman._standard_job import StandardJob
from pointsman.backends import _cluster
from pointsman.backends.clusters import ClusterRun
from reading import readable, work


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


class Told:
    """A meter that is told what calls take: each as many milliseconds as its input says."""

    def __init__(self, first: list[int]) -> None:
        self.mean = 1e-3 * sum(first) / len(first)
        self.took = 0.0

    def begin(self, *, look: bool) -> None:
        assert look

    def call(self, milliseconds: int) -> int:
        self.took = 1e-3 * milliseconds
        return milliseconds

    def end_of_one(self) -> tuple[float, float, float]:
        return self.took, self.took, self.took


def told_ahead(inputs) -> tuple[Ahead, Told, Job, list[int]]:
    meter = Told(inputs[:3])
    job = Job(meter.call, (inputs,))
    results = [job.function(item) for item in job.source.take(3)]
    ahead = Ahead(job)
    ahead.run(meter)
    return ahead, meter, job, results


@pytest.mark.parametrize("inputs", [list(range(1, 401)), list(range(400, 0, -1))], ids=["cheap", "dear"])
def test_of_a_list_sorted_by_cost_the_mean_call_is_known_though_the_first_ones_are_not_like_it(inputs):
    ahead, meter, job, results = told_ahead(inputs)
    seen = ahead.correct(_native.Observation(calls=3, held=meter.mean))

    assert not 0.1 < meter.mean < 0.3
    assert seen.held + seen.free + seen.wait == pytest.approx(0.2, rel=0.05)
    assert seen.longest > 0.3
    assert all_results(ahead, job, results) == inputs


@pytest.mark.parametrize(("first", "corrects"), [(4, True), (6, False), (10, False), (19, False), (21, True)])
def test_the_word_of_the_first_calls_counts_if_the_others_take_about_as_long(first, corrects):
    inputs = [first] * 3 + [10] * 197
    ahead, meter, job, results = told_ahead(inputs)

    assert ahead.corrects(meter) is corrects
    assert all_results(ahead, job, results) == inputs


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


def test_a_plan_is_made_for_the_whole_list_until_later_calls_are_measured():
    run = Run(Job(work, ([2000] * 2000,)))
    made = sum(len(results) for results in run._sample(watched=False))
    run._ahead = Ahead(run.job)
    run._ahead.run(run._meter)
    # As if calls from all over the list had waited for a second each.
    run._ahead._walls[:] = [1.0, 1.0]
    whole = run.decide().observation

    assert whole.held + whole.free + whole.wait == pytest.approx(1.0, rel=0.05)
    assert run._mean() == 1.0
    made += sum(len(results) for results in run._sample(watched=False))
    assert run._mean() == run._meter.mean
    assert run.decide().observation.wait < 0.9
    assert made < 2000
    run._meter.close()


def spread_work() -> tuple[object, list[int]]:
    """A function that no job has run before, and inputs sorted by cost."""

    def fresh(steps: int) -> int:
        return work(steps)

    return fresh, list(range(10_000, 70_000, 150))


@readable
def test_execute_makes_calls_ahead_on_a_list_sorted_by_cost_and_gives_results_in_order(monkeypatch):
    places = []
    real = Ahead._call

    def noted(self, item, meter):
        places.append(item)
        return real(self, item, meter)

    monkeypatch.setattr(Ahead, "_call", noted)
    until = time.monotonic() + functions.PATIENCE
    # On a loaded machine calls that wait for a core may not look like calls that compute.
    while not places and time.monotonic() < until:
        function, inputs = spread_work()

        assert pointsman.execute(function, inputs) == [work(x) for x in inputs]
    assert places
    assert places[0] in inputs[20:]


def test_terms_that_are_those_by_default_are_none():
    assert _api._terms(None, 0, (), kill_on_cancel=False) is _terms.NONE
    assert _api._terms(None, 1, (), kill_on_cancel=False).retries == 1
    with pytest.raises(pointsman.InvalidTypeError):
        _api._terms(None, 0.0, (), kill_on_cancel=False)


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
    assert not judge(note, (1,)).may_travel


@pytest.mark.parametrize(
    "options",
    [{"backend": "threads"}, {"lazy": True}, {"sample_size": 3}, {"profile": True}],
    ids=lambda options: next(iter(options)),
)
def test_who_asks_for_a_way_or_for_figures_gets_calls_in_their_order(options):
    assert may_be(Job(work, ([1, 2, 3],)))
    assert not may_be(Job(work, ([1, 2, 3],), **options))
    assert not may_be(Job(work, (iter([1, 2, 3]),)))


def test_a_chunk_on_other_pools_has_the_number_that_it_was_sent_with():
    pool = SimpleNamespace(send=lambda *_args: Future())
    job = StandardJob(pool, work, star=False, keep_going=False, base=7)
    job.push([1, 2])
    job.push([1], 41)

    assert [(chunk.first, chunk.place) for chunk in job._chunks] == [(0, 7), (2, 41)]


class NoCluster:
    """A cluster that only takes what is sent to it."""

    kind, lanes = "dask", 2

    def __init__(self) -> None:
        self.sent = SimpleNamespace(function=lambda function: ("key", function), calls=lambda calls: (calls, ()))

    def facts(self):
        return SimpleNamespace(dispatch=1e-3)

    def check(self) -> None:
        """It is there."""

    def start(self, _run, _key, calls, *_others):
        return [item for (item,), _kwargs in calls]


def test_chunks_on_a_cluster_are_named_after_their_first_input_though_others_were_taken_ahead(monkeypatch):
    monkeypatch.setattr(_cluster, "of_job", lambda *_args, **_options: NoCluster())
    job = Job(work, (list(range(400)),), chunksize=30)
    job.source.take(5)
    ahead = [place for place, _item in job.source.ahead(4)]
    run = ClusterRun(job, Plan(backend="dask", max_workers=2), None)
    sent = []
    run.start()
    while run._under_way:
        flight = run._under_way.popleft()
        assert flight.started == list(range(flight.base, flight.base + flight.count))
        sent += flight.started
        run._fill()

    assert sorted([*range(5), *ahead, *sent]) == list(range(400))


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


def test_calls_too_short_to_be_timed_alone_correct_nothing():
    ahead, meter, _job, _results = made_ahead(abs, list(range(400)))
    ahead._walls = [20e-6] * 4

    assert not ahead.corrects(meter)


@pytest.mark.parametrize(("held", "seen"), [(0.2, 0.8), (0.9, 0.0)])
def test_in_company_the_gil_of_calls_without_it_is_still_seen_to_be_passed_on(held, seen):
    meter = Meter()
    meter.company = True
    meter._see_flip(SimpleNamespace(on_cpu_samples=12, flip=0.8, held_share=held))
    meter.close()

    assert meter.flip == seen
