"""The backend "processes" on the standard library's pool, as elsewhere than on Linux: the contract holds there, too.

What it does not know: which system lacks what.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import functions
import pointsman
from fixtures import alive, family, program, runs, wait_until
from pointsman import _pool
from pointsman._standard import StandardProcesses

pytestmark = pytest.mark.timeout(280)

HERE = Path(__file__).parent


@pytest.fixture
def standard(monkeypatch):
    monkeypatch.setenv("POINTSMAN_PROCESSES", "stdlib")


@pytest.mark.skipif("POINTSMAN_PROCESSES" in os.environ, reason="this is the run that the test would start")
def test_the_contract_holds_on_the_standard_librarys_pool():
    places = [str(Path(pointsman.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-k",
            # Not where a clock of a fifth of a second is meant for workers that start faster.
            "processes and not test_wait_returns",
            "test_contract.py",
            "test_map.py",
            "test_executor.py",
        ],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env={**os.environ, "POINTSMAN_PROCESSES": "stdlib", "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )

    assert ended.returncode == 0, ended.stdout[-3000:]
    assert " passed" in ended.stdout


def test_the_environment_chooses_the_pool(standard):
    with pointsman.Executor(1, backend="processes") as one:
        assert one.submit(functions.square, 7).result(functions.PATIENCE) == 49
        assert isinstance(one._pool, StandardProcesses)
        assert one.submit(os.getpid).result(functions.PATIENCE) != os.getpid()


def test_a_word_that_names_no_pool_is_refused(monkeypatch):
    monkeypatch.setenv("POINTSMAN_PROCESSES", "best")
    with pytest.raises(pointsman.InvalidArgumentError, match="POINTSMAN_PROCESSES"):
        _pool.make(1)


@pytest.mark.parametrize("terms", [{"timeout": 1}, {"retries": 1}, {"kill_on_cancel": True}])
def test_what_only_the_native_pool_can_do_is_an_error(standard, terms):
    with pointsman.Executor(1, backend="processes") as one:
        error = one.options(**terms).submit(functions.square, 1).exception(functions.PATIENCE)

    assert isinstance(error, pointsman.InvalidArgumentError)
    assert "native" in str(error)


def test_calls_that_raise_what_was_named_are_begun_again(standard, tmp_path):
    paths = [str(tmp_path / str(n)) for n in range(3)]
    with pointsman.Executor(1, backend="processes") as one:
        view = one.options(retries=2, retry_on=FileNotFoundError)
        assert view.submit(_exists_the_third_time, paths[0]).result(functions.PATIENCE) == 3
    options = {"backend": "processes", "retries": 2, "retry_on": FileNotFoundError}
    assert pointsman.execute(_exists_the_third_time, paths[1:], **options) == [3, 3]


def _exists_the_third_time(path):
    functions.note(path, "begun")
    with open(path) as file:
        times = len(file.read().split())
    if times < 3:
        raise FileNotFoundError(path)
    return times


@pytest.mark.parametrize("limit", ["memory_limit", "shared_memory"])
def test_limits_of_memory_are_refused_at_once(standard, limit):
    with pytest.raises(pointsman.InvalidArgumentError, match=limit):
        pointsman.Executor(1, backend="processes", **{limit: 1 << 30})


@pytest.mark.timeout(30)
def test_workers_that_have_workers_of_their_own_end_with_their_pool(standard):
    def nested(count):
        return sum(pointsman.execute(functions.square, range(count), backend="processes"))

    with pointsman.Executor(2, backend="processes") as made:
        assert made.submit(nested, 4).result(functions.PATIENCE) == 14


def test_a_death_fails_what_ran_and_later_calls_run(standard):
    with pointsman.Executor(2, backend="processes") as made:
        error = made.submit(functions.end_by_exit, 3).exception(functions.PATIENCE)

        assert isinstance(error, pointsman.WorkerDied)
        assert "end_by_exit" in str(error)
        assert made.submit(functions.square, 6).result(functions.PATIENCE) == 36


def test_workers_are_replaced_after_so_many_calls(standard):
    with pointsman.Executor(1, backend="processes", max_tasks_per_child=2) as one:
        pids = [one.submit(os.getpid).result(functions.PATIENCE) for _ in range(4)]

    assert len(set(pids)) == 2


def test_workers_end_with_a_program_that_was_killed(tmp_path):
    source = """
import functions, os, pointsman, time
os.environ["POINTSMAN_PROCESSES"] = "stdlib"
executor = pointsman.Executor(2, backend="processes")
print(executor.submit(functions.process, 0).result(), flush=True)
executor.submit(functions.sleep_long, 1)
time.sleep(600)
"""
    with program(tmp_path, source) as running:
        worker = int(running.line())
        started = family(running.pid)
        running.process.kill()

        assert wait_until(lambda: not runs(worker))
        assert wait_until(lambda: not any(alive(process) for process in started))
