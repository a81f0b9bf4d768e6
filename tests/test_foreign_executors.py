"""`backend=` an executor of the caller's: any `concurrent.futures.Executor`, used and never shut down.

What it does not know: what our own backends do (test_contract.py).
"""

import asyncio
import concurrent.futures
import itertools
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)


class Slow(concurrent.futures.Executor):
    """An executor that says nothing of itself: a thread for each call."""

    def submit(self, fn, /, *args, **kwargs):
        future = concurrent.futures.Future()

        def call():
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return future


def double(number):
    return 2 * number


def odd(number):
    if number % 2:
        message = f"odd {number}"
        raise ValueError(message)
    return number


async def later(number):
    await asyncio.sleep(0.001)
    return number + 1


def careless(number):
    return later(number)


def place(_number):
    return os.getpid()


def die(_number):
    os._exit(1)


known = None


def know(value):
    global known
    known = value


def tell(_number):
    return known


KINDS = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2),
    "ours": lambda: pointsman.Executor(2),
    "our processes": lambda: pointsman.Executor(2, backend="processes"),
    "other": Slow,
}


@pytest.fixture(params=KINDS)
def executor(request):
    with KINDS[request.param]() as made:
        yield made


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as made:
        yield made


def raising(count):
    yield from range(count)
    message = "no more"
    raise LookupError(message)


# ------------------------------------------------------------------------------------- results


def test_execute_and_map_give_what_a_plain_loop_gives(executor):
    expected = [double(number) for number in range(100)]

    assert pointsman.execute(double, range(100), backend=executor) == expected
    assert list(pointsman.map(double, range(100), backend=executor)) == expected
    assert list(pointsman.map(pow, range(20), itertools.repeat(2), backend=executor)) == [n**2 for n in range(20)]
    assert sorted(pointsman.execute(double, range(100), backend=executor, ordered=False)) == expected


@pytest.mark.parametrize("size", [1, 3, 200])
def test_chunks_give_the_same(executor, size):
    assert pointsman.execute(double, range(100), backend=executor, chunksize=size) == [2 * n for n in range(100)]


def test_the_view_of_options_uses_it_for_all_four(executor):
    view = pointsman.options(backend=executor)

    assert view.run(double, 4) == 8
    assert view.submit(double, number=4).result(functions.PATIENCE) == 8
    assert list(view.map(double, range(5))) == [0, 2, 4, 6, 8]
    assert view.execute(double, range(5)) == [0, 2, 4, 6, 8]


def test_calls_run_in_its_workers(threads):
    with ProcessPoolExecutor(1) as processes:
        pids = set(pointsman.execute(place, range(5), backend=processes))
        alone = pointsman.options(backend=processes).run(place, 1)
    names = pointsman.execute(lambda _: threading.current_thread().name, range(5), backend=threads)

    assert pids == {alone} != {os.getpid()}
    assert all(name.startswith("ThreadPoolExecutor") for name in names)


def test_what_its_initializer_has_prepared_is_there():
    with ProcessPoolExecutor(1, initializer=know, initargs=(7,)) as processes:
        assert pointsman.execute(tell, range(3), backend=processes) == [7, 7, 7]
        assert pointsman.options(backend=processes).run(tell, 0) == 7


def test_a_future_of_a_call_can_be_awaited_and_cancelled(threads):
    gate = threading.Event()
    view = pointsman.options(backend=threads)

    async def wait():
        return await view.submit(double, 3)

    assert asyncio.run(wait()) == 6
    running = [view.submit(gate.wait, functions.PATIENCE) for _ in range(2)]
    queued = view.submit(double, 1)
    assert queued.cancel()
    assert queued.cancelled()
    gate.set()

    assert [future.result(functions.PATIENCE) for future in running] == [True, True]
    assert concurrent.futures.wait([queued], functions.PATIENCE).done == {queued}


def test_an_executor_is_not_shut_down(executor):
    pointsman.execute(double, range(5), backend=executor)
    pointsman.map(double, range(5), backend=executor).close()

    assert executor.submit(double, 1).result(functions.PATIENCE) == 2


# ------------------------------------------------------------------------------------- order and bounds


def test_results_come_as_they_are_ready_if_asked_for(threads):
    gate = threading.Event()

    def call(number):
        return gate.wait(functions.PATIENCE) if number == 0 else number

    results = pointsman.map(call, range(4), backend=threads, ordered=False)
    first = [next(results) for _ in range(3)]
    gate.set()

    assert sorted(first) == [1, 2, 3]
    assert list(results) == [True]


def test_one_long_call_does_not_stop_the_others(threads):
    gate = threading.Event()
    made = []

    def call(number):
        if number == 0:
            return gate.wait(functions.PATIENCE)
        made.append(number)
        if len(made) == 199:
            gate.set()
        return True

    assert pointsman.execute(call, range(200), backend=threads) == [True] * 200


@pytest.mark.parametrize("options", [{}, {"buffersize": 3}, {"chunksize": 4}, {"buffersize": 3, "chunksize": 10}])
def test_only_so_many_inputs_are_taken_ahead(threads, options):
    taken = itertools.count()
    results = pointsman.map(double, taken, backend=threads, **options)
    first = [next(results) for _ in range(5)]
    ahead = next(taken)
    results.close()

    assert first == [0, 2, 4, 6, 8]
    assert ahead <= 5 + options.get("buffersize", 16 * options.get("chunksize", 1)) + options.get("chunksize", 1)


def test_inputs_are_taken_on_the_callers_thread(threads):
    takers = set()

    def inputs():
        for number in range(50):
            takers.add(threading.current_thread())
            yield number

    pointsman.execute(double, inputs(), backend=threads)

    assert takers == {threading.current_thread()}


def test_a_result_does_not_wait_for_inputs_that_take_long(threads):
    results = []

    def inputs():
        for number in range(6):
            yield number
            if number == 3:
                # Those before must come out while this input is made.
                time.sleep(0.05)
            if number == 4:
                results.append(len(seen))

    seen = []
    for value in pointsman.map(double, inputs(), backend=threads):
        seen.append(value)

    assert results[0] >= 1


def test_an_early_end_cancels_what_has_not_begun(threads):
    gate = threading.Event()
    begun = []

    def call(number):
        begun.append(number)
        return number if number == 0 else gate.wait(functions.PATIENCE)

    results = pointsman.map(call, range(16), backend=threads)
    assert next(results) == 0
    results.close()
    gate.set()
    threads.submit(double, 1).result(functions.PATIENCE)

    assert len(begun) <= 3


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("size", [1, 4])
def test_results_before_an_error_come_first(executor, size):
    results = pointsman.map(odd, [0, 2, 4, 5, 6, 7], backend=executor, chunksize=size)

    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="odd 5"):
        next(results)


@pytest.mark.parametrize("size", [1, 4])
def test_exceptions_are_results_if_asked_for(executor, size):
    results = pointsman.execute(odd, range(6), backend=executor, chunksize=size, on_error="return")

    assert [str(result) for result in results] == ["0", "odd 1", "2", "odd 3", "4", "odd 5"]


def test_an_error_of_a_chunk_in_another_process_shows_the_workers_traceback():
    with ProcessPoolExecutor(1) as processes, pytest.raises(ValueError, match="odd 3") as caught:
        pointsman.execute(odd, [0, 3], backend=processes, chunksize=2)

    assert "in odd" in str(caught.value.__cause__)


def test_an_input_that_raises_comes_after_the_results_before_it(executor):
    results = pointsman.map(double, raising(3), backend=executor)

    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(LookupError, match="no more"):
        next(results)


def test_a_function_that_returns_a_coroutine_is_refused(executor):
    with pytest.raises(pointsman.InvalidTypeError, match="careless returned a coroutine"):
        pointsman.execute(careless, range(3), backend=executor)
    with pytest.raises(pointsman.InvalidTypeError, match="careless returned a coroutine"):
        pointsman.options(backend=executor).run(careless, 1)


@pytest.mark.parametrize("size", [None, 2])
def test_coroutine_functions_run_to_their_end(executor, size):
    assert pointsman.execute(later, range(5), backend=executor, chunksize=size) == [1, 2, 3, 4, 5]
    assert pointsman.options(backend=executor).run(later, 5) == 6


def test_a_stop_iteration_is_an_error(threads):
    with pytest.raises(RuntimeError):
        pointsman.execute(next, [iter(())], backend=threads)


def test_an_executor_that_was_shut_down_raises_its_own_error():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    with pytest.raises(RuntimeError, match="after shutdown"):
        pointsman.execute(double, range(3), backend=executor)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pointsman.options(backend=executor).submit(double, 3)


def test_an_executor_that_is_shut_down_meanwhile_hangs_nothing():
    executor = ThreadPoolExecutor(1)

    def call(number):
        if number == 2:
            executor.shutdown(wait=False, cancel_futures=True)
        return number

    results = pointsman.map(call, itertools.count(), backend=executor)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)


def test_an_executor_that_breaks_raises_its_own_error():
    with ProcessPoolExecutor(1) as processes:
        for _ in range(2):
            with pytest.raises(concurrent.futures.BrokenExecutor):
                pointsman.execute(die, range(30), backend=processes)


def test_a_call_that_waits_for_a_job_of_its_own_executor_does_not_deadlock():
    with pointsman.Executor(1, backend="threads") as executor:
        outer = executor.submit(lambda: pointsman.execute(double, range(40), backend=executor))

        assert outer.result(functions.PATIENCE) == [2 * number for number in range(40)]


# ------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "options", [{"timeout": 1}, {"kill_on_cancel": True}, {"retries": 1}, {"max_workers": 2}, {"address": "tcp://x:1"}]
)
def test_what_it_cannot_keep_is_refused(threads, options):
    name = next(iter(options))

    with pytest.raises(pointsman.InvalidArgumentError, match=f"{name}.*ThreadPoolExecutor"):
        pointsman.execute(double, range(3), backend=threads, **options)
    with pytest.raises(pointsman.InvalidArgumentError, match=f"{name}.*ThreadPoolExecutor"):
        pointsman.map(double, range(3), backend=threads, **options)
    with pytest.raises(pointsman.InvalidArgumentError, match=f"{name}.*ThreadPoolExecutor"):
        pointsman.options(backend=threads, **options)


@pytest.mark.parametrize("options", [{"name": "n"}, {"priority": pointsman.TaskPriority.HIGH}, {"run_on_caller": True}])
def test_what_only_its_maker_can_say_is_refused(threads, options):
    with pytest.raises(pointsman.InvalidArgumentError, match=next(iter(options))):
        pointsman.options(backend=threads, **options)


def test_calls_that_raise_what_retry_on_names_begin_again(executor, tmp_path):
    options = {"retries": 2, "retry_on": ValueError, "backend": executor}

    assert pointsman.execute(functions_fail_once, [str(tmp_path / "a")], **options) == ["a"]
    assert pointsman.options(**options).run(functions_fail_once, str(tmp_path / "b")) == "b"


def functions_fail_once(path):
    if not os.path.exists(path):
        with open(path, "w", encoding="ascii"):
            raise ValueError(path)
    return os.path.basename(path)


def test_a_class_is_no_executor():
    with pytest.raises(pointsman.InvalidArgumentError, match="an executor that was made"):
        pointsman.execute(double, range(3), backend=ThreadPoolExecutor)


# ------------------------------------------------------------------------------------- plan


def test_the_plan_names_the_executor(threads):
    results, plan = pointsman.execute(double, range(10), backend=threads, return_optimization_result=True)

    assert results == [2 * number for number in range(10)]
    assert (plan.backend, plan.max_workers, plan.executor_type, plan.n_jobs) == ("ThreadPoolExecutor", 2, "thread", 2)
    assert "the caller's own ThreadPoolExecutor, 2 calls at a time" in str(plan)
    assert "ThreadPoolExecutor" in plan._repr_html_()
    assert pointsman.Plan.from_json(plan.to_json()) == plan


def test_optimize_says_that_plan_and_execute_follows_it(executor):
    plan = pointsman.optimize(double, range(10), backend=executor)
    read = pointsman.Plan.from_json(plan.to_json())

    assert plan.backend == type(executor).__name__
    assert pointsman.execute(double, range(10), plan=read, backend=executor) == [2 * number for number in range(10)]
