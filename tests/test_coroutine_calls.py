"""Single calls of coroutine functions on the background loop: cancelling, ending, and what one does to the others.

What it does not know: how a loop keeps its limit.
"""

import asyncio
import concurrent.futures
import threading

import pytest

import pointsman
from fixtures import run_program
from pointsman import TaskPriority

pytestmark = pytest.mark.timeout(30)

PATIENCE = 20.0


async def sleep_for(seconds):
    await asyncio.sleep(seconds)
    return seconds


def begun(executor, event=None):
    """Start a coroutine that waits for an event, and return once it has begun."""
    there, event = threading.Event(), event or threading.Event()

    async def wait_for_event():
        there.set()
        while not event.is_set():  # noqa: ASYNC110 - the event is one of threads
            await asyncio.sleep(0.001)
        return "whole"

    future = executor.submit(wait_for_event)
    assert there.wait(PATIENCE)
    return future, event


def test_a_cancelled_call_is_one_that_is_done_to_whoever_waits_for_it():
    with pointsman.Executor() as executor:
        running, _event = begun(executor)
        waiting = executor.submit(sleep_for, 60)

        assert running.cancel()
        assert waiting.cancel()
        done, left = concurrent.futures.wait([running, waiting], PATIENCE)

    assert (len(done), left) == (2, set())
    assert list(concurrent.futures.as_completed(done, PATIENCE))


def test_leaving_the_block_does_not_wait_for_a_call_that_was_cancelled():
    async def give_up():
        with pointsman.Executor() as executor, pytest.raises(TimeoutError):
            await asyncio.wait_for(executor.submit(sleep_for, 60), 0.02)
        return "left"

    assert asyncio.run(give_up()) == "left"


def test_shutdown_cancels_those_that_have_not_begun_and_lets_the_others_end():
    executor = pointsman.Executor(1)
    running, event = begun(executor)
    waiting = executor.submit(sleep_for, 60)

    executor.shutdown(wait=False, cancel_futures=True)
    event.set()

    assert waiting.cancelled()
    assert running.result(PATIENCE) == "whole"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_call_that_wants_to_end_the_program_leaves_all_others_alone(kind):
    async def leave():
        raise kind

    with pointsman.Executor(1) as one, pointsman.Executor(1) as other:
        running, event = begun(one)
        waiting = one.submit(sleep_for, 0.001)
        with pytest.raises(kind):
            other.submit(leave).result(PATIENCE)
        event.set()

        assert running.result(PATIENCE) == "whole"
        assert waiting.result(PATIENCE) == 0.001
        assert other.submit(sleep_for, 0).result(PATIENCE) == 0


@pytest.mark.parametrize("options", [{}, {"backend": "asyncio"}], ids=["auto", "asyncio"])
def test_the_more_urgent_of_those_that_wait_begin_first(options):
    order = []

    async def note(name):
        order.append(name)

    with pointsman.Executor(1, **options) as executor:
        _running, event = begun(executor)
        for priority in (TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.URGENT):
            executor.submit(note, priority.name, priority=priority)
        executor.options(priority=TaskPriority.HIGH).submit(note, "HIGH")
        event.set()

    assert order == ["URGENT", "HIGH", "NORMAL", "LOW"]


def test_a_coroutine_that_shuts_its_executor_down_is_told_why_it_cannot_wait():
    executor = pointsman.Executor()

    async def stop():
        executor.shutdown()

    with pytest.raises(pointsman.RunningLoopError, match=r"wait=False"):
        executor.submit(stop).result(PATIENCE)
    executor.shutdown()


def test_a_coroutine_that_waits_for_another_without_await_is_told_so():
    with pointsman.Executor() as executor:

        async def outer():
            return executor.submit(sleep_for, 0.01).result()

        async def better():
            return await executor.submit(sleep_for, 0.01)

        with pytest.raises(pointsman.RunningLoopError, match=r"await future"):
            executor.submit(outer).result(PATIENCE)
        assert executor.submit(better).result(PATIENCE) == 0.01


@pytest.mark.parametrize("backend", ["inline", "threads", "processes"])
def test_a_program_that_has_not_imported_asyncio_has_a_current_task_all_the_same(backend, tmp_path):
    source = f"""
import pointsman, sys

async def call(n):
    import asyncio
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
    return asyncio.current_task() is not None

assert "asyncio" not in sys.modules
print(pointsman.execute(call, range(3), backend={backend!r}))
"""
    assert run_program(tmp_path, source) == "[True, True, True]"
