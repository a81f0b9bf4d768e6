"""Every way to end a worker, at every stage of a call: only the victim's call fails, and says how and where.

What it does not know: how a death is noticed, or which worker runs what.

Invariants:
    S1. Every test ends with calls on the same pool that must succeed.
"""

import contextlib
import os
import pickle
import resource
import signal
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

import functions
import pointsman
from deaths import WAYS, DiesWhenLoaded, DiesWhenSaved, ExitsWhenLoaded, ExitsWhenSaved, end, give
from fixtures import wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def executor():
    with pointsman.Executor(2, backend="processes") as made:
        yield made
        assert list(made.map(functions.square, range(40))) == [x * x for x in range(40)]


def at_arguments(how):
    return functions.same, (DiesWhenLoaded(how),)


def in_the_function(how):
    return end, (how,)


def at_the_result(how):
    return give, (DiesWhenSaved, how)


STAGES = {"arguments": at_arguments, "function": in_the_function, "result": at_the_result}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_death_at_any_stage_fails_that_call_alone_and_names_it(executor, stage, how):
    before = [executor.submit(functions.nap, n) for n in range(10)]
    function, args = STAGES[stage](how)
    victim = executor.submit(function, *args)
    after = [executor.submit(functions.nap, n) for n in range(10)]
    error = victim.exception(functions.PATIENCE)

    assert type(error) is pointsman.WorkerDied
    assert how in str(error)
    assert function.__name__ in str(error)
    assert [future.result(functions.PATIENCE) for future in [*before, *after]] == [*range(10), *range(10)]


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("stage", ["function", "result"])
@pytest.mark.parametrize("how", WAYS)
def test_in_a_job_the_death_names_its_item_at_any_stage(stage, how, chunksize):
    def call(n):
        if n != 6:
            return n
        return end(how) if stage == "function" else DiesWhenSaved(how)

    results = pointsman.execute(call, range(12), backend="processes", chunksize=chunksize, on_error="return")

    assert type(results[6]) is pointsman.WorkerDied
    assert "item 6" in str(results[6])
    assert how in str(results[6])
    assert [result for n, result in enumerate(results) if n != 6] == [n for n in range(12) if n != 6]


def test_in_a_job_arguments_that_kill_fail_their_chunk_item_by_item():
    # The arguments of a chunk are read before its first call: each call of the chunk meets the bad one.
    items = [DiesWhenLoaded("SIGKILL") if n == 5 else n for n in range(8)]
    results = pointsman.execute(functions.same, items, backend="processes", chunksize=1, on_error="return")

    assert [n for n, result in enumerate(results) if isinstance(result, pointsman.WorkerDied)] == [5]
    assert "item 5" in str(results[5])
    assert [result for n, result in enumerate(results) if n != 5] == [n for n in range(8) if n != 5]


def raise_exit(code):
    sys.exit(code)


@pytest.mark.parametrize("code", [0, 3, "a word"])
def test_sys_exit_ends_the_call_and_nothing_else(executor, code):
    neighbours = [executor.submit(functions.nap, n) for n in range(6)]
    error = executor.submit(raise_exit, code).exception(functions.PATIENCE)

    assert type(error) is SystemExit
    assert error.code == code
    assert [future.result(functions.PATIENCE) for future in neighbours] == list(range(6))


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [(functions.same, (ExitsWhenLoaded(),), pointsman.UnreadableError), (give, (ExitsWhenSaved,), SystemExit)],
    ids=["arguments", "result"],
)
def test_sys_exit_while_packing_ends_the_call_and_nothing_else(function, args, kind):
    # Both as in the standard library, whose whole pool breaks at the first.
    with pointsman.Executor(1, backend="processes") as one:
        worker = one.submit(os.getpid).result(functions.PATIENCE)
        neighbours = [one.submit(functions.nap, n) for n in range(6)]
        error = one.submit(function, *args).exception(functions.PATIENCE)

        assert type(error) is kind
        assert isinstance(error, (SystemExit, BrokenProcessPool))
        assert [future.result(functions.PATIENCE) for future in neighbours] == list(range(6))
        assert one.submit(os.getpid).result(functions.PATIENCE) == worker


# --------------------------------------------------------------------------------------------------- out of memory

LITTLE = 400 << 20


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + LITTLE, resource.RLIM_INFINITY))


def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def take_all(_=None):
    held = []
    while True:
        held.append(bytearray(16 << 20))


class Swells:
    """Takes more memory than there is when it is unpickled, or when it is pickled."""

    def __init__(self, when):
        self.when = when

    def __reduce__(self):
        if self.when == "saved":
            take_all()
        return take_all, ()


def swell(when):
    return Swells(when)


@pytest.fixture
def cramped():
    with pointsman.Executor(2, backend="processes", initializer=limit_memory) as made:
        yield made
        assert list(made.map(functions.square, range(40))) == [x * x for x in range(40)]


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (take_all, ()),
        (functions.same, (Swells("loaded"),)),
        (swell, ("saved",)),
        (bytes, (1 << 30,)),
    ],
    ids=["function", "arguments", "result", "large result"],
)
def test_a_call_that_runs_out_of_memory_fails_alone(cramped, function, args):
    neighbours = [cramped.submit(functions.nap, n) for n in range(6)]
    error = cramped.submit(function, *args).exception(functions.PATIENCE)

    assert isinstance(error, (MemoryError, pointsman.CannotTravelError, pointsman.WorkerDied)), repr(error)
    assert "Memory" in repr(error) or isinstance(error, pointsman.WorkerDied)
    assert [future.result(functions.PATIENCE) for future in neighbours] == list(range(6))


# -------------------------------------------------------------------------------------- between calls, idle, at the end


def workers(executor):
    return executor._pool.native.pids()


def strike(executor, number=signal.SIGKILL):
    """Send a signal to every worker; one that is dead already may still be in the books."""
    for pid in workers(executor):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_idle_workers_that_are_killed_are_replaced_and_fail_nothing(executor, number):
    assert executor.submit(functions.square, 2).result(functions.PATIENCE) == 4
    assert wait_until(lambda: len(workers(executor)) == 2)
    time.sleep(0.2)
    old = workers(executor)
    for pid in old:
        os.kill(pid, number)

    assert wait_until(lambda: len(workers(executor)) == 2 and not set(old) & set(workers(executor)))
    assert executor.get_stats().failed_tasks == 0


def test_workers_that_are_killed_between_calls_fail_at_most_what_ran(executor):
    futures = []
    for n in range(300):
        futures.append(executor.submit(functions.square, n))
        if n % 50 == 25:
            futures[-1].exception(functions.PATIENCE)
            strike(executor)
    errors = [future.exception(functions.PATIENCE) for future in futures]

    assert all(error is None or isinstance(error, pointsman.WorkerDied) for error in errors)
    assert sum(error is not None for error in errors) <= 12
    assert all(future.result() == n * n for n, future in enumerate(futures) if errors[n] is None)


@pytest.mark.parametrize("cancel", [False, True])
def test_workers_that_are_killed_during_shutdown_do_not_keep_it(cancel):
    executor = pointsman.Executor(2, backend="processes")
    futures = [executor.submit(functions.nap, n) for n in range(100)]
    futures[0].result(functions.PATIENCE)
    ended = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": cancel})
    ended.start()
    for _ in range(5):
        time.sleep(0.02)
        strike(executor)
    ended.join(functions.PATIENCE)

    assert not ended.is_alive()
    assert all(future.done() for future in futures)
    failed = [future for future in futures if not future.cancelled() and future.exception() is not None]
    assert all(isinstance(future.exception(), pointsman.WorkerDied) for future in failed)
    assert len(failed) <= 10


# ------------------------------------------------------------------------------------------------------ a full ring


@pytest.mark.parametrize("size", [20_000, 30_000])
def test_deaths_while_rings_are_full_lose_no_other_call(executor, size):
    # Nobody reads meanwhile: the replies fill the rings, and the workers wait for room.
    futures = [executor.submit(bytes, size) for _ in range(400)]
    time.sleep(0.3)
    strike(executor)
    errors = [future.exception(functions.PATIENCE) for future in futures]

    assert sum(error is not None for error in errors) <= 2
    assert all(isinstance(error, pointsman.WorkerDied) for error in errors if error is not None)
    assert all(len(future.result()) == size for future, error in zip(futures, errors, strict=True) if error is None)


def test_deaths_while_the_parent_fills_its_memory_lose_no_other_call():
    with pointsman.Executor(2, backend="processes", shared_memory=16 << 20) as made:
        stop, struck = threading.Event(), set()

        def strike_one():
            while not stop.wait(0.05):
                for pid in workers(made)[:1]:
                    struck.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=strike_one)
        killer.start()
        try:
            futures = [made.submit(len, bytes(100_000 + n)) for n in range(800)]
        finally:
            time.sleep(0.3)
            stop.set()
            killer.join()
        errors = [future.exception(functions.PATIENCE) for future in futures]

        died = [error for error in errors if error is not None]
        assert all(isinstance(error, pointsman.WorkerDied) for error in died)
        # A process runs one call at a time, so no blow costs two.
        assert len({error.pid for error in died} & struck) == len(died)
        assert all(future.result() == 100_000 + n for n, future in enumerate(futures) if errors[n] is None)
        assert made.submit(functions.square, 3).result(functions.PATIENCE) == 9


def test_a_death_in_the_middle_of_a_reply_longer_than_the_ring_fails_only_that_call(executor):
    futures = [executor.submit(long_text, n) for n in range(20)]
    time.sleep(0.2)
    strike(executor)
    errors = [future.exception(functions.PATIENCE) for future in futures]

    assert sum(error is not None for error in errors) <= 2
    assert all(future.result() == long_text(n) for n, future in enumerate(futures) if errors[n] is None)


def long_text(n):
    return [f"{n}-{k}" for k in range(300_000)]


# --------------------------------------------------------------------------------------------------------- the error


def test_the_error_travels_with_all_that_it_says(executor):
    error = executor.submit(end, "SIGKILL").exception(functions.PATIENCE)
    again = pickle.loads(pickle.dumps(error))

    assert (again.cause, again.number, again.function, again.pid) == ("signal", 9, "end", error.pid)


# More than the deaths in a row after which a pool gives up whose workers never come to their first call.
TIMES = 110


@pytest.mark.parametrize("stage", ["function", "arguments"])
def test_a_call_that_always_kills_cannot_exhaust_the_pool(executor, stage):
    function, args = STAGES[stage]("SIGKILL")
    errors = [executor.submit(function, *args) for _ in range(TIMES)]
    others = [executor.submit(functions.square, n) for n in range(40)]

    assert [type(future.exception(functions.PATIENCE)) for future in errors] == [pointsman.WorkerDied] * TIMES
    assert [future.result(functions.PATIENCE) for future in others] == [n * n for n in range(40)]


def test_a_job_of_calls_that_all_kill_gives_each_its_own_error():
    results = pointsman.execute(end, ["SIGKILL"] * TIMES, backend="processes", on_error="return")

    assert [(type(result), result.index) for result in results] == [(pointsman.WorkerDied, n) for n in range(TIMES)]


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_in_a_map_of_an_executor_the_death_names_its_item(executor, chunksize):
    results = executor.map(functions.end_at, [6] * 12, range(12), chunksize=chunksize)
    before = [next(results) for _ in range(6)]
    with pytest.raises(pointsman.WorkerDied, match=r"SIGKILL while it ran end_at \(item 6\)") as caught:
        next(results)

    assert before == [0, 10, 20, 30, 40, 50]
    assert caught.value.index == 6
