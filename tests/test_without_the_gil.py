"""Free-threaded builds, and what many threads may do with one object on any build.

What it does not know: how fast anything is.
"""

import subprocess
import sys
import sysconfig
import threading
import time
import weakref

import pytest

import functions
import pointsman
from pointsman import _default, _native
from pointsman._machine import facts

pytestmark = pytest.mark.timeout(120)

needs_a_free_threaded_build = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded build"
)
needs_no_gil = pytest.mark.skipif(facts().gil, reason="the GIL is on")

CALLERS = 8


def together(*works):
    """Run each on a thread of its own, all begun at one moment; what they raised is raised."""
    gate = threading.Barrier(len(works))
    raised = []

    def body(work):
        gate.wait(functions.PATIENCE)
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


@needs_a_free_threaded_build
def test_importing_and_using_the_package_leaves_the_gil_off():
    program = """
import sys
import pointsman
assert pointsman.execute(abs, [-1, 2]) == [1, 2]
assert pointsman.execute(abs, [-1, 2], backend="threads", max_workers=2) == [1, 2]
assert pointsman.submit(abs, -3).result() == 3
assert pointsman.execute(lambda x: sys._is_gil_enabled(), [1], backend="processes") == [False]
print(sys._is_gil_enabled())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, done.stderr) == ("False\n", "")


@needs_no_gil
def test_auto_takes_threads_for_calls_that_compute():
    plan = pointsman.optimize(functions.spin, range(2000))

    assert plan.workload == "gil-free"
    assert plan.backend == ("threads" if facts().cores > 1 else "inline")


@needs_no_gil
def test_what_computes_counts_as_free_of_the_gil():
    plan = pointsman.optimize(functions.spin, range(2000), sample_size=5)

    assert plan.observation.held == 0
    assert plan.observation.free > 0


@needs_no_gil
@pytest.mark.skipif(facts().cores < 2, reason="one core")
def test_calls_on_threads_compute_side_by_side():
    here = [False, False]

    def call(who):
        here[who] = True
        until = time.monotonic() + functions.PATIENCE
        # Pure Python, which never waits: with a GIL, the other would have to wait for the switch interval.
        while not all(here) and time.monotonic() < until:
            pass
        return all(here)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(4 * functions.PATIENCE)
    try:
        met = pointsman.execute(call, range(2), backend="threads", max_workers=2)
    finally:
        sys.setswitchinterval(usual)

    assert met == [True, True]


def test_many_threads_may_use_the_package_for_the_first_time_at_once():
    program = """
import threading
import pointsman

gate, results = threading.Barrier(8), []

def body():
    gate.wait(30)
    results.append(pointsman.execute(abs, range(50)) == list(range(50)))
    results.append(pointsman.execute(abs, range(50), backend="threads", max_workers=2) == list(range(50)))
    results.append(pointsman.submit(abs, -1).result() == 1)
    results.append(list(pointsman.map(abs, range(50))) == list(range(50)))

threads = [threading.Thread(target=body) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), all(results))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("32 True\n", "")


def test_the_programs_pool_of_threads_is_made_once_however_many_ask():
    _default.shutdown()
    found = []

    together(*[lambda: found.append(_default.threads())] * CALLERS)

    assert len(found) == CALLERS
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize("done", [False, True], ids=["pending", "done"])
@pytest.mark.parametrize("attempt", range(20))
def test_callbacks_that_many_threads_add_to_one_future_are_each_called_once(done, attempt):
    gate = threading.Event()
    called = []
    with pointsman.Executor(1, backend="threads") as executor:
        future = executor.submit(gate.wait, functions.PATIENCE)
        if done:
            gate.set()
            future.result()
        adders = [lambda n=n: future.add_done_callback(lambda _: called.append(n)) for n in range(CALLERS)]
        together(*adders, gate.set)

    assert sorted(called) == list(range(CALLERS))


def test_one_outcome_read_by_many_threads_is_decoded_once():
    with pointsman.Executor(1, backend="processes") as executor:
        future = executor.submit(bytes, 100_000)
        read = []
        together(*[lambda: read.append(future.result())] * CALLERS)

    assert len(read) == CALLERS
    assert len(set(map(id, read))) == 1


@pytest.mark.parametrize("attempt", range(20))
def test_cancels_and_outcomes_of_many_threads_agree(attempt):
    with pointsman.Executor(2, backend="threads") as executor:
        futures = [executor.submit(functions.same, n) for n in range(200)]
        together(*[lambda part=part: [future.cancel() for future in futures[part::4]] for part in range(4)])
    cancelled = sum(future.cancelled() for future in futures)
    stats = executor.get_stats()

    assert all(future.done() for future in futures)
    assert [future.result() for future in futures if not future.cancelled()] == [
        n for n, future in enumerate(futures) if not future.cancelled()
    ]
    assert stats.completed_tasks == len(futures) - cancelled


def test_submits_of_many_threads_are_each_run_once():
    ran = []
    with pointsman.Executor(4, backend="threads") as executor:

        def submit(part):
            for future in [executor.submit(ran.append, (part, n)) for n in range(500)]:
                future.result()

        together(*[lambda part=part: submit(part) for part in range(CALLERS)])

    assert sorted(ran) == [(part, n) for part in range(CALLERS) for n in range(500)]


def test_results_that_were_taken_from_a_job_are_let_go_of_by_whoever_has_taken_them():
    class Result:
        pass

    # Else the job would drop them in the middle of its own books, where user code must not run.
    job = _native.SharedJob(lambda _: Result(), False, False)
    job.push(list(range(100)))
    while job.figures()[0]:
        job.run(0)
    results, _ = job.take()
    left = [weakref.ref(result) for result in results]
    del results

    assert len(left) == 100
    assert all(result() is None for result in left)
