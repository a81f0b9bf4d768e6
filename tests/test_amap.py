"""`amap`, and futures that are awaited: under asyncio and under trio.

What it does not know: jobs of coroutine functions in plain code (test_coroutines.py).
"""

import asyncio
import contextvars
import gc
import itertools
import threading

import pytest

import functions
import pointsman
from functions import Boom

anyio = pytest.importorskip("anyio")
pytestmark = [pytest.mark.timeout(60), pytest.mark.anyio]

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    pytest.importorskip(request.param)
    return request.param


async def square_async(x):
    await anyio.sleep(0)
    return x * x


def square(x):
    return x * x


async def numbers(n):
    for i in range(n):
        await anyio.sleep(0)
        yield i


async def collect(results):
    return [value async for value in results]


@pytest.mark.parametrize("function", [square, square_async], ids=["def", "async def"])
@pytest.mark.parametrize("source", [lambda n: numbers(n), range], ids=["async source", "plain source"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_every_input_gets_its_result(function, source, ordered):
    got = await collect(pointsman.amap(function, source(100), ordered=ordered))

    expected = [x * x for x in range(100)]
    assert (got if ordered else sorted(got)) == expected


async def test_a_call_that_raises_stop_async_iteration_does_not_end_the_map_in_silence():
    def stop_at_3(x):
        if x == 3:
            raise StopAsyncIteration
        return x

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await collect(pointsman.amap(stop_at_3, range(10)))


async def test_results_come_as_they_are_ready_if_order_does_not_matter():
    gate = anyio.Event()

    async def first_waits(x):
        if x == 0:
            await gate.wait()
        return x

    got = []
    async for value in pointsman.amap(first_waits, range(5), ordered=False):
        got.append(value)
        if len(got) == 4:
            gate.set()

    assert sorted(got[:4]) == [1, 2, 3, 4]
    assert got[4] == 0


async def test_an_endless_source_is_asked_for_no_more_than_the_buffer():
    asked = []

    def inputs():
        for n in itertools.count():
            asked.append(n)
            yield n

    results = pointsman.amap(square_async, inputs(), buffersize=4)
    first = await results.__anext__()
    await anyio.sleep(0.02)

    assert first == 0
    assert len(asked) <= 6
    await results.aclose()


async def test_no_more_calls_run_at_a_time_than_max_workers():
    running, most = 0, 0

    async def call(_x):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.001)
        running -= 1

    await collect(pointsman.amap(call, range(30), max_workers=3))

    assert most == 3


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_first_exception_ends_it_and_cancels_the_rest(ordered):
    cancelled = []

    async def call(x):
        if x == 2:
            raise Boom(x, 1)
        if x > 2:
            try:
                await anyio.sleep(3600)
            except BaseException:
                cancelled.append(x)
                raise
        return x

    got = []
    with pytest.raises(Boom):
        async for value in pointsman.amap(call, range(6), ordered=ordered):
            got.append(value)
    await anyio.sleep(0.01)

    # Trio begins tasks in an order of its own.
    assert got == [0, 1] if ordered else {*got} <= {0, 1}
    assert sorted(cancelled) == [3, 4, 5]


async def test_exceptions_can_be_results():
    async def call(x):
        if x % 2:
            raise Boom(x, 1)
        return x

    got = await collect(pointsman.amap(call, range(4), on_error="return"))

    assert got[::2] == [0, 2]
    assert [type(error) for error in got[1::2]] == [Boom, Boom]


async def test_what_the_source_raises_comes_after_the_results_of_the_inputs_before_it():
    async def broken():
        yield 1
        raise Boom(0, 1)

    got = []
    with pytest.raises(Boom):
        async for value in pointsman.amap(square_async, broken()):
            got.append(value)

    assert got == [1]


async def test_a_break_cancels_what_was_begun_and_closes_the_source():
    cancelled, closed = [], anyio.Event()

    async def call(x):
        if x == 0:
            return x
        try:
            await anyio.sleep(3600)
        finally:
            cancelled.append(x)

    async def source():
        try:
            for i in range(3):
                yield i
            await anyio.sleep(3600)
        finally:
            closed.set()

    async for value in pointsman.amap(call, source()):
        assert value == 0
        await anyio.sleep(0.01)
        break
    gc.collect()
    with anyio.fail_after(30):
        await closed.wait()
    await anyio.sleep(0.01)

    assert sorted(cancelled) == [1, 2]


async def test_it_is_an_async_context_manager_that_closes():
    closed = []

    async def source():
        try:
            while True:
                yield 1
        finally:
            closed.append(1)

    async with pointsman.amap(square_async, source(), buffersize=2) as results:
        assert await results.__anext__() == 1

    assert closed == [1]
    with pytest.raises(StopAsyncIteration):
        await results.__anext__()


async def test_a_break_cancels_plain_calls_that_wait():
    gate, ran = threading.Event(), []

    def call(x):
        if x:
            gate.wait(30)
            ran.append(x)
        return x

    async for _ in pointsman.amap(call, range(60), backend="threads", max_workers=None, buffersize=60):
        break
    gc.collect()
    gate.set()
    await anyio.sleep(0.05)

    # Those that run run on; those that waited are not begun.
    assert len(ran) < 59


async def test_calls_have_the_variables_of_the_caller():
    variable.set("caller's")

    async def read(_x):
        return variable.get()

    assert await collect(pointsman.amap(read, range(3))) == ["caller's"] * 3
    assert await collect(pointsman.amap(lambda _x: variable.get(), range(3))) == ["caller's"] * 3


@pytest.mark.parametrize("backend", ["threads", "processes"])
async def test_calls_run_where_the_options_say(backend):
    assert await collect(pointsman.amap(functions.square, range(20), backend=backend, max_workers=2)) == [
        x * x for x in range(20)
    ]


async def test_futures_can_be_awaited():
    assert await pointsman.submit(functions.square, 3) == 9
    with pytest.raises(Boom):
        await pointsman.submit(functions.fail, 1)
    with pointsman.Executor(2, backend="processes") as executor:
        assert await executor.submit(functions.square, 4) == 16
    done = pointsman.submit(functions.square, 5)
    done.result()
    assert await done == 25


async def test_cancelling_the_wait_for_a_future_cancels_the_call():
    gate = threading.Event()
    with pointsman.Executor(1, backend="threads") as executor:
        executor.submit(gate.wait, 30)
        queued = executor.submit(functions.square, 1)
        with anyio.move_on_after(0.02) as scope:
            await queued
        gate.set()

    assert scope.cancelled_caught
    assert queued.cancelled()


async def test_smartasync_is_at_home_in_both_loops():
    @pointsman.smartasync
    async def double(x):
        await anyio.sleep(0)
        return 2 * x

    @pointsman.smartasync
    def thread(_x):
        return threading.current_thread().name

    @pointsman.smartasync
    async def count(n):
        for i in range(n):
            await anyio.sleep(0)
            yield i

    assert await double(3) == 6
    assert (await thread(1)).startswith("pointsman")
    assert [i async for i in count(3)] == [0, 1, 2]


async def test_many_plain_calls_are_awaited_side_by_side():
    @pointsman.smartasync
    def same(x):
        return x

    got = []

    async def one(x):
        got.append(await same(x))

    async with anyio.create_task_group() as group:
        for x in range(100):
            group.start_soon(one, x)

    assert sorted(got) == list(range(100))


async def test_run_inside_either_loop_is_refused():
    with pytest.raises(pointsman.RunningLoopError, match=r"await pointsman\.submit"):
        pointsman.run(square_async, 2)


async def test_bad_arguments_are_refused_at_once():
    for arguments, options in [
        ((3, [1]), {}), ((square, 3), {}), ((square, [1]), {"backend": "asyncio"}),
        ((square, [1]), {"backend": "inline"}), ((square, [1]), {"buffersize": 0}),
        ((square, [1]), {"on_error": "perhaps"}),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            pointsman.amap(*arguments, **options)


def test_outside_of_a_loop_there_is_nothing_to_await():
    results = pointsman.amap(square, [1])

    with pytest.raises(pointsman.RunningLoopError, match=r"use map\(\)"):
        results.__anext__().send(None)


def test_a_loop_that_ends_with_a_map_half_read_ends_in_order():
    async def main():
        results = pointsman.amap(square_async, numbers(100))
        return await results.__anext__()

    assert asyncio.run(main()) == 0
