"""`execute`: its options do what they say.

What it does not know: what every backend promises alike (test_contract.py), or what a plan holds (test_plan.py).
"""

import threading
import time

import pytest

import functions
import pointsman
from fixtures import run_program
from functions import Boom
from pointsman import TaskPriority

pytestmark = pytest.mark.timeout(60)


def test_the_result_is_a_list_whatever_the_input_was(backend):
    assert type(pointsman.execute(functions.same, "abc", backend=backend)) is list


def test_a_lazy_object_beside_the_function_is_left_alone(backend, monkeypatch):
    class Lazy:
        @property
        def __class__(self):
            raise RuntimeError("it was asked what it is")

        def __getattr__(self, name):
            raise RuntimeError(f"it was asked for {name}")

    monkeypatch.setattr(functions, "settings", Lazy(), raising=False)

    assert pointsman.execute(functions.square, range(50), backend=backend) == [x * x for x in range(50)]


def test_the_input_is_not_changed(backend):
    data = list(range(50))

    pointsman.execute(functions.square, data, backend=backend)

    assert data == list(range(50))


def test_an_input_that_says_a_wrong_length_is_still_computed_to_its_end(backend):
    class Wrong:
        def __init__(self, says):
            self.says = says

        def __len__(self):
            return self.says

        def __iter__(self):
            return iter(range(30))

    for says in (0, 10, 300):
        assert pointsman.execute(functions.nap, Wrong(says), backend=backend) == list(range(30))


@pytest.mark.parametrize("chunksize", [1, 3, 7, 100, 10_000])
def test_the_chunk_size_does_not_change_the_results(backend, chunksize):
    results = pointsman.execute(functions.square, range(100), backend=backend, chunksize=chunksize)

    assert results == [x * x for x in range(100)]


def test_calls_of_one_chunk_run_in_one_worker():
    pids = pointsman.execute(functions.process, range(40), backend="processes", max_workers=2, chunksize=10)

    assert [len(set(pids[start : start + 10])) for start in range(0, 40, 10)] == [1, 1, 1, 1]


def test_the_first_job_of_a_program_is_not_warned_of_our_own_threads(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functions, pointsman

        _results, plan = pointsman.execute(functions.square, range(5), return_optimization_result=True)
        print(plan.warnings)
        """,
    )

    assert printed == "()"


@pytest.mark.parametrize("sample_size", [1, 2, 5, 1000])
def test_as_many_calls_are_measured_as_asked_for(sample_size):
    _results, plan = pointsman.execute(
        functions.nap, range(20), sample_size=sample_size, return_optimization_result=True
    )

    assert plan.observation is None or plan.observation.calls <= sample_size


def test_the_sample_size_does_not_change_the_results():
    results = [pointsman.execute(functions.nap, range(20), sample_size=size) for size in (1, 2, 19, 20, 21)]

    assert results == [list(range(20))] * 5


@pytest.mark.parametrize("seconds", [1e-6, 0.01, 10])
def test_the_target_duration_of_chunks_does_not_change_the_results(backend, seconds):
    results = pointsman.execute(functions.square, range(500), backend=backend, target_chunk_duration=seconds)

    assert results == [x * x for x in range(500)]


def test_the_plan_can_be_had_with_the_results(backend):
    results, plan = pointsman.execute(functions.nap, range(20), backend=backend, return_optimization_result=True)

    assert results == list(range(20))
    assert isinstance(plan, pointsman.Plan)
    assert plan.actual.calls == 20
    assert plan.actual.seconds > 0
    assert backend in {"auto", plan.backend}


def test_an_empty_input_has_a_plan_too(backend):
    results, plan = pointsman.execute(functions.square, [], backend=backend, return_optimization_result=True)

    assert results == []
    assert isinstance(plan, pointsman.Plan)


@pytest.mark.parametrize("place", ["inline", "threads", "processes"])
def test_a_plan_is_followed(place):
    plan = pointsman.optimize(functions.nap, range(30), backend=place, max_workers=2)

    spans, followed = pointsman.execute(functions.span, [0.002] * 30, plan=plan, return_optimization_result=True)

    assert followed.backend == place
    assert len(spans) == 30


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_plan_for_one_place_runs_there(place):
    plan = pointsman.optimize(functions.nap, range(30), backend=place, max_workers=2)

    pids = set(pointsman.execute(functions.process, range(30), plan=plan))
    here = {functions.process()}

    assert (pids == here) == (place == "threads")


def test_verbose_prints_the_decision_to_standard_error_and_nothing_to_standard_output(backend, capfd):
    pointsman.execute(functions.nap, range(20), backend=backend, verbose=True)

    printed = capfd.readouterr()
    assert "nap" in printed.err
    assert printed.out == ""


def test_without_verbose_nothing_is_printed(backend, capfd):
    pointsman.execute(functions.nap, range(20), backend=backend)

    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_progress_is_told_on_the_callers_thread_and_ends_at_one(backend):
    told = []

    def callback(phase, fraction):
        told.append((phase, fraction, threading.get_ident()))

    pointsman.execute(functions.nap, range(60), backend=backend, progress_callback=callback)

    assert told[-1][:2] == ("done", 1.0)
    assert {phase for phase, _, _ in told} <= {"measuring", "running", "done"}
    assert [fraction for _, fraction, _ in told] == sorted(fraction for _, fraction, _ in told)
    assert all(0 <= fraction <= 1 for _, fraction, _ in told)
    assert {thread for _, _, thread in told} == {threading.get_ident()}
    assert len(told) > 2


def test_progress_of_an_input_without_a_length_stays_within_its_bounds(backend):
    told = []

    pointsman.execute(
        functions.nap, iter(range(60)), backend=backend, progress_callback=lambda *event: told.append(event)
    )

    assert told[-1] == ("done", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in told)


def test_a_callback_that_raises_stops_the_job_and_the_next_one_runs(backend):
    def callback(_phase, _fraction):
        raise Boom("no more", 1)

    with pytest.raises(Boom):
        pointsman.execute(functions.nap, range(60), backend=backend, progress_callback=callback)

    assert pointsman.execute(functions.square, range(60), backend=backend) == [x * x for x in range(60)]


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="no_such_option"):
        pointsman.execute(functions.square, [1], no_such_option=1)


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_the_urgent_calls_of_a_view_come_first(backend, tmp_path):
    path = tmp_path / "order"

    def view(**more):
        return pointsman.options(backend=backend, max_workers=1, name="in-order", **more)

    first = view().submit(time.sleep, 0.2)
    later = [
        view(priority=priority).submit(functions.note, str(path), priority.name)
        for priority in (TaskPriority.LOW, TaskPriority.URGENT)
    ]
    for future in (first, *later):
        future.result(functions.PATIENCE)

    assert path.read_text().split() == ["URGENT", "LOW"]


def test_a_caller_may_run_the_calls_of_a_view_itself():
    gate = threading.Event()
    view = pointsman.options(backend="threads", max_workers=1, name="on-caller", run_on_caller=True)
    blocking = view.submit(gate.wait)
    try:
        assert view.submit(threading.get_ident).result() == threading.get_ident()
    finally:
        gate.set()
        blocking.result(functions.PATIENCE)


def test_what_is_said_of_single_calls_is_refused_for_jobs_and_elsewhere():
    with pytest.raises(ValueError, match="priority is said of single calls"):
        pointsman.options(priority=TaskPriority.HIGH).execute(functions.square, [1])
    with pytest.raises(ValueError, match="run_on_caller is for threads"):
        pointsman.options(backend="processes", run_on_caller=True)


def test_options_are_shared_by_the_calls_of_a_view(backend):
    view = pointsman.options(backend=backend, max_workers=2)

    assert view.execute(functions.square, range(30)) == [x * x for x in range(30)]
    assert list(view.map(functions.add, range(30), range(30))) == [2 * x for x in range(30)]
    assert view.run(functions.takes, 1, name=2) == ((1,), {"name": 2})


def test_an_option_of_the_call_goes_before_that_of_the_view():
    view = pointsman.options(backend="processes")

    _results, plan = view.execute(functions.nap, range(3), backend="inline", return_optimization_result=True)

    assert plan.backend == "inline"


def test_a_job_may_be_run_from_a_thread_with_a_running_event_loop(backend):
    import asyncio

    async def cell():
        return pointsman.execute(functions.square, range(40), backend=backend)

    assert asyncio.run(cell()) == [x * x for x in range(40)]


def test_calls_that_come_to_compute_are_moved_and_each_input_is_computed_once(tmp_path):
    source = f"""
import os, pointsman, time

def note(x):
    descriptor = os.open({str(tmp_path / "seen")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"%d\\n" % x)
    os.close(descriptor)
    if x < 40:
        time.sleep(0.01)
    else:
        sum(range(100_000))
    return x

print(pointsman.execute(note, range(300)) == list(range(300)))
"""
    assert run_program(tmp_path, source) == "True"
    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == list(range(300))


def test_a_range_whose_calls_become_dear_in_the_middle_of_a_batch_is_shared_and_computed_once(tmp_path):
    source = f"""
import os, pointsman

def note(x):
    if x < 200_000:
        return x
    descriptor = os.open({str(tmp_path / "seen")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"%d\\n" % x)
    os.close(descriptor)
    sum(range(50_000))
    return x

print(pointsman.execute(note, range(200_400)) == list(range(200_400)))
"""
    assert run_program(tmp_path, source) == "True"
    assert sorted(map(int, (tmp_path / "seen").read_text().split())) == list(range(200_000, 200_400))
