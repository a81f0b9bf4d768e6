"""`execute`, `map`, `submit` and `run` of coroutine functions, on every backend that takes them.

What it does not know: the functions that are awaitable in a loop (test_amap.py), or `smartasync`.
"""

import asyncio
import itertools
import os
import threading
import time

import pytest

import functions
import pointsman
from functions import Boom
from pointsman._climb import FIRST, Climb

pytestmark = pytest.mark.timeout(60)

PLACES = ["auto", "asyncio", "inline", "threads", "processes"]


async def square(x):
    await asyncio.sleep(0)
    return x * x


async def add(x, y):
    await asyncio.sleep(0.001)
    return x + y


async def fails_at_7(x):
    await asyncio.sleep(0.001 * (x % 3))
    if x == 7:
        raise Boom(x, 7)
    return x


async def where(_x):
    return os.getpid(), threading.current_thread().name, id(asyncio.get_running_loop())


async def compute(n):
    total = 0
    for i in range(n):
        total += i * i % 7
    return os.getpid(), total


async def compute_in_turns(n):
    for _ in range(10):
        await compute(n // 10)
        await asyncio.sleep(0)
    return os.getpid()


@pytest.mark.parametrize("place", PLACES)
def test_execute_returns_what_a_loop_of_awaits_would(place):
    assert pointsman.execute(square, range(100), backend=place) == [x * x for x in range(100)]


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("place", ["auto", "asyncio", "threads", "processes"])
def test_the_map_of_an_executor_gives_what_its_submits_would(place, workers):
    with pointsman.Executor(workers, backend=place) as executor:
        expected = [executor.submit(add, x, x).result() for x in range(20)]

        assert list(executor.map(add, range(20), range(20))) == expected
        assert list(executor.map(add, range(20), range(20), chunksize=4)) == expected


@pytest.mark.parametrize("place", PLACES)
def test_map_takes_several_iterables_and_endless_ones(place):
    results = pointsman.map(add, itertools.count(), itertools.count(1), backend=place)

    assert [next(results) for _ in range(50)] == [2 * n + 1 for n in range(50)]
    results.close()


@pytest.mark.parametrize("place", PLACES)
def test_the_first_exception_comes_after_the_results_before_it(place):
    got = []

    results = pointsman.map(fails_at_7, range(100), backend=place)
    with pytest.raises(Boom):
        for value in results:
            got.append(value)

    assert got == list(range(7))


@pytest.mark.parametrize("place", PLACES)
def test_exceptions_can_be_results(place):
    results = pointsman.execute(fails_at_7, range(10), backend=place, on_error="return")

    assert [x for x in results if not isinstance(x, Boom)] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert isinstance(results[7], Boom)


@pytest.mark.parametrize("place", ["auto", "asyncio"])
def test_all_calls_of_a_job_and_of_later_jobs_share_one_background_loop(place):
    places = set(pointsman.execute(where, range(50), backend=place))
    places |= set(pointsman.execute(where, range(50), backend=place))

    assert len(places) == 1
    ((pid, thread, _),) = places
    assert (pid, thread) == (os.getpid(), "pointsman-loop")


@pytest.mark.parametrize("place", ["auto", "asyncio"])
def test_calls_that_wait_do_so_side_by_side(place):
    gate = asyncio.Event()
    arrived = []

    async def meet(x):
        arrived.append(x)
        if len(arrived) == FIRST:
            gate.set()
        await gate.wait()
        return x

    assert pointsman.execute(meet, range(FIRST), backend=place) == list(range(FIRST))


def test_max_workers_is_the_number_of_calls_at_a_time():
    running, most = 0, 0

    async def call(_x):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    pointsman.execute(call, range(40), backend="asyncio", max_workers=3)

    assert most == 3


@pytest.mark.parametrize("place", ["auto", "asyncio"])
@pytest.mark.parametrize("ordered", [True, False])
def test_what_the_inputs_raise_comes_after_the_results(place, ordered):
    async def nap(x):
        await asyncio.sleep(0.005)
        return x

    def data():
        yield from range(30)
        raise LookupError("no more of them")

    got = []
    with pytest.raises(LookupError, match="no more of them"):
        for result in pointsman.map(nap, data(), backend=place, ordered=ordered):
            got.append(result)

    assert sorted(got) == list(range(30))


def test_a_coroutine_that_lasts_holds_nobody_up_where_order_is_not_asked_for():
    gate = threading.Event()

    async def wait_at_3(x):
        if x == 3:
            await asyncio.to_thread(gate.wait)
        return x

    results = pointsman.map(wait_at_3, range(20), ordered=False)
    before = list(itertools.islice(results, 19))
    gate.set()

    assert 3 not in before
    assert list(results) == [3]
    gate.clear()
    threading.Timer(0.1, gate.set).start()
    assert pointsman.execute(wait_at_3, range(20), ordered=False)[-1] == 3


def test_a_lazy_map_asks_for_no_more_inputs_than_its_buffer():
    asked = []

    def inputs():
        for n in itertools.count():
            asked.append(n)
            yield n

    results = pointsman.map(square, inputs(), backend="asyncio", buffersize=5)
    next(results)
    time.sleep(0.05)

    assert len(asked) <= 7
    results.close()


def test_a_map_that_is_left_cancels_what_it_began():
    cancelled = threading.Event()

    async def slow(x):
        if x == 0:
            return x
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    results = pointsman.map(slow, range(10), backend="asyncio")
    next(results)
    results.close()

    assert cancelled.wait(30)


def test_context_variables_of_the_caller_are_there():
    import contextvars

    variable = contextvars.ContextVar("variable")
    variable.set("caller's")

    async def read(_x):
        return variable.get()

    assert pointsman.execute(read, range(3), backend="asyncio") == ["caller's"] * 3


def test_coroutines_that_compute_are_spread_over_processes():
    results = pointsman.execute(compute, [300_000] * 60)

    assert len({total for _, total in results}) == 1
    assert {pid for pid, _ in results} - {os.getpid()}


def test_coroutines_that_compute_in_turns_are_spread_over_processes_too():
    pids = pointsman.execute(compute_in_turns, [300_000] * 150)

    assert set(pids) - {os.getpid()}


def test_coroutines_that_compute_and_write_shared_memory_stay():
    total = 0

    async def write(n):
        nonlocal total
        total += (await compute(n))[1] % 2 + 1
        return os.getpid()

    assert set(pointsman.execute(write, [300_000] * 40)) == {os.getpid()}
    assert total >= 40


def test_the_event_loop_asked_for_keeps_what_computes():
    assert {pid for pid, _ in pointsman.execute(compute, [300_000] * 30, backend="asyncio")} == {os.getpid()}


def test_execute_works_where_a_loop_runs_as_in_a_notebook():
    async def cell():
        return pointsman.execute(square, range(5)), list(pointsman.map(square, range(5)))

    assert asyncio.run(cell()) == ([0, 1, 4, 9, 16], [0, 1, 4, 9, 16])


def test_a_plan_says_that_an_event_loop_was_chosen():
    plan = pointsman.optimize(square, range(10))

    assert plan.backend == "asyncio"
    assert "coroutines" in str(plan)
    assert pointsman.execute(square, range(10), plan=plan) == [x * x for x in range(10)]


# ------------------------------------------------------------------------------------------ run


def test_run_runs_a_coroutine_function_to_its_end():
    assert pointsman.run(add, 1, y=2) == 3


@pytest.mark.parametrize("run", [pointsman.run, pointsman.options(backend="inline").run], ids=["plain", "view"])
def test_run_inside_a_loop_is_refused_and_the_fix_is_named(run):
    async def main():
        with pytest.raises(pointsman.RunningLoopError, match=r"await pointsman\.submit\(square, \.\.\.\)"):
            run(square, 2)
        return await pointsman.submit(square, 2)

    assert asyncio.run(main()) == 4


def test_run_of_a_plain_function_works_inside_a_loop():
    async def main():
        return pointsman.run(functions.square, 3)

    assert asyncio.run(main()) == 9


@pytest.mark.parametrize("place", PLACES)
def test_a_function_that_is_decorated_with_smartasync_is_taken_as_what_it_is(place):
    view = pointsman.options(backend=place)

    assert view.execute(smart_square, [1, 2, 3]) == [1, 4, 9]
    assert view.run(smart_square, 4) == 16
    if place != "inline":
        assert view.submit(smart_square, 5).result(30) == 25


@pointsman.smartasync
async def smart_square(x):
    await asyncio.sleep(0)
    return x * x


# ------------------------------------------------------------------------------------------ submit


@pytest.mark.parametrize("place", ["auto", "asyncio", "threads", "processes"])
def test_submit_takes_coroutine_functions(place):
    view = pointsman.options(backend=place)

    assert view.submit(add, 1, y=2).result(30) == 3
    with pytest.raises(Boom):
        view.submit(fails_at_7, 7).result(30)


@pytest.mark.parametrize("place", ["auto", "asyncio", "threads", "processes"])
def test_what_is_submitted_can_be_awaited(place):
    async def main():
        executor = pointsman.Executor(2, backend=place)
        try:
            return (
                await pointsman.submit(square, 2),
                await executor.submit(square, 3),
                await pointsman.options(backend=place).submit(square, 4),
                await asyncio.gather(*(executor.submit(square, n) for n in range(5))),
            )
        finally:
            executor.shutdown()

    assert asyncio.run(main()) == (4, 9, 16, [0, 1, 4, 9, 16])


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_plain_function_that_is_submitted_can_be_awaited_and_raises_what_it_raised(place):
    async def main():
        with pointsman.Executor(2, backend=place) as executor:
            values = [await executor.submit(functions.square, n) for n in range(5)]
            done = executor.submit(functions.square, 9)
            done.result()
            with pytest.raises(Boom):
                await executor.submit(functions.fail, 1)
            return [*values, await done]

    assert asyncio.run(main()) == [0, 1, 4, 9, 16, 81]


def test_cancelling_the_awaiting_task_cancels_the_queued_call(tmp_path):
    ran = []

    async def main():
        gate = threading.Event()
        with pointsman.Executor(1, backend="threads") as executor:
            blocking = executor.submit(gate.wait, 30)
            queued = executor.submit(ran.append, 1)

            async def wait():
                await queued

            task = asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.set()
            return await blocking, queued.cancelled()

    assert asyncio.run(main()) == (True, True)
    assert ran == []


def test_cancelling_the_awaiting_task_kills_a_running_call_where_the_options_say_so(tmp_path):
    path = tmp_path / "pid"

    async def main():
        executor = pointsman.Executor(1, backend="processes")
        future = executor.options(kill_on_cancel=True).submit(sleep_and_tell, str(path))

        async def wait():
            await future

        task = asyncio.create_task(wait())
        while not (path.exists() and path.read_text()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        executor.shutdown(wait=False)
        return future

    future = asyncio.run(main())
    pid = int(path.read_text())
    until = time.monotonic() + functions.PATIENCE
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.002)

    assert future.done()
    assert not os.path.exists(f"/proc/{pid}")


def sleep_and_tell(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(3600)


def test_cancelling_a_coroutine_that_runs_stops_it():
    began, stopped = threading.Event(), threading.Event()

    async def for_ever():
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    future = pointsman.submit(for_ever)
    assert began.wait(30)

    assert future.cancel()
    assert stopped.wait(30)
    assert future.cancelled()


def test_awaiting_a_cancelled_call_raises_what_asyncio_raises():
    async def main():
        future = pointsman.submit(asyncio.sleep, 3600)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())


def test_an_executor_that_is_left_waits_for_its_coroutines():
    ended = []

    async def slow():
        await asyncio.sleep(0.05)
        ended.append(1)

    with pointsman.Executor() as executor:
        executor.submit(slow)

    assert ended == [1]


def test_a_coroutine_that_awaits_another_of_its_executor_gives_its_place_away():
    executor = pointsman.Executor(1, backend="asyncio")

    async def nest(depth):
        return 1 + await executor.submit(nest, depth - 1) if depth else 0

    assert executor.submit(nest, 20).result(30) == 20
    executor.shutdown()


def test_an_executor_for_coroutines_refuses_plain_functions():
    with pointsman.Executor(backend="asyncio") as executor, pytest.raises(TypeError, match="async def"):
        executor.submit(functions.square, 1)


# ------------------------------------------------------------------------------------------ terms


@pytest.mark.parametrize("place", ["auto", "asyncio", "processes"])
def test_a_time_limit_stops_a_coroutine_and_no_other_call(place):
    async def slow(x):
        if x == 1:
            await asyncio.sleep(3600)
        return x

    results = pointsman.execute(slow, range(3), backend=place, timeout=0.3, on_error="return")

    assert results[::2] == [0, 2]
    assert isinstance(results[1], pointsman.CallTimeoutError)
    with pytest.raises(pointsman.CallTimeoutError):
        pointsman.options(backend=place, timeout=0.1).submit(slow, 1).result(30)
    with pytest.raises(TimeoutError):
        pointsman.options(backend=place, timeout=0.1).run(slow, 1)


@pytest.mark.parametrize("place", ["auto", "asyncio", "inline", "threads", "processes"])
def test_a_coroutine_that_raises_is_run_again_as_often_as_was_said(place, tmp_path):
    view = pointsman.options(backend=place, retries=2, retry_on=Boom)
    path = str(tmp_path / "attempts")

    assert view.execute(third_time, [path]) == [3]
    assert view.run(third_time, path + "2") == 3
    with pytest.raises(Boom):
        pointsman.options(backend=place, retries=1, retry_on=Boom).run(third_time, path + "3")


async def third_time(path):
    with open(path, "a+") as file:  # noqa: ASYNC230 - a line
        file.write("x")
        file.flush()
        attempt = file.tell()
    if attempt < 3:
        raise Boom(attempt, 1)
    return attempt


# ------------------------------------------------------------------------------------------ the limit


def served_by(places, seconds):
    """A server that works on so many calls at a time: throughput rises up to there."""
    climb, now, free = Climb(4096), 0.0, [0.0] * places
    limits = []
    running = []
    for _ in range(60_000):
        while len(running) < climb.limit:
            place = min(range(places), key=free.__getitem__) if places < 4096 else 0
            start = max(now, free[place]) if places < 4096 else now
            free[place] = start + seconds
            running.append(start + seconds)
        running.sort()
        now = running.pop(0)
        climb.finished(now)
        limits.append(climb.limit)
    return limits


def test_the_limit_climbs_while_throughput_rises_and_stays_near_what_the_other_side_serves():
    limits = served_by(100, 0.1)

    assert 100 <= max(limits[-1000:]) <= 512
    assert limits[-1] >= 64


def test_the_limit_is_found_again_when_the_other_side_grows():
    climb = Climb(4096)
    now = 0.0

    def round_at(rate):
        nonlocal now
        for _ in range(climb.limit + 1):
            now += 1 / rate
            climb.finished(now)

    for _ in range(20):
        round_at(1000)
    settled = climb.limit
    for _ in range(30):
        round_at(min(climb.limit * 1000 / 32, 100_000))

    assert climb.limit > settled


def test_rounds_that_lack_calls_tell_nothing():
    climb = Climb(4096)
    now = 0.0
    for _ in range(1000):
        now += 0.01
        climb.starved()
        climb.finished(now)

    assert climb.limit == FIRST


def test_a_limit_that_was_asked_for_stays():
    climb = Climb(4096, 3)
    for n in range(1000):
        climb.finished(n * 0.001)
    climb.stalled()

    assert climb.limit == 3


def test_calls_that_wait_for_one_that_has_no_place_yet_get_it_one_in_the_end():
    gate = asyncio.Event()

    async def meet(x):
        if x == 2 * FIRST - 1:
            gate.set()
        await gate.wait()
        return x

    assert pointsman.execute(meet, range(2 * FIRST), backend="asyncio") == list(range(2 * FIRST))


def test_the_plan_says_how_many_coroutines_were_let_run_at_a_time():
    async def nap(x):
        await asyncio.sleep(0.01)
        return x

    before = pointsman.optimize(nap, range(200))
    _results, plan = pointsman.execute(nap, range(200), return_optimization_result=True)

    assert "as many calls as it pays to have" in str(before)
    assert plan.max_workers > 1
    assert f"at most {plan.max_workers} calls at a time" in str(plan)
