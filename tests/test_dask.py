"""Calls on a dask cluster: real schedulers and worker processes, some of which die."""

import os
import signal
import subprocess
import sys
import time

import numpy
import pytest

import pointsman
from pointsman import TaskPriority

pytest.importorskip("distributed", reason="distributed is not installed: pip install 'pointsman[dask]'")
pytestmark = [
    pytest.mark.slow,
    # What the engine does with its own sockets and loops at their end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def square(number):
    return number * number


def pid_of(_number):
    return os.getpid()


def fail_at_seven(number):
    if number == 7:
        raise ValueError("seven")
    return number


def die_at_five(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def total(array):
    return float(array.sum())


@pytest.fixture(scope="module")
def executor():
    with pointsman.Executor(2, backend="dask") as made:
        yield made


def test_calls_run_in_other_processes_and_come_back(executor):
    pids = {executor.submit(pid_of, number).result(60) for number in range(4)}

    assert os.getpid() not in pids


def test_keywords_and_priorities_reach_their_places(executor):
    future = executor.submit(dict, one=1, priority=TaskPriority.HIGH)

    assert future.result(60) == {"one": 1}


def test_a_map_of_the_executor_keeps_the_order(executor):
    assert list(executor.map(square, range(50), chunksize=7)) == [number * number for number in range(50)]


def test_an_exception_comes_back_with_its_traceback(executor):
    error = executor.submit(fail_at_seven, 7).exception(60)
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next

    assert type(error) is ValueError
    assert "fail_at_seven" in places


def test_a_lambda_and_what_it_captures_travel(executor):
    captured = 40

    assert executor.submit(lambda number: number + captured, 2).result(60) == 42


def test_a_call_that_waits_can_be_cancelled(executor):
    blockers = [executor.submit(time.sleep, 1) for _ in range(2)]
    queued = executor.submit(square, 3)

    assert queued.cancel()
    assert queued.cancelled()
    assert [blocker.result(60) for blocker in blockers] == [None, None]


def test_a_large_argument_is_sent_once(executor):
    array = numpy.arange(100_000.0)
    before = len(executor._scattered._kept)
    futures = [executor.submit(total, array) for _ in range(5)]
    totals = {future.result(60) for future in futures}
    array[0] = 1000.0
    changed = executor.submit(total, array).result(60)

    assert totals == {float(numpy.arange(100_000.0).sum())}
    assert changed == float(array.sum())
    assert len(executor._scattered._kept) == before + 2


def test_figures_say_what_was_done(executor):
    before = executor.get_stats()
    executor.submit(square, 1).result(60)
    executor.submit(fail_at_seven, 7).exception(60)
    after = executor.get_stats()

    assert after.active_threads == 2
    assert (after.completed_tasks - before.completed_tasks, after.failed_tasks - before.failed_tasks) == (1, 1)


def test_what_a_cluster_cannot_do_is_refused(executor):
    with pytest.raises(pointsman.InvalidArgumentError, match="terms"):
        executor.options(timeout=1)
    with pytest.raises(pointsman.InvalidArgumentError, match="timeout"):
        pointsman.execute(square, range(3), backend="dask", timeout=1)
    with pytest.raises(pointsman.InvalidArgumentError, match="initializer"):
        pointsman.Executor(2, backend="dask", initializer=print)
    with pytest.raises(pointsman.InvalidArgumentError, match="max_workers"):
        pointsman.Executor(2, backend="dask", address="tcp://127.0.0.1:1")
    with pytest.raises(pointsman.InvalidArgumentError, match="address"):
        pointsman.execute(square, range(3), backend="threads", address="tcp://127.0.0.1:1")


def test_a_dead_worker_fails_its_call_and_names_the_cluster(executor):
    doomed = executor.submit(die_at_five, 5)
    error = doomed.exception(100)

    assert isinstance(error, pointsman.WorkerDied)
    assert executor._cluster.address in str(error)
    assert executor.submit(square, 6).result(100) == 36


def test_a_job_is_the_same_as_a_loop_and_sizes_its_chunks():
    results, plan = pointsman.execute(
        square, range(5000), backend="dask", max_workers=2, return_optimization_result=True
    )

    assert results == [number * number for number in range(5000)]
    assert (plan.backend, plan.max_workers) == ("dask", 2)


def test_an_endless_map_looks_only_so_far_ahead():
    taken = []

    def inputs():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = pointsman.map(square, inputs(), backend="dask", max_workers=2, buffersize=40)
    first = [next(results) for _ in range(20)]
    results.close()

    assert first == [number * number for number in range(20)]
    assert len(taken) <= 20 + 40


def test_an_error_in_a_job_comes_after_the_results_before_it():
    results = pointsman.map(fail_at_seven, range(20), backend="dask", max_workers=2, chunksize=3)
    seen = []
    with pytest.raises(ValueError, match="seven") as caught:
        for value in results:
            seen.append(value)

    assert seen == list(range(7))
    assert "fail_at_seven" in str(caught.value.__cause__)


def test_errors_may_be_results():
    results = pointsman.execute(fail_at_seven, range(10), backend="dask", max_workers=2, on_error="return")

    assert [type(value) for value in results[6:9]] == [int, ValueError, int]


def test_a_worker_killed_in_mid_job_fails_the_job_with_the_results_before_it():
    seen = []
    with pytest.raises(pointsman.WorkerDied, match=r"tcp://127\.0\.0\.1"):
        for value in pointsman.map(die_at_five, range(10), backend="dask", max_workers=2, chunksize=1):
            seen.append(value)

    assert seen == list(range(5))


def test_a_view_submits_to_the_programs_own_cluster():
    view = pointsman.options(backend="dask", max_workers=2)

    assert (view.run(square, 5), view.execute(square, range(3))) == (25, [0, 1, 4])


PROGRAM = """
import pointsman

def double(number):
    return helper(number) * 2

def helper(number):
    return number + 1

print(pointsman.execute(double, range(5), backend="dask", max_workers=1))
with pointsman.Executor(1, backend="dask") as executor:
    print(executor.submit(double, 9).result(60))
"""


def test_functions_of_a_program_without_a_guard_run_and_nothing_is_left_behind(tmp_path):
    import psutil

    (tmp_path / "program.py").write_text(PROGRAM)
    before = {process.pid for process in psutil.process_iter()}
    answer = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    deadline = time.monotonic() + 30
    left = [None]
    while left and time.monotonic() < deadline:
        left = [
            process
            for process in psutil.process_iter()
            if process.pid not in before and str(tmp_path) in str(_environment(process).get("PYTHONPATH", ""))
        ]
        time.sleep(0.1)

    assert answer.stdout == "[2, 4, 6, 8, 10]\n20\n", answer.stderr
    assert not left


def _environment(process):
    import psutil

    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.fixture
def elsewhere(tmp_path):
    """A scheduler and a worker that are not ours: the address, and the scheduler's process."""
    place = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(place),
        ],
        **quiet,
    )
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(place),
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--death-timeout",
            "30",
        ],
        **quiet,
    )
    try:
        deadline = time.monotonic() + 60
        address = None
        while address is None and time.monotonic() < deadline:
            try:
                import json

                address = json.loads(place.read_text())["address"]
            except (OSError, ValueError):
                time.sleep(0.1)
        yield address, scheduler
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_an_existing_cluster_is_used_and_left_running(elsewhere):
    address, scheduler = elsewhere
    with pointsman.Executor(backend="dask", address=address) as executor:
        result = executor.submit(square, 12).result(60)

    assert (result, scheduler.poll()) == (144, None)


def test_a_scheduler_that_dies_fails_what_is_left_and_keeps_what_exists(elsewhere):
    address, scheduler = elsewhere
    executor = pointsman.Executor(backend="dask", address=address)
    done = executor.submit(square, 12)
    done.result(60)
    waiting = [executor.submit(time.sleep, 100) for _ in range(3)]
    scheduler.kill()
    errors = [future.exception(100) for future in waiting]

    assert done.result() == 144
    assert {type(error).__mro__[0] for error in errors} == {pointsman.PoolBrokenError}
    assert all(address in str(error) for error in errors)
    executor.shutdown()


def test_an_address_where_nobody_answers_is_named(monkeypatch):
    from pointsman.backends import _cluster

    monkeypatch.setattr(_cluster, "_PATIENCE", 2.0)

    with pytest.raises(pointsman.PoolBrokenError, match=r"tcp://127\.0\.0\.1:1\b"):
        pointsman.Executor(backend="dask", address="tcp://127.0.0.1:1")


def test_without_the_package_the_error_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pointsman\[dask\]'"):
        pointsman.Executor(backend="dask")
