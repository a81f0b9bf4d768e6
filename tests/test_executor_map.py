"""`Executor.map` in worker processes: chunks that nobody sees."""

from __future__ import annotations

import concurrent.futures
import functools
import gc
import itertools
import os
import time
import weakref

import pytest

import functions
import pointsman


@pytest.fixture(scope="module")
def executor():
    with pointsman.Executor(2, backend="processes") as executor:
        yield executor


def _until(condition):
    until = time.monotonic() + functions.PATIENCE
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def _leave_a_mark(folder, number):
    (folder / str(number)).touch()


def _fail_at_7(number):
    if number == 7:
        raise KeyError(number)
    return number


def _die_at_70(number):
    if number == 70:
        os._exit(7)
    return number


def _stop_at_3(number):
    if number == 3:
        raise StopIteration
    return number


class _Marked:
    """Something that can be seen to go."""


class _Waits:
    """An input that is packed when something has been seen, or raises."""

    def __init__(self, seen):
        self.seen = seen

    def __reduce__(self):
        assert self.seen()
        return int, ()


class _Interrupted:
    """An input in whose packing a Ctrl-C arrives."""

    def __reduce__(self):
        raise KeyboardInterrupt


def _dear(milliseconds):
    time.sleep(milliseconds / 1000)
    return os.getpid()


def _make_marked(_):
    return _Marked()


def test_results_come_in_order_whatever_their_number(executor):
    assert [list(executor.map(functions.square, range(n))) for n in (0, 1, 2, 1000)] == [
        [i * i for i in range(n)] for n in (0, 1, 2, 1000)
    ]


def test_calls_of_a_map_run_though_nobody_asks_for_results(executor, tmp_path):
    executor.map(_leave_a_mark, [tmp_path] * 500, range(500))

    assert _until(lambda: len(list(tmp_path.iterdir())) == 500)


def test_shutdown_runs_every_call_of_a_map_first(tmp_path):
    with pointsman.Executor(2, backend="processes") as executor:
        executor.map(_leave_a_mark, [tmp_path] * 500, range(500))

    assert len(list(tmp_path.iterdir())) == 500


def test_what_is_cancelled_at_shutdown_is_a_cancellation_at_its_place():
    executor = pointsman.Executor(1, backend="processes")
    results = executor.map(time.sleep, [0.05] * 1000)
    next(results)
    executor.shutdown(cancel_futures=True)

    with pytest.raises(concurrent.futures.CancelledError):
        list(results)
    assert list(results) == []


def test_an_exception_comes_after_the_results_before_it(executor):
    seen = []

    with pytest.raises(KeyError):
        seen.extend(itertools.chain(executor.map(_fail_at_7, range(100))))
    assert seen == list(range(7))


def test_a_worker_that_dies_fails_its_item_and_no_other(executor):
    seen = []

    with pytest.raises(pointsman.WorkerDied, match="70"):
        for number in executor.map(_die_at_70, range(100), chunksize=10):
            seen.append(number)
    assert seen == list(range(70))


def test_an_input_that_cannot_travel_is_an_error_at_its_place(executor):
    results = executor.map(functions.square, [1, 2, (i for i in ()), 4])

    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(pointsman.CannotTravelError, match="item 2 of the inputs of square"):
        next(results)


def test_a_call_that_raises_stop_iteration_does_not_end_the_map_in_silence(executor):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(executor.map(_stop_at_3, range(10)))


@pytest.mark.parametrize("options", [{}, {"buffersize": 2}])
def test_nor_does_it_on_threads_whose_number_was_given(options):
    with pointsman.Executor(2) as executor, pytest.raises(RuntimeError, match="StopIteration"):
        list(executor.map(_stop_at_3, range(10), **options))


def test_an_endless_input_is_taken_as_results_are(executor):
    taken = []

    def count():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = executor.map(functions.square, count(), buffersize=50)

    assert list(itertools.islice(results, 200)) == [i * i for i in range(200)]
    assert len(taken) <= 251
    results.close()


@pytest.mark.parametrize("options", [{}, {"backend": "threads"}, {"backend": "processes"}], ids=str)
def test_a_map_that_outlives_its_executor_gives_what_there_is_before_it_says_so(options):
    with pointsman.Executor(2, **options) as executor:
        results = executor.map(functions.square, iter(range(50)), buffersize=20)
    got = []

    with pytest.raises(RuntimeError, match="after shutdown"):
        for result in results:
            got.append(result)

    assert got == [number * number for number in range(20)]


def test_a_map_that_is_left_begins_nothing_more(tmp_path):
    with pointsman.Executor(2, backend="processes") as executor:
        results = executor.map(_leave_a_mark, [tmp_path] * 20_000, range(20_000))
        next(results)
        results.close()

    assert len(list(tmp_path.iterdir())) < 20_000


def test_workers_begin_before_the_last_input_is_packed(executor, tmp_path):
    numbers = [*range(9000), _Waits(lambda: _until(lambda: any(tmp_path.iterdir())))]

    results = list(executor.map(_leave_a_mark, [tmp_path] * len(numbers), numbers))

    assert results == [None] * len(numbers)


def test_a_ctrl_c_while_inputs_are_packed_begins_nothing_more(tmp_path):
    numbers = [*range(60_000), _Interrupted()]
    with pointsman.Executor(2, backend="processes") as executor:
        with pytest.raises(KeyboardInterrupt):
            executor.map(_leave_a_mark, [tmp_path] * len(numbers), numbers)
        assert list(executor.map(functions.square, range(9))) == [number * number for number in range(9)]

    assert len(list(tmp_path.iterdir())) < 60_000


def test_chunks_have_the_size_that_was_asked_for_though_workers_begin_early(executor):
    pids = list(executor.map(functions.process, range(15_000), chunksize=5000))

    assert [len(set(pids[at : at + 5000])) for at in (0, 5000, 10_000)] == [1, 1, 1]


@pytest.mark.parametrize("how", ["Executor.map", "execute"])
def test_calls_that_are_dearer_than_the_last_ones_of_their_function_are_shared_evenly(executor, how):
    if how == "execute":
        run = functools.partial(pointsman.execute, backend="processes", max_workers=2)
    else:
        run = lambda *call: list(executor.map(*call))
    run(_dear, [0] * 50_000)

    pids = run(_dear, [5] * 64)

    assert max(map(pids.count, set(pids))) <= 48


def test_a_result_that_was_taken_is_kept_by_nobody(executor):
    results = executor.map(_make_marked, range(50))
    first = next(results)
    gone = weakref.ref(first)
    del first

    assert _until(lambda: gc.collect() >= 0 and gone() is None)
    assert sum(1 for _ in results) == 49


def test_threads_that_share_a_map_get_each_result_once(executor):
    results = executor.map(functions.square, range(20_000))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        parts = [part.result() for part in [threads.submit(list, results) for _ in range(4)]]

    assert sorted(itertools.chain(*parts)) == [number * number for number in range(20_000)]


def test_a_map_without_a_result_in_time_raises_and_cancels(executor):
    results = executor.map(time.sleep, [0.01, functions.PATIENCE / 10], timeout=0.3)

    with pytest.raises(TimeoutError):
        list(results)


def test_large_inputs_and_small_ones_mix(executor):
    inputs = [bytes([i]) * (200_000 if i % 3 else 5) for i in range(60)]

    assert list(executor.map(functions.same, inputs)) == inputs


def test_a_chunk_has_one_call_where_a_worker_serves_a_number_of_calls():
    with pointsman.Executor(2, backend="processes", max_tasks_per_child=5) as executor:
        pids = list(executor.map(functions.process, range(40)))

    assert max(map(pids.count, set(pids))) <= 5


def test_the_figures_count_the_calls_of_a_map():
    with pointsman.Executor(2, backend="processes") as executor:
        list(executor.map(functions.square, range(300)))
        assert executor.get_stats().completed_tasks == 300


def test_a_future_that_refers_to_itself_is_collected(executor):
    gc.collect()
    gone = []
    for make in (
        lambda future: setattr(future, "myself", future),
        lambda future: future.result().append(future),
        lambda future: future.add_done_callback(lambda _: future),
    ):
        mark, future = _Marked(), executor.submit(functions.same, [1])
        make(future)
        future.result()
        future.mark = mark
        gone.append(weakref.ref(mark))
        del mark, future

    # Whoever told of an outcome may hold its future for a moment more.
    assert _until(lambda: gc.collect() >= 0 and not any(mark() for mark in gone))


def test_an_exception_that_refers_to_its_future_is_collected(executor):
    def fail():
        future = executor.submit(_fail_at_7, 7)
        mark = _Marked()
        try:
            future.result()
        except KeyError as error:
            kept.append(error.__traceback__)
        return weakref.ref(mark)

    kept = []
    gone = fail()
    kept.clear()
    gc.collect()

    assert gone() is None
