"""A worker that dies fails the call that it was running, and nothing else.

What it does not know: how a death is noticed.

Invariants:
    D1. Every test ends with calls on the same pool that must succeed.
"""

import concurrent.futures
import os
import pickle
import signal
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import psutil
import pytest

import functions
import pointsman
from fixtures import wait_until

pytestmark = pytest.mark.timeout(60)

ENDS = {
    "SIGKILL": partial(functions.end_by_signal, signal.SIGKILL),
    "SIGTERM": partial(functions.end_by_signal, signal.SIGTERM),
    "SIGSEGV": functions.end_by_segfault,
    "SIGABRT": functions.end_by_abort,
    "code 5": partial(functions.end_by_exit, 5),
    "code 0": partial(functions.end_by_exit, 0),
}


@pytest.fixture
def executor():
    with pointsman.Executor(2, backend="processes") as made:
        yield made
        assert [made.submit(functions.square, n).result(functions.PATIENCE) for n in range(20)] == [
            n * n for n in range(20)
        ]


def end(how):
    """End the worker in the way that is named, and without a word on standard error."""
    import faulthandler

    faulthandler.disable()
    ENDS[how]()


@pytest.mark.parametrize("how", ENDS)
def test_a_death_in_a_call_fails_the_call_with_its_cause_and_function(executor, how):
    error = executor.submit(end, how).exception(functions.PATIENCE)

    assert type(error) is pointsman.WorkerDied
    assert isinstance(error, BrokenProcessPool)
    assert isinstance(error, concurrent.futures.BrokenExecutor)
    assert isinstance(error, pointsman.PointsmanError)
    assert how in str(error)
    assert "end" in str(error)
    assert error.function == "end"


@pytest.mark.parametrize("how", ENDS)
def test_a_death_fails_no_other_call(executor, how):
    before = [executor.submit(functions.nap, n) for n in range(30)]
    victim = executor.submit(end, how)
    after = [executor.submit(functions.nap, n) for n in range(30)]

    assert isinstance(victim.exception(functions.PATIENCE), pointsman.WorkerDied)
    assert [future.result(functions.PATIENCE) for future in [*before, *after]] == [*range(30), *range(30)]


@pytest.mark.parametrize("how", ["SIGKILL", "code 5"])
def test_a_call_that_always_kills_its_worker_fails_each_time(executor, how):
    errors = [executor.submit(end, how).exception(functions.PATIENCE) for _ in range(8)]

    assert [type(error) for error in errors] == [pointsman.WorkerDied] * 8


def test_many_deaths_among_many_calls_settle_every_call_once(executor, tmp_path):
    path = tmp_path / "calls"

    def call(n):
        functions.note(str(path), n)
        if n % 10 == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    futures = [executor.submit(call, n) for n in range(150)]
    concurrent.futures.wait(futures, functions.PATIENCE)

    assert [future.exception() is not None for future in futures] == [n % 10 == 3 for n in range(150)]
    assert [future.result() for future in futures if future.exception() is None] == [
        n for n in range(150) if n % 10 != 3
    ]
    assert sorted(map(int, path.read_text().split())) == list(range(150))


def test_leaving_by_sys_exit_fails_only_its_own_call(executor):
    error = executor.submit(functions.leave, 3).exception(functions.PATIENCE)

    assert isinstance(error, (SystemExit, pointsman.WorkerDied))


@pytest.mark.parametrize("chunksize", [1, 7, 100])
def test_in_a_job_the_death_names_the_index_of_its_item(chunksize):
    with pytest.raises(pointsman.WorkerDied) as caught:
        pointsman.execute(partial(functions.end_at, 23), range(60), backend="processes", chunksize=chunksize)

    assert caught.value.index == 23
    assert "item 23" in str(caught.value)
    assert "SIGKILL" in str(caught.value)
    assert caught.value.cause == "signal"
    assert caught.value.number == signal.SIGKILL
    assert "end_at" in str(caught.value)
    assert pointsman.execute(functions.square, range(60), backend="processes") == [x * x for x in range(60)]


@pytest.mark.parametrize("chunksize", [None, 1, 7, 100])
@pytest.mark.parametrize("bad", [0, 23, 59])
def test_in_a_job_every_other_result_arrives(bad, chunksize):
    results = pointsman.execute(
        partial(functions.end_at, bad), range(60), backend="processes", chunksize=chunksize, on_error="return"
    )

    assert isinstance(results[bad], pointsman.WorkerDied)
    assert results[bad].index == bad
    assert results[:bad] + results[bad + 1 :] == [x * 10 for x in range(60) if x != bad]


def test_map_yields_the_results_before_the_death():
    results = pointsman.map(partial(functions.end_at, 23), range(60), backend="processes", max_workers=2)

    assert [next(results) for _ in range(23)] == [x * 10 for x in range(23)]
    with pytest.raises(pointsman.WorkerDied):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 10])
def test_calls_beside_a_death_are_not_run_twice(tmp_path, chunksize):
    path = tmp_path / "calls"

    def call(n):
        functions.note(str(path), n)
        return functions.end_at(31, n)

    pointsman.execute(call, range(100), backend="processes", chunksize=chunksize, on_error="return")

    assert sorted(map(int, path.read_text().split())) == list(range(100))


def test_an_idle_worker_that_is_killed_is_replaced(executor):
    pids = {executor.submit(functions.process).result() for _ in range(20)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    # A call that reaches a worker just as it dies may fail with it; those after it must not.
    def answers():
        future = executor.submit(functions.process)
        return future.exception(functions.PATIENCE) is None and future.result() not in pids

    assert wait_until(answers)


def test_all_workers_killed_under_load_cost_only_the_calls_that_ran(executor):
    futures = [executor.submit(functions.nap, n) for n in range(200)]
    futures[0].result(functions.PATIENCE)
    pids = [child.pid for child in psutil.Process().children(recursive=True) if is_worker_of(executor, child.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    failed = [future for future in futures if future.exception(functions.PATIENCE) is not None]

    assert len(pids) == 2
    assert len(failed) <= 2
    assert all(isinstance(future.exception(), pointsman.WorkerDied) for future in failed)
    assert all(future.result() == n for n, future in enumerate(futures) if future not in failed)


def is_worker_of(executor, pid):
    return pid in executor._pool.native.pids()


def test_a_death_while_its_arguments_are_unpickled_fails_that_call(executor):
    error = executor.submit(functions.same, EndsWhenLoaded()).exception(functions.PATIENCE)

    assert isinstance(error, pointsman.WorkerDied)


def test_a_death_while_its_result_is_pickled_fails_that_call(executor):
    error = executor.submit(EndsWhenSaved).exception(functions.PATIENCE)

    assert isinstance(error, pointsman.WorkerDied)


class EndsWhenLoaded:
    def __reduce__(self):
        return functions.end_by_signal, (signal.SIGKILL,)


class EndsWhenSaved:
    def __reduce__(self):
        functions.end_by_signal(signal.SIGKILL)
        return EndsWhenSaved, ()


def test_a_death_after_a_large_result_leaves_the_large_result_whole(executor):
    large = [executor.submit(bytes, 1_000_000) for _ in range(10)]
    victim = executor.submit(end, "SIGKILL")

    assert isinstance(victim.exception(functions.PATIENCE), pointsman.WorkerDied)
    assert all(future.result(functions.PATIENCE) == bytes(1_000_000) for future in large)


def test_the_error_of_a_death_can_be_pickled(executor):
    error = executor.submit(end, "code 5").exception(functions.PATIENCE)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is pointsman.WorkerDied
    assert str(again) == str(error)
    assert (again.cause, again.number, again.function) == ("exit", 5, "end")


def test_a_dying_worker_of_one_pool_does_not_disturb_another(executor):
    with pointsman.Executor(1, backend="processes") as other:
        victim = other.submit(end, "SIGKILL")
        neighbours = [executor.submit(functions.nap, n) for n in range(20)]

        assert isinstance(victim.exception(functions.PATIENCE), pointsman.WorkerDied)
        assert [future.result(functions.PATIENCE) for future in neighbours] == list(range(20))


@pytest.mark.parametrize("round_", range(10))
def test_a_death_during_an_automatic_job_costs_no_call_of_another_process_and_repeats_none(round_, tmp_path):
    # `auto` may run the call here, so only a call that runs elsewhere dies. Where the caller's thread takes part it may
    # take chunks back from the workers; several rounds, since it must happen to take the one that was interrupted.
    home, path = os.getpid(), tmp_path / "calls"

    def call(n):
        functions.spin(n)
        functions.note(str(path), n)
        if n == 150 and os.getpid() != home:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    results = pointsman.execute(call, range(200), on_error="return")

    # Where a worker process has several threads, the calls that run side by side in it die together.
    died = {n: result for n, result in enumerate(results) if isinstance(result, pointsman.WorkerDied)}
    assert [result for n, result in enumerate(results) if n not in died] == [n for n in range(200) if n not in died]
    assert list(died) == [error.index for error in died.values()]
    assert not died or {error.pid for error in died.values()} == {died[150].pid}
    noted = path.read_text().split()
    assert len(noted) == len(set(noted))
