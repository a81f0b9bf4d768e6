"""Asynchronous generators that plain code iterates over.

What it does not know: functions with a single result (test_smartasync.py).
"""

import asyncio

import pytest

import pointsman
from pointsman import smartasync
from smart_functions import count, on_a_thread, variable

pytestmark = pytest.mark.timeout(60)


def test_an_async_generator_is_an_iterator_in_plain_code_and_an_async_one_in_a_loop():
    async def main():
        return [i async for i in count(3)]

    assert list(count(3)) == [0, 1, 2]
    assert asyncio.run(main()) == [0, 1, 2]


def test_send_throw_and_close_work_in_plain_code():
    events = []

    @smartasync
    async def talk():
        try:
            got = yield "first"
            while True:
                try:
                    got = yield got
                except KeyError:
                    got = "caught"
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    stream = talk()

    assert next(stream) == "first"
    assert stream.send("sent") == "sent"
    assert stream.throw(KeyError()) == "caught"
    stream.close()
    assert events == ["closed"]
    assert list(stream) == []


def test_a_generator_that_is_left_is_finished_at_once_as_a_plain_one_is():
    events = []

    @smartasync
    async def numbers():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            events.append("finished")

    for _ in numbers():
        break

    assert events == ["finished"]


def test_all_steps_of_a_generator_run_in_one_task_with_its_timeouts():
    @smartasync
    async def steps():
        async with asyncio.timeout(30):
            for _ in range(3):
                await asyncio.sleep(0)
                yield asyncio.current_task()

    @smartasync
    async def late():
        async with asyncio.timeout(0.01):
            yield 1
            await asyncio.sleep(3600)

    assert len(set(steps())) == 1
    stream = late()
    assert next(stream) == 1
    with pytest.raises(TimeoutError):
        next(stream)


def test_variables_travel_into_a_generator_and_back_at_each_step():
    @smartasync
    async def swap():
        for i in range(2):
            seen = variable.get()
            variable.set(f"generator's {i}")
            yield seen

    variable.set("mine 0")
    stream = swap()

    assert next(stream) == "mine 0"
    assert variable.get() == "generator's 0"
    variable.set("mine 1")
    assert next(stream) == "mine 1"
    assert variable.get() == "generator's 1"


def test_iterating_the_plain_way_inside_a_loop_is_refused_naming_both_sides():
    async def main():
        with pytest.raises(pointsman.RunningLoopError, match=r"event loop.*plain iteration.*async for"):
            for _ in count(1):
                pass

    asyncio.run(main())


def test_going_on_in_a_loop_with_what_plain_code_began_is_refused_naming_both_sides():
    stream = count(3)
    next(stream)

    async def main():
        async for _ in stream:
            pass

    with pytest.raises(pointsman.RunningLoopError, match=r"plain code has begun.*inside the loop"):
        asyncio.run(main())
    with pytest.raises(pointsman.RunningLoopError, match="on another thread"):
        on_a_thread(next, stream)
    assert list(stream) == [1, 2]


def test_an_async_generator_makes_an_async_context_manager():
    from contextlib import asynccontextmanager

    @asynccontextmanager
    @smartasync
    async def held():
        yield "held"

    async def main():
        async with held() as value:
            return value

    assert asyncio.run(main()) == "held"
