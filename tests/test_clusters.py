"""Calls on clusters: real schedulers and worker processes of dask and ray, some of which die.

What it does not know: how an engine works. What all backends promise is in `test_contract_on_clusters.py`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError

import numpy
import pytest

import pointsman
from engines import KINDS, QUIET, elsewhere, needs
from functions import PATIENCE, fail_at_seven, square
from pointsman import TaskPriority
from pointsman.backends import _cluster

pytestmark = [
    pytest.mark.slow,
    # Clusters start in seconds; on a busy machine in some tens of them.
    pytest.mark.timeout(300),
    *QUIET,
]


def pid_of(_number):
    return os.getpid()


def die_at_five(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(path, number):
    if number == 5 and not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def total(array):
    return float(array.sum())


def clear(array):
    before = float(array[0])
    array[:] = 0.0
    return before


def wait_if_asked(path):
    return None if path is None else wait_for(path)


def wait_for(path):
    open(path + ".begun", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    yield request.param
    # One engine at a time, or the machine would be full of their workers.
    _cluster.close_shared()


@pytest.fixture
def executor(kind):
    """The executor of the program's own local cluster, which all tests of a kind share."""
    from pointsman._cluster_executor import shared_executor

    return shared_executor(kind, 2, None)


def test_calls_run_in_other_processes_and_come_back(executor):
    pids = {executor.submit(pid_of, number).result(60) for number in range(4)}

    assert os.getpid() not in pids


def test_every_keyword_belongs_to_the_function(executor):
    assert executor.submit(dict, one=1, fn=2, timeout=3).result(60) == {"one": 1, "fn": 2, "timeout": 3}


def test_a_map_of_the_executor_keeps_the_order(executor):
    assert list(executor.map(square, range(50), chunksize=7)) == [number * number for number in range(50)]


def test_an_endless_map_of_the_executor_looks_only_so_far_ahead(executor):
    taken = []

    def inputs():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = executor.map(square, inputs(), buffersize=10)
    first = [next(results) for _ in range(20)]
    results.close()

    assert first == [number * number for number in range(20)]
    assert len(taken) <= 20 + 10 + 1


def test_an_exception_comes_back_with_its_traceback(executor):
    error = executor.submit(fail_at_seven, 7).exception(60)

    assert type(error) is ValueError
    assert "in fail_at_seven" in str(error.__cause__)


def test_a_lambda_and_what_it_captures_travel(executor):
    captured = 40

    assert executor.submit(lambda number: number + captured, 2).result(60) == 42


def test_a_coroutine_function_runs_to_its_end(executor):
    async def double(number):
        return 2 * number

    assert executor.submit(double, 4).result(60) == 8


def test_what_cannot_travel_is_an_error_of_its_own_call(executor):
    import threading

    there = executor.submit(square, threading.Lock()).exception(60)
    back = executor.submit(lambda _: (number for number in range(3)), 1).exception(60)

    assert [type(error) for error in (there, back)] == [pointsman.CannotTravelError] * 2
    assert "lock" in str(there)
    assert "generator" in str(back)


def test_a_call_that_waits_can_be_cancelled(executor, tmp_path):
    path = str(tmp_path / "go")
    blockers = [executor.submit(wait_for, path) for _ in range(2)]
    # Of short calls, as those before were, some are handed over ahead to an engine that takes none back.
    *_others, queued = [executor.submit(square, number) for number in range(10)]

    cancelled = queued.cancel()
    open(path, "w").close()

    assert cancelled
    with pytest.raises(CancelledError):
        queued.result(60)
    assert [blocker.result(60) for blocker in blockers] == ["done", "done"]


def test_a_large_argument_is_sent_once_for_each_content(executor):
    sent = executor._cluster.sent
    array = numpy.arange(100_000.0)
    expected = float(array.sum())
    before = sent.count
    totals = {executor.submit(total, array).result(60) for _ in range(5)}
    once = sent.count - before
    array[0] = 1000.0
    changed = executor.submit(total, array).result(60)

    assert (totals, changed) == ({expected}, expected + 1000.0)
    assert (once, sent.count - before) == (1, 2)


def test_a_large_argument_of_every_call_of_a_job_is_sent_once(executor, kind):
    sent = executor._cluster.sent
    array = numpy.arange(50_000.0) + 7
    before = sent.count

    results = list(pointsman.map(total, [array] * 30, backend=kind, max_workers=2, chunksize=2))

    assert results == [float(array.sum())] * 30
    assert sent.count - before == 1


def test_what_a_call_writes_to_its_argument_no_other_call_sees(executor):
    array = numpy.full(50_000, 3.0)

    assert [executor.submit(clear, array).result(60) for _ in range(4)] == [3.0] * 4
    assert array[0] == 3.0


def test_figures_say_what_was_done(executor):
    before = executor.get_stats()
    executor.submit(square, 1).result(60)
    executor.submit(fail_at_seven, 7).exception(60)
    after = executor.get_stats()

    assert after.active_threads == 2
    assert (after.completed_tasks - before.completed_tasks, after.failed_tasks - before.failed_tasks) == (1, 1)
    assert (after.queued_tasks, after.running_tasks) == (0, 0)


def test_what_a_cluster_cannot_do_is_refused(executor, kind):
    refused = pytest.raises(pointsman.InvalidArgumentError, match="timeout=")
    with refused:
        executor.options(timeout=1)
    with refused:
        pointsman.execute(square, range(3), backend=kind, timeout=1)
    with pytest.raises(pointsman.InvalidArgumentError, match="kill_on_cancel"):
        pointsman.options(backend=kind, kill_on_cancel=True)
    with pytest.raises(pointsman.InvalidArgumentError, match="run_on_caller"):
        executor.options(run_on_caller=True)
    with pytest.raises(pointsman.InvalidArgumentError, match="initializer"):
        pointsman.Executor(2, backend=kind, initializer=print)
    with pytest.raises(pointsman.InvalidArgumentError, match="max_workers"):
        pointsman.Executor(2, backend=kind, address="tcp://127.0.0.1:1")
    with pytest.raises(pointsman.InvalidArgumentError, match="address"):
        pointsman.execute(square, range(3), backend="threads", address="tcp://127.0.0.1:1")


def test_a_dead_worker_fails_its_call_and_names_the_cluster(executor):
    doomed = executor.submit(die_at_five, 5)
    error = doomed.exception(100)

    assert isinstance(error, pointsman.WorkerDied)
    assert executor._cluster.address in str(error)
    assert executor.submit(square, 6).result(100) == 36


def test_a_call_whose_worker_died_is_begun_again_as_often_as_asked(executor, tmp_path):
    again = executor.options(retries=1)

    assert again.submit(die_once, str(tmp_path / "one"), 5).result(100) == 5
    assert isinstance(again.submit(die_at_five, 5).exception(100), pointsman.WorkerDied)


def test_a_call_that_raises_what_it_may_is_begun_again(executor, tmp_path):
    def flaky(path):
        if not os.path.exists(path):
            open(path, "w").close()
            raise OSError("not yet")
        return "well"

    assert executor.options(retries=1, retry_on=OSError).submit(flaky, str(tmp_path / "x")).result(60) == "well"


def test_a_job_is_the_same_as_a_loop_and_sizes_its_chunks(kind, executor):
    calls = []
    start = executor._cluster.start

    def counted(*values, **options):
        calls.append(values)
        return start(*values, **options)

    executor._cluster.start = counted
    try:
        results, plan = pointsman.execute(
            square, range(5000), backend=kind, max_workers=2, return_optimization_result=True
        )
    finally:
        del executor._cluster.start

    assert results == [number * number for number in range(5000)]
    assert (plan.backend, plan.max_workers) == (kind, 2)
    assert f"{kind} cluster, 2 calls at a time" in str(plan)
    assert len(calls) < 500


def test_every_call_is_in_a_trace_with_where_and_when_it_ran(kind, executor, tmp_path):
    path = tmp_path / "run.json"
    with pointsman.trace(path):
        pids = set(pointsman.execute(pid_of, range(40), backend=kind, max_workers=2))
        executor.submit(square, 3).result(60)
        with pytest.raises(ValueError, match="seven"):
            executor.submit(fail_at_seven, 7).result(60)
    whole = json.loads(path.read_text())
    calls = [event for event in whole["traceEvents"] if event.get("cat") == "call"]
    end = whole["otherData"]["seconds"] * 1e6

    assert sorted(call["args"]["index"] for call in calls if call["name"] == "pid_of") == list(range(40))
    assert {call["pid"] for call in calls if call["name"] == "pid_of"} == pids
    assert [call["args"].get("ending") for call in calls if call["name"] in ("square", "fail_at_seven")] == [
        None,
        "raised",
    ]
    assert all(0 < call["ts"] <= call["ts"] + call["dur"] < end for call in calls)


def test_an_endless_map_looks_only_so_far_ahead(kind):
    taken = []

    def inputs():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = pointsman.map(square, inputs(), backend=kind, max_workers=2, buffersize=40)
    first = [next(results) for _ in range(20)]
    results.close()

    assert first == [number * number for number in range(20)]
    assert len(taken) <= 20 + 40


def test_an_error_in_a_job_comes_after_the_results_before_it(kind):
    results = pointsman.map(fail_at_seven, range(20), backend=kind, max_workers=2, chunksize=3)
    seen = []
    with pytest.raises(ValueError, match="seven") as caught:
        for value in results:
            seen.append(value)

    assert seen == list(range(7))
    assert "fail_at_seven" in str(caught.value.__cause__)


def test_a_worker_killed_in_mid_job_fails_the_job_with_the_results_before_it(kind):
    seen = []
    with pytest.raises(pointsman.WorkerDied, match=r"127\.0\.0\.1"):
        for value in pointsman.map(die_at_five, range(10), backend=kind, max_workers=2, chunksize=1):
            seen.append(value)

    assert seen == list(range(5))


def test_a_worker_killed_in_mid_job_leaves_the_other_calls_their_results(kind):
    results = pointsman.execute(
        die_at_five, range(10), backend=kind, max_workers=2, chunksize=10, on_error="return", retries=1
    )

    assert [number for number, value in enumerate(results) if value != number] == [5]
    assert isinstance(results[5], pointsman.WorkerDied)


def test_a_view_submits_to_the_programs_own_cluster(kind):
    view = pointsman.options(backend=kind, max_workers=2)

    assert (view.run(square, 5), view.execute(square, range(3))) == (25, [0, 1, 4])
    assert view.submit(square, 6).result(60) == 36


def _tasks_of(dask_scheduler):
    return len(dask_scheduler.tasks)


@needs("dask")
def test_urgent_calls_of_dask_go_first(tmp_path):
    path, seen = str(tmp_path / "go"), str(tmp_path / "seen")

    def note(word):
        with open(seen, "a") as file:
            file.write(word)

    with pointsman.Executor(1, backend="dask") as executor:
        blocker = executor.submit(wait_for, path)
        try:
            deadline = time.monotonic() + PATIENCE
            while not os.path.exists(path + ".begun") and time.monotonic() < deadline:
                time.sleep(0.01)
            futures = [executor.submit(note, "l", priority=TaskPriority.LOW)]
            futures += [executor.submit(note, "n") for _ in range(3)]
            futures += [executor.options(priority=TaskPriority.URGENT).submit(note, "u")]
            # The worker takes nothing before the blocker is done; the scheduler has all by then.
            while executor._cluster.client.run_on_scheduler(_tasks_of) < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            open(path, "w").close()
        for future in (blocker, *futures):
            future.result(60)

    assert pathlib.Path(seen).read_text() == "unnnl"


@needs("ray")
def test_ray_has_no_priorities_and_says_so():
    from pointsman._cluster_executor import shared_executor

    executor = shared_executor("ray", 2, None)

    with pytest.raises(pointsman.InvalidArgumentError, match="no priorities"):
        executor.submit(square, 2, priority=TaskPriority.HIGH)
    assert executor.submit(square, 2, priority=TaskPriority.NORMAL).result(60) == 4


@needs("ray")
def test_a_second_ray_cluster_is_refused_while_the_first_is_used():
    with pointsman.Executor(1, backend="ray") as executor:
        with pytest.raises(pointsman.InvalidArgumentError, match="one at a time"):
            pointsman.Executor(backend="ray", address="127.0.0.1:2")
        result = executor.submit(square, 3).result(60)

    assert result == 9


PROGRAM = """
import pointsman

def double(number):
    return helper(number) * 2

def helper(number):
    return number + 1

class Box:
    def __init__(self, value):
        self.value = value

def boxed(box):
    return Box(box.value + 1)

print(pointsman.execute(double, range(5), backend="KIND", max_workers=1))
with pointsman.Executor(1, backend="KIND") as executor:
    print(executor.submit(double, 9).result(60))
    print(type(executor.submit(boxed, Box(1)).result(60)) is Box)
"""


def _environment(process):
    import psutil

    try:
        return str(process.environ().get("PYTHONPATH", ""))
    except psutil.Error:
        return ""


@pytest.mark.parametrize("engine", KINDS)
def test_functions_of_a_program_without_a_guard_run_and_nothing_is_left_behind(engine, tmp_path):
    import psutil

    (tmp_path / "program.py").write_text(PROGRAM.replace("KIND", engine))
    answer = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    # Its processes have the folder on their path, as no other has.
    deadline = time.monotonic() + 30
    left = [None]
    while left and time.monotonic() < deadline:
        left = [process for process in psutil.process_iter() if str(tmp_path) in _environment(process)]
        time.sleep(0.1)

    assert answer.stdout == "[2, 4, 6, 8, 10]\n20\nTrue\n", answer.stderr
    assert not left


# --------------------------------------------------------------------- clusters that are not ours


@pytest.mark.parametrize("engine", KINDS)
def test_an_existing_cluster_is_left_running_and_its_death_keeps_results_and_fails_the_rest(engine, tmp_path):
    inputs = [None] * 3 + [str(tmp_path / "never")] * 3
    with elsewhere(engine, tmp_path) as there:
        with pointsman.Executor(backend=engine, address=there.address) as executor:
            first = executor.submit(square, 12).result(60)
        alive = there.head.is_running()

        executor = pointsman.Executor(backend=engine, address=there.address)
        done = executor.submit(square, 12)
        done.result(60)
        results = pointsman.map(wait_if_asked, inputs, backend=engine, address=there.address, chunksize=1)
        seen = [next(results) for _ in range(3)]
        waiting = [executor.submit(time.sleep, 100) for _ in range(3)]
        there.head.kill()
        errors = [future.exception(100) for future in waiting]
        with pytest.raises(pointsman.PoolBrokenError) as caught:
            next(results)
        executor.shutdown()
        _cluster.close_shared()

    assert (first, alive) == (144, True)
    assert (done.result(), seen) == (144, [None] * 3)
    assert [type(error) for error in (*errors, caught.value)] == [pointsman.PoolBrokenError] * 4
    assert all(there.address in str(error) for error in (*errors, caught.value))


# --------------------------------------------------------------------- auto, with a cluster named


def count_up(number):
    for _ in range(100_000):
        number += 1
    return number


SEEN = []


def note(number):
    SEEN.append(number)
    return count_up(number)


def pretend(connection, *, dispatch=1e-3, speed=1e9):
    """Let the cluster count as one of 64 workers elsewhere: what is here is never faster than processes here."""
    facts = connection._cluster.facts()
    facts.processes, facts.threads, facts.here = 64, 1, False
    facts.dispatch, facts.bytes_per_second = dispatch, speed


def candidates(plan):
    return {candidate.backend: candidate for candidate in plan.candidates}


@needs("dask")
def test_auto_takes_a_named_cluster_only_where_it_is_predicted_to_be_faster(tmp_path):
    inputs = [bytes(100_000) for _ in range(40)]
    with elsewhere("dask", tmp_path) as there:
        with pointsman.cluster(there.address) as connection:
            measured = (connection.backend, connection.workers, connection._cluster.facts().here)
            pretend(connection)
            results, far = pointsman.execute(count_up, range(400), return_optimization_result=True)
            stays = pointsman.optimize(note, range(400))
            pretend(connection, dispatch=10.0)
            slow = pointsman.optimize(count_up, range(400))
            pretend(connection, speed=1e4)
            heavy = pointsman.optimize(len_and_count, inputs)
            pretend(connection)
            own = pointsman.options(backend="dask").submit(os.getenv, "ELSEWHERE").result(60)
        without = pointsman.optimize(count_up, range(400))

    assert measured == ("dask", 2, True)
    assert results == [number + 100_000 for number in range(400)]
    assert (far.backend, far.actual.backend) == ("dask", "dask")
    assert "dask cluster" in str(far)
    assert "appends to" in candidates(stays)["dask"].struck_out
    assert candidates(slow)["dask"].struck_out is None
    assert "dask" not in (stays.backend, slow.backend, heavy.backend)
    assert any(reason.startswith("dask: sending") for reason in heavy.reasons)
    # Set for that cluster's workers alone.
    assert own == str(tmp_path)
    assert "dask" not in candidates(without)


def len_and_count(data):
    return count_up(len(data))


def test_a_cluster_must_say_whose_it_is():
    with pytest.raises(pointsman.InvalidArgumentError, match="does not say whose"):
        pointsman.cluster("localhost:8786")
    with pytest.raises(pointsman.InvalidTypeError):
        pointsman.cluster(8786)
    assert pointsman.cluster(None) is None


@pytest.mark.parametrize(("engine", "address"), [("dask", "tcp://127.0.0.1:1"), ("ray", "127.0.0.1:1")])
def test_an_address_where_nobody_answers_is_named(engine, address, monkeypatch):
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    monkeypatch.setattr(_cluster, "PATIENCE", 2.0)

    with pytest.raises(pointsman.PoolBrokenError, match=rf"{address}\b"):
        pointsman.Executor(backend=engine, address=address)


@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_without_the_package_the_error_has_the_command_that_installs_it(engine, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(pointsman.MissingExtraError, match=rf"pip install 'pointsman\[{engine}\]'"):
        pointsman.Executor(backend=engine)
