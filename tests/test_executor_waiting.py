"""Calls that wait for calls, or for room: they end, whoever waits for whom, and no executor outgrows its size for long.

What it does not know: the order of queued calls, or what executors share with the standard library's.
"""

import asyncio
import concurrent.futures
import threading
import time

import pytest

import functions
import pointsman
from fixtures import wait_until

pytestmark = pytest.mark.timeout(60)

SIZES = pytest.mark.parametrize("workers", [1, 2, 3])


def most_threads(executor, futures):
    """The most threads that an executor had at any look until the futures were done."""
    most = 0
    while not all(future.done() for future in futures):
        most = max(most, executor.get_stats().active_threads)
        time.sleep(0.001)
    return most


@SIZES
def test_a_call_may_wait_for_an_earlier_one_that_waits_for_its_own(workers):
    gate = threading.Event()
    with pointsman.Executor(workers, backend="threads") as executor:

        def first():
            gate.wait(functions.PATIENCE)
            return executor.submit(functions.square, 5).result()

        earlier = executor.submit(first)
        later = [executor.submit(lambda: earlier.result() + 1) for _ in range(20)]
        gate.set()

        assert [future.result(functions.PATIENCE) for future in later] == [26] * 20


@pytest.mark.parametrize(
    "wait", [concurrent.futures.wait, lambda futures: list(concurrent.futures.as_completed(futures))]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_calls_that_wait_by_the_standard_librarys_means_always_find_a_worker(wait, workers):
    def leaves(depth):
        if depth == 0:
            return 1
        futures = [executor.submit(leaves, depth - 1) for _ in range(3)]
        wait(futures)
        return sum(future.result() for future in futures)

    for _ in range(40):
        with pointsman.Executor(workers) as executor:
            assert executor.submit(leaves, 3).result(functions.PATIENCE) == 27


async def gathered(futures):
    await asyncio.gather(*futures)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "wait",
    [
        concurrent.futures.wait,
        lambda futures: list(concurrent.futures.as_completed(futures)),
        lambda futures: asyncio.run(gathered(futures)),
    ],
    ids=["wait", "as_completed", "gather"],
)
def test_two_executors_that_wait_for_each_other_by_other_means_go_on(wait, workers):
    def leaves(depth, here, there):
        if depth == 0:
            return 1
        futures = [there.submit(leaves, depth - 1, there, here) for _ in range(2)]
        wait(futures)
        return sum(future.result() for future in futures)

    with pointsman.Executor(workers) as one, pointsman.Executor(workers) as other:
        assert one.submit(leaves, 4, one, other).result(functions.PATIENCE) == 16


def test_an_executor_for_whose_calls_another_ones_worker_waits_stays_as_it_is():
    lock, running, most = threading.Lock(), [0], [0]

    def one_of_many(_number):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1

    with pointsman.Executor(1) as one, pointsman.Executor(1) as other:
        one.submit(lambda: concurrent.futures.wait([other.submit(one_of_many, n) for n in range(20)])).result()

    assert most[0] == 1


def test_a_call_that_waits_runs_no_other_on_its_stack():
    inside = threading.local()
    seen = []
    with pointsman.Executor(2, backend="threads") as executor:
        gate = threading.Event()
        blocker = executor.submit(gate.wait, functions.PATIENCE)

        def outer():
            inside.outer = True
            try:
                return blocker.result()
            finally:
                inside.outer = False

        waiting = executor.submit(outer)
        others = [executor.submit(lambda: seen.append(getattr(inside, "outer", False))) for _ in range(10)]
        time.sleep(0.05)
        gate.set()
        concurrent.futures.wait([waiting, *others])

    assert seen == [False] * 10


def test_calls_that_wait_for_another_executor_leave_both_at_their_size():
    with pointsman.Executor(3, backend="threads") as many, pointsman.Executor(1, backend="threads") as one:
        threads = set()

        def serial(n):
            threads.add(threading.get_ident())
            time.sleep(0.001)
            return n

        futures = [many.submit(lambda n: one.submit(serial, n).result(), n) for n in range(100)]
        most = most_threads(many, futures)

        assert [future.result() for future in futures] == list(range(100))
    assert most <= 3
    # What is used by one thread only (a connection to a database) may rely on it.
    assert len(threads) == 1


def test_executors_in_a_circle_end_at_any_depth():
    executors = [pointsman.Executor(1, backend="threads") for _ in range(3)]

    def step(n):
        return n if n == 0 else executors[n % 3].submit(step, n - 1).result() + 1

    futures = [executor.submit(step, 30) for executor in executors]

    assert [future.result(functions.PATIENCE) for future in futures] == [30] * 3
    for executor in executors:
        executor.shutdown()


@SIZES
def test_calls_that_wait_with_a_time_limit_end_too(workers):
    with pointsman.Executor(workers, backend="threads") as executor:

        def deep(n):
            return 0 if n == 0 else 1 + executor.submit(deep, n - 1).result(functions.PATIENCE)

        assert executor.submit(deep, 30).result(functions.PATIENCE) == 30


def test_a_time_limit_holds_for_a_worker_that_could_run_the_call_itself():
    with pointsman.Executor(1, backend="threads") as executor:
        gate = threading.Event()

        def outer():
            inner = executor.submit(gate.wait, functions.PATIENCE)
            with pytest.raises(TimeoutError):
                inner.result(0.05)
            gate.set()
            return inner.result()

        assert executor.submit(outer).result(functions.PATIENCE) is True


def test_maps_inside_calls_end_at_any_depth():
    with pointsman.Executor(2, backend="threads") as executor:

        def deep(n):
            return 1 if n == 0 else sum(executor.map(deep, [n - 1]))

        def wide(n):
            return 1 if n == 0 else sum(executor.map(wide, [n - 1, n - 1], timeout=functions.PATIENCE))

        assert executor.submit(deep, 60).result(functions.PATIENCE) == 1
        assert executor.submit(wide, 5).result(functions.PATIENCE) == 32


def test_many_calls_that_wait_by_other_means_do_not_each_get_a_thread():
    with pointsman.Executor(2, backend="threads") as executor:

        def outer(n):
            inner = executor.submit(functions.square, n)
            concurrent.futures.wait([inner])
            return inner.result()

        futures = [executor.submit(outer, n) for n in range(100)]
        most = most_threads(executor, futures)

        assert [future.result() for future in futures] == [n * n for n in range(100)]
        # On a busy machine some are late to give theirs back.
        assert most < 50
        assert wait_until(lambda: executor.get_stats().active_threads <= 2)


# ------------------------------------------------------------------------------------------- room


def test_calls_that_fill_their_own_queue_end():
    with pointsman.Executor(2, backend="threads", queue_capacity=2) as executor:
        seen = []

        def visit(n):
            seen.append(n)
            if n < 500:
                executor.submit(visit, 2 * n)
                executor.submit(visit, 2 * n + 1)

        executor.submit(visit, 1).result(functions.PATIENCE)

        assert wait_until(lambda: len(seen) == 999)


def test_a_full_queue_holds_up_the_workers_of_another_executor():
    with (
        pointsman.Executor(1, backend="threads") as one,
        pointsman.Executor(1, backend="threads", queue_capacity=3) as other,
    ):
        futures, most = [], 0

        def feed():
            futures.extend(other.submit(functions.nap, n) for n in range(30))

        feeding = one.submit(feed)
        while not feeding.done():
            most = max(most, other.get_stats().queued_tasks)
            time.sleep(0.001)

        assert [future.result(functions.PATIENCE) for future in futures] == list(range(30))
        assert most <= 4


def test_two_executors_whose_calls_fill_each_others_queues_end():
    one = pointsman.Executor(1, backend="threads", queue_capacity=1)
    other = pointsman.Executor(1, backend="threads", queue_capacity=1)
    seen = []

    def grow(n, mine, theirs):
        seen.append(n)
        for _ in range(3 if n else 0):
            theirs.submit(grow, n - 1, theirs, mine)

    one.submit(grow, 4, one, other)

    assert wait_until(lambda: len(seen) == (3**5 - 1) // 2, functions.PATIENCE)
    one.shutdown()
    other.shutdown()


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_callback_never_waits_for_room(place):
    with pointsman.Executor(1, backend=place, queue_capacity=1) as executor:
        left, done = 100, threading.Event()
        lock = threading.Lock()

        def again(_future):
            nonlocal left
            with lock:
                left -= 1
            if left > 0:
                executor.submit(functions.square, 2).add_done_callback(again)
            else:
                done.set()

        for _ in range(2):
            executor.submit(functions.square, 2).add_done_callback(again)

        assert done.wait(functions.PATIENCE)


def test_a_loop_of_trio_never_waits_for_room():
    trio = pytest.importorskip("trio")

    async def main(executor):
        token = trio.lowlevel.current_trio_token()

        def ask(n):
            return trio.from_thread.run_sync(lambda: n, trio_token=token)

        futures = [executor.submit(ask, n) for n in range(10)]
        return [await future for future in futures]

    with pointsman.Executor(1, backend="threads", queue_capacity=1) as executor:
        assert trio.run(main, executor) == list(range(10))
