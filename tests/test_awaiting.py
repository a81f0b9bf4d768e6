"""Futures in event loops: awaited, gathered, given up on, and cancelled.

What it does not know: how a loop is woken.
"""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref

import pytest

import functions
import pointsman
from functions import Boom

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["threads", "processes"])
def executor(request):
    with pointsman.Executor(2, backend=request.param) as made:
        yield made


@pytest.fixture
def threads():
    with pointsman.Executor(2, backend="threads") as made:
        yield made


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def held(gate):
    """A call that runs until the gate is opened."""
    assert gate.wait(functions.PATIENCE)
    return "late"


def ends(number):
    raise StopIteration(number)


async def soon(condition):
    async with asyncio.timeout(functions.PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is looked at belongs to other threads
            await asyncio.sleep(0.001)


# --------------------------------------------------------------------------------------------- await


def test_cancelling_the_task_ends_the_wait_at_once_though_the_call_runs_on(threads, gate):
    async def main():
        future = threads.submit(held, gate)

        async def wait():
            return await future

        task = asyncio.create_task(wait())
        await soon(future.running)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        running = future.running()
        gate.set()
        return raised.value.args, running, await future

    assert asyncio.run(main()) == (("enough",), True, "late")


def test_cancelling_the_task_cancels_a_queued_call(gate):
    with pointsman.Executor(1, backend="threads") as executor:

        async def main():
            executor.submit(held, gate)
            queued = executor.submit(functions.same, 1)
            task = asyncio.ensure_future(queued)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.set()
            return queued.cancelled()

        assert asyncio.run(main())


def test_awaiting_a_cancelled_future_raises_the_cancellation_of_event_loops(gate):
    with pointsman.Executor(1, backend="threads") as executor:

        async def main():
            executor.submit(held, gate)
            queued = executor.submit(functions.same, 1)
            queued.cancel()
            gate.set()
            await queued

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())


def test_a_call_that_raises_stop_iteration_does_not_end_the_await_without_a_word(executor):
    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await executor.submit(ends, 1)

    asyncio.run(main())


@pytest.mark.parametrize("value", [(1, 2), (), None, ValueError("a value")])
def test_an_await_gives_any_value_as_it_is(threads, value):
    async def main():
        return await threads.submit(functions.same, value)

    assert asyncio.run(main()) is value


def test_a_task_goes_on_with_its_own_context_variables(threads, gate):
    name = contextvars.ContextVar("name")

    async def wait(mine):
        name.set(mine)
        await threads.submit(held, gate)
        return name.get()

    async def main():
        tasks = [asyncio.create_task(wait(n)) for n in range(5)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == list(range(5))


def test_many_tasks_are_woken_for_one_future(threads, gate):
    async def main():
        future = threads.submit(held, gate)

        async def wait():
            return await future

        tasks = [asyncio.create_task(wait()) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["late"] * 50


def test_a_task_that_ends_the_program_leaves_the_others_their_turn(threads, gate):
    async def wait(ends):
        await threads.submit(held, gate)
        if ends:
            raise KeyboardInterrupt
        return "went on"

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(wait(n == 0)) for n in range(4)]
    loop.call_later(0.02, gate.set)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    results = loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks[1:]), functions.PATIENCE))
    loop.close()

    assert results == ["went on"] * 3
    assert isinstance(tasks[0].exception(), KeyboardInterrupt)


def test_a_future_is_none_of_the_loops_own_to_those_who_make_one_of_it(threads, gate):
    async def main():
        future = threads.submit(held, gate)
        theirs = asyncio.wrap_future(future)
        called = asyncio.Event()
        theirs.add_done_callback(lambda _: called.set())
        gate.set()
        await called.wait()
        return asyncio.isfuture(future), asyncio.isfuture(theirs), await theirs

    assert asyncio.run(main()) == (False, True, "late")


def test_a_wait_with_a_time_limit_gives_up_while_the_call_runs(threads, gate):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.submit(held, gate), 0.01)
        waited = await asyncio.wait([asyncio.ensure_future(threads.submit(held, gate))], timeout=0.01)
        gate.set()
        return [len(futures) for futures in waited]

    assert asyncio.run(main()) == [0, 1]


# ------------------------------------------------------------------------------------------- gather


def test_gather_gives_results_in_order_among_coroutines_and_doubles(executor):
    async def coroutine():
        return "a coroutine's"

    async def main():
        futures = [executor.submit(functions.same, n) for n in range(20)]
        return await asyncio.gather(*futures, coroutine(), futures[3])

    assert asyncio.run(main()) == [*range(20), "a coroutine's", 3]


def test_gather_raises_what_a_call_raised_and_lets_the_others_run(executor):
    async def main():
        futures = [executor.submit(*call) for call in ((functions.same, 1), (functions.fail, 2), (functions.same, 3))]
        with pytest.raises(Boom):
            await asyncio.gather(*futures)
        return await futures[2]

    assert asyncio.run(main()) == 3


def test_gather_returns_exceptions_where_it_is_asked_to(executor):
    async def main():
        calls = [executor.submit(functions.same, 1), executor.submit(functions.fail, 2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    value, error = asyncio.run(main())

    assert value == 1
    assert isinstance(error, Boom)


def test_gather_of_a_call_that_raises_stop_iteration_ends(executor):
    async def main():
        with pytest.raises(RuntimeError):
            await asyncio.gather(executor.submit(ends, 1))
        done = executor.submit(ends, 2)
        concurrent.futures.wait([done])
        with pytest.raises(RuntimeError):
            await asyncio.gather(done)

    asyncio.run(main())


def test_gather_of_a_cancelled_call_is_cancelled(gate):
    with pointsman.Executor(1, backend="threads") as executor:

        async def main():
            executor.submit(held, gate)
            queued = executor.submit(functions.same, 1)
            gathered = asyncio.gather(queued, return_exceptions=True)
            queued.cancel()
            results = await gathered
            with pytest.raises(asyncio.CancelledError):
                await asyncio.gather(queued)
            gate.set()
            return results

        results = asyncio.run(main())

    assert [type(result) for result in results] == [asyncio.CancelledError]


def test_cancelling_a_gather_ends_it_at_once_and_cancels_what_has_not_begun(gate):
    with pointsman.Executor(1, backend="threads") as executor:

        async def main():
            running, queued = executor.submit(held, gate), executor.submit(functions.same, 1)
            await soon(running.running)
            gathered = asyncio.gather(running, queued)
            await asyncio.sleep(0)
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered
            alive = not gate.is_set()
            gate.set()
            return alive, running.cancelled(), queued.cancelled()

        assert asyncio.run(main()) == (True, True, True)
        assert executor.submit(functions.same, 2).result(functions.PATIENCE) == 2


def test_gather_of_calls_that_are_done_already_ends(executor):
    async def main():
        futures = [executor.submit(functions.same, n) for n in range(10)]
        concurrent.futures.wait(futures)
        return await asyncio.wait_for(asyncio.gather(*futures), functions.PATIENCE)

    assert asyncio.run(main()) == list(range(10))


def test_two_loops_may_gather_the_same_future(threads, gate):
    future = threads.submit(held, gate)
    results = []

    async def main():
        results.append(await asyncio.gather(future, future))

    loops = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for loop in loops:
        loop.start()
    gate.set()
    for loop in loops:
        loop.join(functions.PATIENCE)

    assert results == [["late"] * 2] * 2


# ------------------------------------------------------------------------------------------ garbage


class Holder:
    """Refers to whatever it is given."""


def cycle(executor, by):
    """Make a future that is part of a cycle, and return a weak reference to the cycle."""
    holder = Holder()

    def call():
        if by != "exception":
            return holder
        error = Boom("of a cycle", 1)
        error.holder = holder
        raise error

    holder.future = future = executor.submit(call)
    concurrent.futures.wait([future])
    if by == "attribute":
        future.mine = future
    if by == "callback":
        future.add_done_callback(lambda _: future)
    return weakref.ref(holder)


@pytest.mark.parametrize("by", ["result", "exception", "attribute", "callback"])
def test_a_future_in_a_cycle_is_collected(threads, by):
    seen = cycle(threads, by)
    # A worker may hold its last call until it has the next.
    threads.submit(int).result()
    gc.collect()

    assert seen() is None


def test_arguments_are_let_go_of_when_the_call_has_ended(threads):
    arguments = [Holder() for _ in range(6)]
    seen = [weakref.ref(argument) for argument in arguments]
    future = threads.submit(lambda *given: len(given), *arguments)

    assert future.result() == 6
    del arguments
    assert [reference() for reference in seen] == [None] * 6


def test_a_gather_that_nobody_awaits_leaves_nothing_to_the_next(threads, gate):
    class Large:
        pass

    kept = []
    done = threads.submit(int, "1")
    done.result(functions.PATIENCE)
    slow = threads.submit(gate.wait, functions.PATIENCE)

    def helper():
        local = Large()
        kept.append(weakref.ref(local))
        return asyncio.gather(slow, done)

    async def drop():
        helper()
        await asyncio.sleep(0)

    async def both(*futures):
        return await asyncio.gather(*futures)

    asyncio.run(drop())
    gc.collect()
    alive = kept[0]() is not None
    after = threads.submit(functions.nap, 1)
    gathered = asyncio.run(both(done, after)), asyncio.run(both(done))

    assert not alive
    assert gathered == ([1, 1], [1])
