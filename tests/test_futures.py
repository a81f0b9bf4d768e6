"""Futures: those of the standard library in every respect that users rely on, and awaitable.

What it does not know: how an executor is made or shut down (test_executor.py).
"""

import asyncio
import concurrent.futures
import gc
import threading
import time
import weakref
from functools import partial

import pytest

import functions
import pointsman
from functions import Boom

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["threads", "processes"])
def executor(request):
    with pointsman.Executor(2, backend=request.param) as made:
        yield made


class Gate:
    """Keeps calls of an executor waiting, in whichever process they run."""

    def __init__(self, folder):
        self.path = folder / "open"

    def open(self):
        self.path.touch()

    @property
    def call(self):
        return partial(wait_for, str(self.path))


def wait_for(path, value=None):
    import os

    until = time.monotonic() + functions.PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.002)
    return value


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path)
    yield made
    made.open()


def test_a_future_is_one_of_the_standard_library(executor):
    future = executor.submit(functions.square, 3)

    assert isinstance(future, concurrent.futures.Future)
    assert isinstance(future, pointsman.Future)
    assert future.result() == 9


def test_a_result_can_be_asked_for_again(executor):
    future = executor.submit(functions.same, ["one"])

    assert future.result() is future.result()
    assert future.exception() is None
    assert future.done()
    assert not future.running()


def test_an_exception_is_raised_by_result_and_returned_by_exception(executor):
    future = executor.submit(functions.fail, 1)

    with pytest.raises(Boom, match="no luck with 1"):
        future.result()
    assert future.exception().code == 7
    assert future.exception() is future.exception()


def test_a_result_that_is_late_is_a_timeout_and_arrives_all_the_same(executor, gate):
    future = executor.submit(gate.call, "here")

    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout=0)
    gate.open()
    assert future.result(timeout=functions.PATIENCE) == "here"


def test_a_queued_call_can_be_cancelled_and_is_not_run(executor, gate, tmp_path):
    path = tmp_path / "calls"
    busy = [executor.submit(gate.call) for _ in range(2)]
    # More than the rings of two workers hold ahead.
    queued = [executor.submit(functions.note, str(path), n) for n in range(200)]

    cancelled = [future.cancel() for future in reversed(queued)][::-1]
    gate.open()
    concurrent.futures.wait([*busy, *queued], timeout=functions.PATIENCE)

    assert cancelled[-1]
    run = {int(line) for line in path.read_text().splitlines()} if path.exists() else set()
    assert run == {n for n, gone in enumerate(cancelled) if not gone}
    assert [future.cancelled() for future in queued] == cancelled
    with pytest.raises(concurrent.futures.CancelledError):
        queued[-1].result()
    with pytest.raises(concurrent.futures.CancelledError):
        queued[-1].exception()


def test_a_running_call_cannot_be_cancelled(executor, gate):
    future = executor.submit(gate.call, 1)
    while not future.running():
        time.sleep(0.001)

    assert not future.cancel()
    gate.open()
    assert future.result() == 1
    assert not future.cancel()


def test_callbacks_are_called_once_with_the_future_in_the_order_they_were_added(executor, gate):
    called = []
    future = executor.submit(gate.call, 1)
    for name in "abc":
        future.add_done_callback(lambda done, name=name: called.append((name, done)))
    told = threading.Event()
    future.add_done_callback(lambda _done: told.set())

    gate.open()

    assert told.wait(functions.PATIENCE)
    assert called == [(name, future) for name in "abc"]


def test_a_callback_of_a_future_that_is_done_is_called_at_once(executor):
    future = executor.submit(functions.square, 2)
    future.result()
    called = []

    future.add_done_callback(called.append)

    assert called == [future]


def test_a_callback_is_called_without_anybody_waiting(executor):
    told = threading.Event()

    executor.submit(functions.nap, 1).add_done_callback(lambda _done: told.set())

    assert told.wait(functions.PATIENCE)


def test_a_callback_that_raises_is_logged_and_the_others_are_called(executor, gate, caplog):
    future = executor.submit(gate.call)
    told = threading.Event()
    future.add_done_callback(lambda _done: 1 / 0)
    future.add_done_callback(lambda _done: told.set())

    gate.open()

    assert told.wait(functions.PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_submit_another_call(executor):
    second = []
    told = threading.Event()

    def submit_again(_done):
        second.append(executor.submit(functions.square, 5))
        told.set()

    executor.submit(functions.square, 4).add_done_callback(submit_again)

    assert told.wait(functions.PATIENCE)
    assert second[0].result(functions.PATIENCE) == 25


def test_wait_of_the_standard_library_knows_these_futures(executor, gate):
    quick, slow = executor.submit(functions.square, 2), executor.submit(gate.call)

    done, pending = concurrent.futures.wait([quick, slow], functions.PATIENCE, concurrent.futures.FIRST_COMPLETED)

    assert (done, pending) == ({quick}, {slow})
    gate.open()
    assert concurrent.futures.wait([quick, slow], functions.PATIENCE).done == {quick, slow}


def test_wait_can_return_at_the_first_exception(executor, gate):
    bad, slow = executor.submit(functions.fail, 2), executor.submit(gate.call)

    done, _ = concurrent.futures.wait([bad, slow], functions.PATIENCE, concurrent.futures.FIRST_EXCEPTION)

    assert done == {bad}


def test_as_completed_of_the_standard_library_knows_these_futures(executor):
    futures = [executor.submit(functions.square, n) for n in range(50)]

    assert sorted(done.result() for done in concurrent.futures.as_completed(futures)) == sorted(
        n * n for n in range(50)
    )


def test_as_completed_gives_the_quick_before_the_slow(executor, gate):
    slow = executor.submit(gate.call, "slow")
    quick = executor.submit(functions.same, "quick")

    completed = concurrent.futures.as_completed([slow, quick], timeout=functions.PATIENCE)

    assert next(completed) is quick
    gate.open()
    assert next(completed) is slow


def test_these_futures_mix_with_those_of_the_standard_library(executor):
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        futures = [executor.submit(functions.square, 2), other.submit(functions.square, 3)]

        assert {done.result() for done in concurrent.futures.as_completed(futures)} == {4, 9}


def test_a_future_can_be_awaited(executor):
    async def main():
        return await executor.submit(functions.square, 7)

    assert asyncio.run(main()) == 49


def test_many_futures_can_be_gathered(executor):
    async def main():
        return await asyncio.gather(*(executor.submit(functions.square, n) for n in range(200)))

    assert asyncio.run(main()) == [n * n for n in range(200)]


def test_awaiting_raises_what_the_call_raised(executor):
    async def main():
        await executor.submit(functions.fail, 3)

    with pytest.raises(Boom, match="no luck with 3"):
        asyncio.run(main())


def test_the_loop_runs_while_a_future_is_awaited(executor, gate):
    async def main():
        waiting = asyncio.ensure_future(asyncio.wrap_future(executor.submit(gate.call, "late")))
        await asyncio.sleep(0)
        gate.open()
        return await waiting

    assert asyncio.run(main()) == "late"


def test_wait_for_gives_up_on_an_awaited_future(executor, gate):
    async def main():
        await asyncio.wait_for(asyncio.wrap_future(executor.submit(gate.call)), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_loop_can_run_its_calls_in_the_executor(executor):
    async def main():
        return await asyncio.get_running_loop().run_in_executor(executor, functions.square, 6)

    assert asyncio.run(main()) == 36


def test_thousands_of_futures_settle_each_with_its_own_result(executor):
    futures = [executor.submit(functions.square, n) for n in range(5000)]

    assert [future.result() for future in futures] == [n * n for n in range(5000)]


def test_thousands_of_futures_may_be_waited_for_in_any_order(executor):
    futures = [executor.submit(functions.square, n) for n in range(2000)]

    assert [future.result() for future in reversed(futures)] == [n * n for n in reversed(range(2000))]


def test_several_threads_may_wait_for_one_future(executor, gate):
    future = executor.submit(gate.call, "all")
    got = []
    waiters = [threading.Thread(target=lambda: got.append(future.result())) for _ in range(8)]
    for waiter in waiters:
        waiter.start()
    gate.open()
    for waiter in waiters:
        waiter.join(functions.PATIENCE)

    assert got == ["all"] * 8


def test_several_threads_may_submit_at_a_time(executor):
    results = []

    def submit_many(start):
        futures = [executor.submit(functions.square, n) for n in range(start, start + 300)]
        results.extend(future.result() for future in futures)

    callers = [threading.Thread(target=submit_many, args=(start,)) for start in range(0, 1200, 300)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert sorted(results) == sorted(n * n for n in range(1200))


def test_a_future_that_nobody_keeps_is_still_run(executor, tmp_path):
    path = tmp_path / "calls"
    for n in range(50):
        executor.submit(functions.note, str(path), n)
    executor.shutdown()

    assert sorted(map(int, path.read_text().splitlines())) == list(range(50))


def test_a_result_is_given_back_when_its_future_goes(executor):
    class Kept:
        pass

    thing = Kept()
    watch = weakref.ref(thing)
    future = executor.submit(functions.same, 5)
    future.result()
    future.add_done_callback(lambda _done, _kept=thing: None)
    del thing, future
    gc.collect()

    assert watch() is None


def test_a_future_shows_its_state(executor, gate):
    future = executor.submit(gate.call)
    text = repr(future)
    gate.open()
    future.result()

    assert "Future" in text
    assert "pending" in text or "running" in text
    assert "state=finished returned NoneType>" in repr(future)


def test_submit_never_raises_for_its_data():
    future = pointsman.options(backend="processes").submit(functions.same, threading.Lock())

    with pytest.raises(pointsman.CannotTravelError):
        future.result(functions.PATIENCE)


def test_a_future_can_be_made_and_settled_by_hand():
    future = pointsman.Future()
    assert not future.done()
    assert future.set_running_or_notify_cancel()
    assert future.running()
    future.set_result(5)

    assert future.result() == 5
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(6)


def test_a_future_made_by_hand_can_carry_an_exception():
    future = pointsman.Future()
    future.set_exception(Boom("by hand", 1))

    with pytest.raises(Boom, match="by hand"):
        future.result()


def test_a_future_made_by_hand_can_be_cancelled():
    future = pointsman.Future()

    assert future.cancel()
    assert not future.set_running_or_notify_cancel()
    assert future.cancelled()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            ask()


def test_the_module_submits_without_an_executor():
    futures = [pointsman.submit(functions.square, n) for n in range(100)]

    assert [future.result() for future in futures] == [n * n for n in range(100)]


def test_a_future_of_a_call_that_returns_a_coroutine_says_so(executor):
    future = executor.submit(functions.give_coroutine, 1)

    with pytest.raises(TypeError, match="coroutine"):
        future.result()
