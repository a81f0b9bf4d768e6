"""A worker process as others see it: a child of the program, which ends what its calls have left running.

What it does not know: how workers are started.
"""

import logging
import os
import subprocess
import sys
import time

import pytest

import pointsman
from functions import PATIENCE

pytestmark = pytest.mark.timeout(60)


def who():
    import multiprocessing

    parent = multiprocessing.parent_process()
    return multiprocessing.current_process().name, parent.pid, parent.is_alive(), multiprocessing.active_children()


def name_in_record():
    import multiprocessing

    assert multiprocessing.current_process()
    return logging.makeLogRecord({}).processName, logging.LogRecord("a", 1, "p", 1, "m", (), None).processName


def pool_of_its_own():
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(who)


def start_a_thread(path):
    import threading
    import time

    def later():
        time.sleep(0.3)
        with open(path, "a") as file:
            file.write("thread\n")

    threading.Thread(target=later).start()


def leave_a_finalizer(path):
    import multiprocessing.util

    multiprocessing.util.Finalize(None, append, args=(path,), exitpriority=1)


def append(path):
    with open(path, "a") as file:
        file.write("finalizer\n")


@pytest.fixture
def worker():
    with pointsman.Executor(1, backend="processes") as made:
        yield made


def test_multiprocessing_says_that_it_is_a_child(worker):
    for _ in range(2):
        name, parent, alive, children = worker.submit(who).result(PATIENCE)

        assert name.startswith("PointsmanProcess-")
        assert (parent, alive, children) == (os.getpid(), True, [])


def needs_site():
    from pointsman import _zygote

    return _zygote._needs_site()


def test_that_makes_no_start_of_pools_inside_of_it_longer(worker):
    assert not worker.submit(needs_site).result(PATIENCE)


def test_records_of_loggers_name_it(worker):
    assert worker.submit(name_in_record).result(PATIENCE)[1].startswith("PointsmanProcess-")


def test_children_of_its_own_are_named_as_everywhere(worker):
    assert "PoolWorker" in worker.submit(pool_of_its_own).result(PATIENCE)[0]


@pytest.mark.parametrize(("call", "note"), [(start_a_thread, "thread\n"), (leave_a_finalizer, "finalizer\n")])
def test_what_a_call_has_left_running_ends_before_its_worker(tmp_path, call, note):
    path = tmp_path / "notes"
    with pointsman.Executor(1, backend="processes") as executor:
        executor.submit(call, str(path)).result(PATIENCE)

    assert path.read_text() == note


REDIRECTED = """
import os, sys
import pointsman

def say(x):
    print("call", x, flush=True)

if __name__ == "__main__":
    pointsman.execute(say, [1], backend="processes")
    kept = os.dup(1)
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    pointsman.execute(say, [2, 3], backend="processes", max_workers=1)
    with pointsman.Executor(1, backend="processes") as executor:
        executor.submit(say, 4).result()
    os.dup2(kept, 1)
    pointsman.execute(say, [5], backend="processes")
"""


def test_what_workers_print_goes_where_the_program_s_output_goes_by_then(tmp_path):
    program, file = tmp_path / "program.py", tmp_path / "file"
    program.write_text(REDIRECTED)
    done = subprocess.run([sys.executable, program, file], capture_output=True, text=True, timeout=50, check=True)

    assert done.stdout.split("\n") == ["call 1", "call 5", ""]
    assert file.read_text().split("\n") == ["call 2", "call 3", "call 4", ""]


LEFT_RUNNING = """
import subprocess, sys, time
import pointsman

def call(x):
    if x == 0:
        time.sleep(0.3)
        raise ValueError(x)
    subprocess.run(["sleep", "77.7"])

if __name__ == "__main__":
    try:
        pointsman.execute(call, [0, 1], backend="processes", max_workers=2)
    except ValueError:
        print("raised")
"""


def test_a_program_that_ends_amid_a_call_ends_what_the_call_has_started(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(LEFT_RUNNING)
    # The pipe is read to its end, which comes when nobody has it any more.
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50, check=True)

    assert done.stdout == "raised\n"


OPEN = []


def leave_a_pool_open(kind):
    import concurrent.futures
    import multiprocessing

    context = multiprocessing.get_context("fork")
    if kind == "process":
        context.Process(target=time.sleep, args=(40,)).start()
        return kind
    pool = context.Pool(1) if kind == "pool" else concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
    OPEN.append(pool)
    return list(pool.map(abs, [-1]))


@pytest.mark.parametrize("kind", ["pool", "executor", "process"])
def test_a_worker_ends_though_a_call_has_left_processes_of_its_own(kind):
    with pointsman.Executor(1, backend="processes") as executor:
        assert executor.submit(leave_a_pool_open, kind).result(PATIENCE) in ([1], kind)
