"""The same bodies under `asyncio.run` and called in plain code: what they see, return and raise is the same.

What it does not know: what a persistent loop adds (test_smartasync.py).
"""

import asyncio
import contextlib
import contextvars
import sys
import traceback

import pytest

from pointsman import smartasync

pytestmark = pytest.mark.timeout(60)

variable = contextvars.ContextVar("variable", default="unset")
BODIES = []


def body(function):
    BODIES.append(function)
    return function


class MineError(Exception):
    pass


@body
async def returns_at_once():
    return 1


@body
async def waits_once():
    await asyncio.sleep(0)
    return 1


@body
async def waits_for_a_future():
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.001, future.set_result, "set")
    return await future


@body
async def the_current_task_is_a_task_of_this_coroutine():
    task = asyncio.current_task()
    before = (type(task), task.get_coro().__name__, task.done(), task in asyncio.all_tasks())
    await asyncio.sleep(0)
    return before, asyncio.current_task() is task, task.cancelling()


@body
async def the_loop_runs():
    loop = asyncio.get_running_loop()
    first = loop.is_running(), loop.is_closed(), asyncio.get_event_loop() is loop
    await asyncio.sleep(0)
    return first, loop.is_running(), loop.is_closed()


@body
async def a_timeout_that_is_not_reached():
    async with asyncio.timeout(30) as limit:  # noqa: ASYNC100 - on purpose
        return limit.expired()


@body
async def a_timeout_that_is_reached():
    try:
        async with asyncio.timeout(0.001) as limit:
            await asyncio.sleep(3600)
    except TimeoutError as error:
        return limit.expired(), type(error.__cause__), asyncio.current_task().cancelling()


@body
async def a_timeout_that_is_reached_and_not_caught():
    async with asyncio.timeout(0.001):
        await asyncio.sleep(3600)


@body
async def a_timeout_that_has_passed_at_the_start():
    async with asyncio.timeout(-1):
        await asyncio.sleep(0)


@body
async def wait_for_cancels():
    async def slow():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    seen = []
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(slow(), 0.001)
    return seen


@body
async def a_task_group():
    async def member(x):
        # Turns of the loop and no milliseconds: a busy machine would mix them up.
        for _ in range(3 - x):
            await asyncio.sleep(0)
        order.append(x)
        return x * x

    order = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(member(x)) for x in range(3)]
    return order, [task.result() for task in tasks]


@body
async def a_task_group_whose_member_fails():
    async def fails():
        raise MineError("member")

    async def cancelled():
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("finally")

    seen = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(cancelled())
            group.create_task(fails())
            await asyncio.sleep(3600)
    except* MineError as errors:
        seen.append([str(error) for error in errors.exceptions])
    return seen, asyncio.current_task().cancelling()


@body
async def a_task_group_at_once():
    async with asyncio.TaskGroup():
        pass
    return "through"


@body
async def gathers():
    return await asyncio.gather(*(asyncio.sleep(0.001 * (3 - x), x) for x in range(3)))


@body
async def cancels_itself():
    asyncio.current_task().cancel("by itself")
    await asyncio.sleep(3600)


@body
async def cancels_itself_and_returns_without_waiting():
    asyncio.current_task().cancel()
    return "returned"


@body
async def is_cancelled_and_goes_on():
    task = asyncio.current_task()
    task.cancel()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return task.cancelling(), task.uncancel()


@body
async def raises_cancelled():
    raise asyncio.CancelledError("of its own")


@body
async def a_shield_keeps_what_is_in_it():
    async def inner():
        await asyncio.sleep(0.002)
        seen.append("ended")

    seen = []
    task = asyncio.create_task(inner())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 0.0005)
    await task
    return seen


@body
async def a_variable_is_set_and_reset():
    token = variable.set("inner")
    inside = variable.get()
    await asyncio.sleep(0)
    kept = variable.get()
    variable.reset(token)
    return inside, kept, variable.get()


@body
async def a_child_task_has_variables_of_its_own():
    async def child():
        seen = variable.get()
        variable.set("child's")
        return seen

    token = variable.set("parent's")
    seen = await asyncio.create_task(child()), variable.get()
    variable.reset(token)
    return seen


@body
async def a_token_of_another_context_is_refused():
    async def child():
        variable.reset(token)

    token = variable.set("parent's")
    try:
        await asyncio.create_task(child())
    except ValueError as error:
        return "different Context" in str(error)
    finally:
        variable.reset(token)


@body
async def raises_at_once():
    raise MineError("at once")


@body
async def raises_later_from_a_cause():
    await asyncio.sleep(0)
    try:
        raise KeyError("cause")
    except KeyError as cause:
        raise MineError("later") from cause


@body
async def raises_from_deep_within():
    async def inner():
        await asyncio.sleep(0)
        raise MineError("inner")

    await asyncio.create_task(inner())


@body
async def raises_stop_iteration():
    raise StopIteration(1)


@body
async def raises_a_group():
    raise ExceptionGroup("several", [MineError("one"), KeyError("two")])


@body
async def exits():
    sys.exit(7)


@body
async def exits_later():
    await asyncio.sleep(0)
    sys.exit(7)


@body
async def is_interrupted():
    raise KeyboardInterrupt


@body
async def stops_its_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(3600)


@body
async def callbacks_come_in_order():
    loop = asyncio.get_running_loop()
    seen = []
    loop.call_soon(seen.append, 1)
    asyncio.create_task(asyncio.sleep(0)).add_done_callback(lambda _task: seen.append("task"))
    loop.call_soon(seen.append, 2)
    for _ in range(3):
        await asyncio.sleep(0)
    return seen


@body
async def async_generators_and_context_managers():
    @contextlib.asynccontextmanager
    async def held():
        seen.append("enter")
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append("exit")

    seen = []
    async with held() as value:
        seen.append(value)
    return seen, [x async for x in _numbers()], [x async for x in _numbers() if x]


async def _numbers():
    for x in range(3):
        await asyncio.sleep(0)
        yield x


@body
async def threads_and_subprocesses():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", "print('out')", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out, process.returncode, await asyncio.to_thread(lambda: variable.get())


@body
async def streams():
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"hello\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
    return answer


@body
async def locks_queues_and_conditions():
    queue, lock, event = asyncio.Queue(1), asyncio.Lock(), asyncio.Event()

    async def produce():
        for x in range(3):
            async with lock:
                await queue.put(x)
        event.set()

    task = asyncio.create_task(produce())
    got = [await queue.get() for _ in range(3)]
    await event.wait()
    await task
    return got


def outcome(call):
    """What came of a call: its value, or what it raised, with the frames that are the user's own."""
    try:
        return "returned", call()
    except BaseException as error:
        return "raised", described(error)


def described(error):
    if error is None:
        return None
    own = [
        (frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == __file__ and frame.name not in ("outcome", "<lambda>")
    ]
    members = [described(member) for member in getattr(error, "exceptions", ())]
    return type(error), [*map(repr, error.args)], own, described(error.__cause__), error.__suppress_context__, members


@pytest.mark.parametrize("function", BODIES, ids=lambda function: function.__name__)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_a_body_behaves_as_under_asyncio_run(function, debug, recwarn):
    variable.set("caller's")
    under_run = outcome(lambda: asyncio.run(function(), debug=debug))
    smart = smartasync(function)

    @smartasync
    async def prepare():
        asyncio.get_running_loop().set_debug(debug)

    prepare()
    try:
        called = outcome(lambda: smart())
        # A loop that has seen it is as good as new.
        again = outcome(lambda: smart())
    finally:
        debug = False
        prepare()

    assert called == under_run
    assert again == under_run
    assert variable.get() == "caller's"
    assert [str(warning.message) for warning in recwarn] == []


def test_a_traceback_ends_with_the_users_frames_and_names_the_call():
    @smartasync
    async def outer():
        await asyncio.sleep(0)
        await inner()

    async def inner():
        raise MineError("deep")

    try:
        outer()
    except MineError as error:
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]

    assert names[0] == "test_a_traceback_ends_with_the_users_frames_and_names_the_call"
    assert names[-2:] == ["outer", "inner"]
    assert len(names) <= 6
