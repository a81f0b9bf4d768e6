"""`@smartasync`: the same function in plain code and in an event loop, by where each call comes from.

What it does not know: how fast it is (benches/bridge.py), that it behaves as `asyncio.run` does
(test_like_asyncio_run.py), its loops (test_smartasync_loops.py) and generators (test_smartasync_streams.py).
"""

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import textwrap
import threading
import time
import weakref

import pytest

import pointsman
from pointsman import _default, smartasync
from pointsman._machine import facts
from smart_functions import at_once, count, double, on_a_thread, script, thread_name, variable

pytestmark = pytest.mark.timeout(60)


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


@pytest.mark.skipif(not facts().gil, reason="this interpreter runs without the GIL")
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
