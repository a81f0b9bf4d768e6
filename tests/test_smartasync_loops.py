"""The loops that `smartasync` keeps for threads: how long they live, how they end, and what Ctrl-C does.

What it does not know: what the calls on them are (test_smartasync.py).
"""

import asyncio
import concurrent.futures
import gc
import os

import pytest

import pointsman
from pointsman import smartasync
from smart_functions import count, double, on_a_thread, script, thread_name, variable

pytestmark = pytest.mark.timeout(60)


# ------------------------------------------------------------------------------------------ loops


def test_the_calls_of_a_thread_share_one_loop_and_other_threads_have_their_own():
    @smartasync
    async def loop():
        return asyncio.get_running_loop()

    here = [loop() for _ in range(3)]
    there = on_a_thread(lambda: [loop(), loop()])

    assert len(set(here)) == 1
    assert there[0] is there[1]
    assert there[0] is not here[0]


def test_locks_and_tasks_live_from_call_to_call():
    lock = asyncio.Lock()

    @smartasync
    async def take():
        await lock.acquire()
        return asyncio.create_task(asyncio.sleep(0.01, "slept"))

    @smartasync
    async def give(task):
        lock.release()
        return await task

    assert give(take()) == "slept"
    assert not lock.locked()


def test_a_thread_that_ends_closes_its_loop_in_order(recwarn):
    happened = []

    async def generator():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            happened.append("generator finished")

    async def background():
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            happened.append("task cancelled")

    @smartasync
    async def start():
        held.append(asyncio.create_task(background()))
        held.append(made := generator())
        held.append(await made.__anext__())
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    held = []

    loop = on_a_thread(start)

    assert loop.is_closed()
    assert happened == ["task cancelled", "generator finished"]
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_the_end_of_the_program_closes_the_loop_in_order_and_without_warnings():
    code, out, err = script(
        """
        import asyncio, pointsman

        async def background():
            try:
                await asyncio.sleep(3600)
            finally:
                # Threads can still be used.
                print("cancelled", await asyncio.to_thread(lambda: "with threads"))

        async def generator():
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                print("finished")

        @pointsman.smartasync
        async def start():
            # From CPython 3.12 on an ending interpreter starts no threads, but those that there are can be used.
            await asyncio.to_thread(int)
            held.append(asyncio.create_task(background()))
            held.append(made := generator())
            await made.__anext__()
            await asyncio.sleep(0)

        held = []
        start()
        print("end")
        """
    )

    assert (code, out.split("\n"), err) == (0, ["end", "cancelled with threads", "finished", ""], "")


def test_a_call_in_an_exit_handler_works_and_its_loop_is_closed_too():
    code, out, err = script(
        """
        import atexit, asyncio, pointsman

        @pointsman.smartasync
        async def f():
            await asyncio.sleep(0)
            return 1

        atexit.register(lambda: print("late", f()))
        print(f())
        """
    )

    assert (code, out, err) == (0, "1\nlate 1\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_loop_of_its_own_and_the_parents_goes_on():
    code, out, err = script(
        """
        import asyncio, faulthandler, os, signal, sys, pointsman, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        faulthandler.register(signal.SIGALRM, chain=True)

        @pointsman.smartasync
        async def f(x):
            await asyncio.sleep(0.001)
            return await asyncio.to_thread(lambda: x)

        @pointsman.smartasync
        def g(x):
            return x

        @pointsman.smartasync
        async def both(x):
            return await f(x), await g(x)

        assert both(1) == (1, 1)
        # A child would wait for the watchdog's thread, which it does not have.
        faulthandler.cancel_dump_traceback_later()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            print("child", both(2), flush=True)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print("parent", both(3))
        """
    )

    assert (code, out, err) == (0, "child (2, 2)\nparent (3, 3)\n", "")


def test_what_a_call_left_ready_has_its_turn_before_plain_code_goes_on():
    happened = []

    @smartasync
    async def start():
        asyncio.get_running_loop().call_soon(happened.append, "called")
        held.append(asyncio.create_task(step()))

    async def step():
        happened.append("stepped")

    held = []
    start()

    assert happened == ["called", "stepped"]


def test_generators_that_nobody_finished_do_not_pile_up():
    finished = []

    async def generator():
        try:
            yield 1
            yield 2
        finally:
            finished.append(1)

    @smartasync
    async def begin():
        async for _ in generator():
            break

    for _ in range(20):
        begin()
    gc.collect()
    begin()

    assert len(finished) >= 20


def test_many_threads_call_at_the_same_time():
    def work(n):
        return [double(n + i) for i in range(50)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))

    assert results == [[2 * (n + i) for i in range(50)] for n in range(8)]


def test_plain_and_async_nest_at_any_depth_without_a_deadlock():
    @smartasync
    async def outer(depth):
        return 1 + await inner(depth)

    @smartasync
    def inner(depth):
        # Plain code again, on a thread of ours: this call runs to its end.
        return outer(depth - 1) if depth else 0

    assert outer(60) == 61

    async def main():
        return await asyncio.gather(*(outer(3) for _ in range(100)))

    # More calls that wait for inner ones than there are threads.
    assert asyncio.run(main()) == [4] * 100


def test_a_worker_of_an_executor_that_waits_for_a_coroutine_does_not_block_its_executor():
    with pointsman.Executor(1, backend="threads") as executor:

        @smartasync
        async def asks():
            return await executor.submit(lambda: 7)

        assert executor.submit(asks.__wrapped__ and (lambda: asks())).result(30) == 7


def test_a_loop_with_a_task_factory_or_in_debug_mode_makes_its_tasks_its_own_way():
    made = []

    @smartasync
    async def prepare(debug):
        loop = asyncio.get_running_loop()

        def factory(loop, coroutine, **options):
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_debug(debug)
        loop.set_task_factory(None if debug else factory)

    def work():
        prepare(False)
        assert double(2) == 4
        prepare(True)
        return double(3)

    assert on_a_thread(work) == 6
    assert len(made) == 2


@pytest.mark.filterwarnings("ignore:.*(event_loop_policy|EventLoopPolicy):DeprecationWarning")
def test_uvloop_is_used_where_the_policy_says_so():
    uvloop = pytest.importorskip("uvloop")

    @smartasync
    async def kind():
        variable.set("from the coroutine")
        await asyncio.sleep(0.001)
        return type(asyncio.get_running_loop()), await asyncio.to_thread(lambda: 3), await thread_name()

    def work():
        return kind(), variable.get(), [kind()[1] for _ in range(3)], list(count(3))

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        (loop, value, name), seen, more, items = on_a_thread(work)
    finally:
        asyncio.set_event_loop_policy(before)

    assert loop is uvloop.Loop
    assert (value, more, items) == (3, [3, 3, 3], [0, 1, 2])
    assert name.startswith("pointsman")
    assert seen == "from the coroutine"


def test_a_def_awaited_under_uvloop_comes_back():
    uvloop = pytest.importorskip("uvloop")

    async def main():
        return await asyncio.gather(*(thread_name(n) for n in range(20)))

    loop = uvloop.new_event_loop()
    try:
        names = loop.run_until_complete(main())
    finally:
        loop.close()

    assert all(name.startswith("pointsman") for name in names)


# ------------------------------------------------------------------------------------------ Ctrl-C


@pytest.mark.parametrize(
    "body", ["await asyncio.sleep(3600)", "while True: pass", "while True: await asyncio.sleep(0)"]
)
def test_ctrl_c_interrupts_a_call_in_plain_code_and_the_next_call_works(body):
    # As under `asyncio.run`, a coroutine that never waits may need a second one.
    code, out, err = script(
        f"""
        import asyncio, os, signal, threading, time, pointsman

        @pointsman.smartasync
        async def for_ever():
            {body}

        @pointsman.smartasync
        async def f():
            await asyncio.sleep(0)
            return "goes on"

        def interrupt():
            while not over.wait(0.3):
                os.kill(os.getpid(), signal.SIGINT)

        f()
        over = threading.Event()
        threading.Thread(target=interrupt).start()
        try:
            for_ever()
        except KeyboardInterrupt:
            over.set()
            print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        print(f())
        """
    )

    assert (code, out, err) == (0, "interrupted True\ngoes on\n", "")
