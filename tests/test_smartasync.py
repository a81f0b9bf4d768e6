"""`@smartasync`: the same function in plain code and in an event loop, by where each call comes from.

What it does not know: how fast it is (benches/bridge.py), or that it behaves as `asyncio.run` does (test_like_asyncio_run.py).
"""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import pointsman
from pointsman import _default, smartasync

pytestmark = pytest.mark.timeout(60)

variable = contextvars.ContextVar("variable", default="unset")


@smartasync
async def double(x, *, plus=0):
    await asyncio.sleep(0)
    return 2 * x + plus


@smartasync
async def at_once(x):
    return x


@smartasync
def thread_name(x=None):
    return threading.current_thread().name


@smartasync
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def on_a_thread(function, *args):
    """Call a function on a fresh thread, which ends before its value is returned."""
    got = concurrent.futures.Future()

    def work():
        try:
            got.set_result(function(*args))
        except BaseException as error:
            got.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    return got.result(0)


def script(source, *arguments):
    """Run a program with warnings shown; what it printed, and what it complained of."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", textwrap.dedent(source), *arguments],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------------------------ the table


def test_plain_code_gets_the_value_of_an_async_def():
    assert double(4, plus=1) == 9
    assert at_once("x") == "x"


def test_a_running_loop_awaits_an_async_def():
    async def main():
        coroutine = double(4, plus=1)
        assert inspect.iscoroutine(coroutine)
        return await coroutine

    assert asyncio.run(main()) == 9


def test_plain_code_calls_a_def_on_its_own_thread():
    assert thread_name() == threading.current_thread().name


def test_a_running_loop_awaits_a_def_that_runs_on_a_thread_of_ours_and_stays_free():
    gate = threading.Event()

    @smartasync
    def wait():
        return gate.wait(30), threading.current_thread().name

    async def main():
        going = wait()
        # Were the loop not free, nobody would open the gate.
        await asyncio.sleep(0.01)
        gate.set()
        return await going

    opened, name = asyncio.run(main())

    assert opened
    assert name.startswith("pointsman")


def test_the_context_is_looked_up_at_each_call_and_goes_stale_nowhere():
    async def main():
        return await double(1), await thread_name()

    for _ in range(3):
        assert double(1) == 2
        assert thread_name() == threading.current_thread().name
        assert asyncio.run(main())[0] == 2
        assert double(1) == 2
        assert on_a_thread(double, 5) == 10

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # A thread without a loop, while a loop runs on another.
        async def mixed():
            return await asyncio.get_running_loop().run_in_executor(pool, double, 21)

        assert asyncio.run(mixed()) == 42


def test_an_exception_reaches_the_caller_either_way_with_its_own_words():
    @smartasync
    async def raises():
        raise RuntimeError("the event loop is already running, says the user")

    @smartasync
    def raises_too():
        raise KeyError("mine")

    with pytest.raises(RuntimeError, match="says the user"):
        raises()
    with pytest.raises(RuntimeError, match="says the user"):
        asyncio.run(raises.__wrapped__())

    async def main():
        with pytest.raises(KeyError, match="mine"):
            await raises_too()
        with pytest.raises(RuntimeError, match="says the user"):
            await raises()

    asyncio.run(main())


def test_a_stop_iteration_in_a_def_does_not_end_the_awaiting_task_without_a_word():
    @smartasync
    def ends():
        raise StopIteration(3)

    async def main():
        await ends()

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(main())


# ------------------------------------------------------------------------------------------ methods


class Base:
    @smartasync
    async def plain(self, x):
        await asyncio.sleep(0)
        return type(self).__name__, x

    @staticmethod
    @smartasync
    async def static(x):
        return x

    @smartasync
    @staticmethod
    async def static_below(x):
        return x

    @classmethod
    @smartasync
    async def of_class(cls, x):
        return cls.__name__, x

    @smartasync
    @classmethod
    async def of_class_below(cls, x):
        return cls.__name__, x

    @smartasync
    def blocking(self, x):
        return threading.current_thread() is threading.main_thread(), x

    @smartasync
    async def stream(self, n):
        for i in range(n):
            yield i


class Derived(Base):
    @smartasync
    async def plain(self, x):
        kind, value = await super().plain(x)
        return kind, value + 1


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    @smartasync
    async def get(self):
        return self.value

    @smartasync
    async def __call__(self, x):
        return self.value + x


@pytest.mark.parametrize("cls", [Base, Derived])
def test_methods_of_every_kind_work_in_plain_code_and_in_a_loop(cls):
    made = cls()
    expected = (cls.__name__, 1 if cls is Base else 2)

    async def main():
        return (
            await made.plain(1), await cls.static(2), await made.static_below(2),
            await cls.of_class(3), await made.of_class_below(3), (await made.blocking(4))[1],
            [i async for i in made.stream(2)],
        )  # fmt: skip

    plain = (
        made.plain(1), cls.static(2), made.static_below(2), cls.of_class(3), made.of_class_below(3),
        made.blocking(4)[1], list(made.stream(2)),
    )  # fmt: skip

    assert plain == (expected, 2, 2, (cls.__name__, 3), (cls.__name__, 3), 4, [0, 1])
    assert asyncio.run(main()) == plain


def test_slots_and_call_work():
    made = Slotted(5)

    async def main():
        return await made.get(), await made(1)

    assert (made.get(), made(1)) == (5, 6)
    assert asyncio.run(main()) == (5, 6)


def test_a_callable_object_and_a_partial_of_a_coroutine_function_are_taken_as_what_they_are():
    class Adder:
        async def __call__(self, x):
            return x + 1

    async def add(x, y):
        return x + y

    assert smartasync(Adder())(1) == 2
    assert smartasync(functools.partial(add, 1))(2) == 3


def test_inspect_sees_what_the_function_is():
    assert inspect.iscoroutinefunction(double)
    assert inspect.iscoroutinefunction(Base().plain)
    assert not inspect.iscoroutinefunction(thread_name)
    assert inspect.isasyncgenfunction(count)
    assert double.__name__ == "double"
    assert list(inspect.signature(double).parameters) == ["x", "plus"]


@pytest.mark.parametrize("thing", [3, "text", None, Base])
def test_what_is_no_function_is_refused_at_once(thing):
    with pytest.raises(pointsman.InvalidTypeError, match="function or a method"):
        smartasync(thing)


def test_a_plain_generator_function_is_refused_and_the_message_names_both_sides():
    def numbers():
        yield 1

    with pytest.raises(pointsman.InvalidTypeError, match=r"plain code .* nothing to await .* event loop"):
        smartasync(numbers)


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
        import asyncio, os, sys, pointsman, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

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
        pid = os.fork()
        if pid == 0:
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


@pytest.mark.filterwarnings("ignore:.*event_loop_policy:DeprecationWarning")
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


# ------------------------------------------------------------------------------------------ variables


def test_context_variables_travel_into_a_coroutine_and_back():
    @smartasync
    async def change(value):
        seen = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return seen

    variable.set("caller's")

    assert change("coroutine's") == "caller's"
    assert variable.get() == "coroutine's"


def test_context_variables_travel_to_a_thread_and_back():
    @smartasync
    def change(value):
        seen = variable.get()
        variable.set(value)
        return seen

    async def main():
        variable.set("task's")
        seen = await change("thread's")
        after = variable.get()
        # A task of its own has variables of its own, as ever.
        await asyncio.gather(change("elsewhere"), return_exceptions=True)
        return seen, after, variable.get()

    assert asyncio.run(main())[:2] == ("task's", "thread's")


def test_a_variable_that_a_failing_call_set_is_set_all_the_same():
    @smartasync
    async def fails():
        variable.set("before the failure")
        raise ValueError

    variable.set("unchanged")
    with pytest.raises(ValueError):
        fails()

    assert variable.get() == "before the failure"


# ------------------------------------------------------------------------------------------ awaitables


def test_the_awaitable_of_a_def_can_be_gathered_made_a_task_and_waited_for():
    @smartasync
    def slow(x):
        time.sleep(0.001)
        return x

    async def main():
        gathered = await asyncio.gather(*(slow(i) for i in range(5)))
        task = await asyncio.create_task(slow(5))
        async with asyncio.TaskGroup() as group:
            member = group.create_task(slow(6))
        waited = await asyncio.wait_for(slow(7), 30)
        return [*gathered, task, member.result(), waited]

    assert asyncio.run(main()) == list(range(8))


def test_cancelling_the_awaiting_task_cancels_a_def_that_has_not_begun():
    gate, ran, blocked = threading.Event(), [], []

    @smartasync
    def block():
        blocked.append(1)
        gate.wait(30)

    @smartasync
    def note():
        ran.append(1)

    async def main():
        blocking = [block() for _ in range(_default._MOST_FOR_LOOPS)]
        while len(blocked) < len(blocking):  # noqa: ASYNC110 - it is threads that are waited for
            await asyncio.sleep(0.001)
        task = asyncio.create_task(note())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await asyncio.gather(*blocking)

    asyncio.run(main())

    assert ran == []


def test_a_def_that_outlives_its_loop_disturbs_nobody(recwarn):
    gate, ended = threading.Event(), threading.Event()

    @smartasync
    def late():
        gate.wait(30)
        ended.set()

    async def main():
        late()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    gate.set()

    assert ended.wait(30)
    assert [str(warning.message) for warning in recwarn] == []


def test_nothing_is_kept_of_calls_that_are_over():
    class Thing:
        pass

    @smartasync
    def same(x):
        return x

    @smartasync
    async def same_too(x):
        return x

    async def main():
        thing = Thing()
        ref = weakref.ref(thing)
        await same(thing)
        await same_too(thing)
        del thing
        await same(0)
        gc.collect()
        return ref()

    def plain():
        thing = Thing()
        ref = weakref.ref(thing)
        same_too(thing)
        del thing
        gc.collect()
        return ref()

    assert asyncio.run(main()) is None
    assert plain() is None


def test_a_def_that_is_known_to_hold_the_gil_for_long_runs_in_a_worker_process(tmp_path):
    source = tmp_path / "heavy_for_loops.py"
    source.write_text(
        textwrap.dedent(
            """
            import os, pointsman

            @pointsman.smartasync
            def heavy(n):
                total = 0
                for i in range(n):
                    total += i * i % 7
                return os.getpid(), total
            """
        )
    )
    code, out, err = script(
        f"""
        import asyncio, os, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from heavy_for_loops import heavy

        async def main():
            first = [await heavy(2_000_000) for _ in range(4)]
            later = [await heavy(2_000_000) for _ in range(2)]
            assert len({{total for _, total in first + later}}) == 1
            print(first[0][0] == os.getpid(), later[-1][0] == os.getpid())

        asyncio.run(main())
        """
    )

    assert (code, out, err) == (0, "True False\n", "")


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


# ------------------------------------------------------------------------------------------ generators


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
