"""Parallel work inside a worker: it runs, and the machine is not flooded with processes and threads.

What it does not know: how a worker learns its share of the cores.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

import functions
import pointsman
from fixtures import run_program

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def executor():
    with pointsman.Executor(2, backend="processes") as made:
        yield made


def job_inside(backend):
    return sum(pointsman.execute(functions.square, range(200), backend=backend))


@pytest.mark.parametrize("backend", ["auto", "inline", "threads", "processes"])
def test_a_job_inside_a_worker_runs(executor, backend):
    assert executor.submit(job_inside, backend).result(functions.PATIENCE) == sum(n * n for n in range(200))


def executor_inside(backend):
    with pointsman.Executor(2, backend=backend) as inner:
        return sum(inner.map(functions.square, range(50)))


@pytest.mark.parametrize("backend", ["auto", "threads", "processes"])
def test_an_executor_inside_a_worker_runs(executor, backend):
    assert executor.submit(executor_inside, backend).result(functions.PATIENCE) == sum(n * n for n in range(50))


def multiprocessing_inside():
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(functions.square, range(20))


def test_multiprocessing_inside_a_worker_runs(executor):
    assert executor.submit(multiprocessing_inside).result(functions.PATIENCE) == [n * n for n in range(20)]


def standard_executor_inside():
    import concurrent.futures
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as inner:
        return list(inner.map(functions.square, range(20)))


def test_a_standard_executor_inside_a_worker_runs(executor):
    assert executor.submit(standard_executor_inside).result(functions.PATIENCE) == [n * n for n in range(20)]


def joblib_inside():
    import joblib

    return joblib.cpu_count(), joblib.Parallel(n_jobs=-1)(joblib.delayed(functions.square)(n) for n in range(20))


@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
def test_joblib_inside_a_worker_runs_with_the_workers_share(executor):
    count, results = executor.submit(joblib_inside).result(functions.PATIENCE)

    assert results == [n * n for n in range(20)]
    assert count <= max(1, (os.cpu_count() or 1) // 2)


def subprocess_inside():
    return subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout


def test_a_program_may_be_run_inside_a_worker(executor):
    assert executor.submit(subprocess_inside).result(functions.PATIENCE).strip() == "42"


def fork_inside():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"from the child")
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(read, 100)


def test_a_worker_may_fork(executor):
    assert executor.submit(fork_inside).result(functions.PATIENCE) == b"from the child"


def forget_to_leave():
    """A forked child that returns into the worker's loop, as a careless one does."""
    return os.fork() == 0


def test_a_forked_child_that_does_not_leave_spoils_no_result(executor):
    assert executor.submit(forget_to_leave).result(functions.PATIENCE) is False
    assert list(executor.map(functions.square, range(50))) == [n * n for n in range(50)]


def shares(_):
    import time

    from pointsman._machine import facts

    time.sleep(0.02)
    return facts().cores, int(os.environ["OMP_NUM_THREADS"]), int(os.environ["OPENBLAS_NUM_THREADS"])


def test_the_cores_and_the_threads_of_blas_are_shared_out_among_the_workers(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import os
        for name in list(os.environ):
            if name.endswith("_NUM_THREADS"):
                del os.environ[name]
        import pointsman
        from pointsman._machine import facts
        from test_nested import shares

        cores = facts().cores
        with pointsman.Executor(2, backend="processes") as executor:
            seen = set(executor.map(shares, range(20)))
        print(all(share <= max(1, cores / 2) and blas <= max(1, cores / 2) and open_ == blas for share, blas, open_ in seen))
        """.replace(
            "from test_nested",
            "import sys; sys.path.insert(0, " + repr(os.path.dirname(__file__)) + ")\n        from test_nested",
        ),
    )

    assert printed == "True"


def nested_count(_):
    import psutil

    pointsman.execute(functions.spin, range(60))
    return len(psutil.Process().children(recursive=True))


def test_automatic_jobs_inside_workers_start_no_crowd_of_processes():
    cores = os.cpu_count() or 1
    with pointsman.Executor(cores, backend="processes") as executor:
        below = list(executor.map(nested_count, range(cores)))

    assert max(below) == 0
