"""`Executor`: takes the place of the standard library's.

What it does not know: what its futures promise (test_futures.py), or how fast it is.
"""

import concurrent.futures
import gc
import pickle
import sys
import threading
import time
from functools import partial

import pytest

import functions
import pointsman
from fixtures import runs, wait_until
from functions import Boom

pytestmark = pytest.mark.timeout(60)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])


@BOTH
def test_it_is_an_executor_of_the_standard_library(place):
    with pointsman.Executor(backend=place) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(functions.square, 3).result() == 9


@BOTH
def test_leaving_the_block_waits_for_every_call(place, tmp_path):
    path = tmp_path / "calls"
    with pointsman.Executor(2, backend=place) as executor:
        futures = [executor.submit(functions.note_and_nap, str(path), n) for n in range(30)]

    assert all(future.done() for future in futures)
    assert sorted(map(int, path.read_text().splitlines())) == list(range(30))


@BOTH
def test_leaving_the_block_by_an_exception_waits_too(place):
    futures = []
    with pytest.raises(Boom), pointsman.Executor(2, backend=place) as executor:
        futures = [executor.submit(functions.nap, n) for n in range(10)]
        raise Boom("out", 1)

    assert [future.result(0) for future in futures] == list(range(10))


@BOTH
def test_nothing_can_be_submitted_after_shutdown(place):
    executor = pointsman.Executor(backend=place)
    executor.submit(functions.square, 1).result()
    executor.shutdown()

    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(functions.square, 1)
    with pytest.raises(RuntimeError):
        executor.map(functions.square, [1])


@BOTH
def test_shutdown_may_be_called_again(place):
    executor = pointsman.Executor(backend=place)
    executor.submit(functions.square, 1).result()

    executor.shutdown()
    executor.shutdown(wait=False)
    executor.shutdown(cancel_futures=True)


@BOTH
def test_an_executor_that_was_never_used_shuts_down(place):
    pointsman.Executor(backend=place).shutdown()

    with pointsman.Executor(backend=place):
        pass


@BOTH
def test_shutdown_without_waiting_still_runs_what_was_submitted(place):
    executor = pointsman.Executor(2, backend=place)
    futures = [executor.submit(functions.nap, n) for n in range(20)]

    executor.shutdown(wait=False)

    assert [future.result(functions.PATIENCE) for future in futures] == list(range(20))


@BOTH
def test_shutdown_can_cancel_what_has_not_begun(place, tmp_path):
    path = tmp_path / "calls"
    executor = pointsman.Executor(1, backend=place)
    futures = [executor.submit(functions.note_and_nap, str(path), n) for n in range(2000)]

    executor.shutdown(cancel_futures=True)

    cancelled = [future.cancelled() for future in futures]
    assert all(future.done() for future in futures)
    assert cancelled[-1]
    run = path.read_text().splitlines() if path.exists() else []
    assert len(run) == cancelled.count(False)


@BOTH
def test_after_shutdown_no_worker_is_left(place):
    with pointsman.Executor(2, thread_name_prefix="to-be-gone", backend=place) as executor:
        pids = set(executor.map(functions.process, range(50)))
        here = threading.active_count()

    if place == "threads":
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("to-be-gone")]
        assert threading.active_count() < here
    else:

        def gone():
            return not any(runs(pid) for pid in pids)

        assert wait_until(gone)


@BOTH
def test_an_executor_that_nobody_keeps_finishes_what_was_submitted(place):
    futures = [pointsman.Executor(1, backend=place).submit(functions.nap, n) for n in range(3)]
    gc.collect()

    assert [future.result(functions.PATIENCE) for future in futures] == [0, 1, 2]


# ------------------------------------------------------------------------------------------------ map


@BOTH
def test_map_gives_the_results_in_order(place):
    with pointsman.Executor(3, backend=place) as executor:
        assert list(executor.map(functions.early_is_slow, range(30))) == list(range(30))


@BOTH
def test_map_takes_several_iterables_and_ends_with_the_shortest(place):
    with pointsman.Executor(2, backend=place) as executor:
        assert list(executor.map(functions.add, range(10), range(5))) == [0, 2, 4, 6, 8]


@BOTH
@pytest.mark.parametrize("chunksize", [1, 2, 7, 1000])
def test_map_in_chunks_gives_the_same(place, chunksize):
    with pointsman.Executor(2, backend=place) as executor:
        results = list(executor.map(functions.square, range(100), chunksize=chunksize))

    assert results == [x * x for x in range(100)]


@BOTH
@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_raises_what_a_call_raised_after_the_results_before_it(place, chunksize):
    with pointsman.Executor(2, backend=place) as executor:
        results = executor.map(functions.fail_late_or_at_once, range(12), chunksize=chunksize)

        got = []
        with pytest.raises(Boom) as caught:
            got.extend(results)

    assert caught.value.args == ("failed", 3)
    assert got == [0, 1, 2]


@BOTH
def test_map_starts_at_once(place, tmp_path):
    path = tmp_path / "calls"
    with pointsman.Executor(2, backend=place) as executor:
        _results = executor.map(partial(functions.note, str(path)), range(5))

        assert wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == 5)


@BOTH
def test_map_gives_up_when_a_result_is_late(place):
    executor = pointsman.Executor(1, backend=place)
    try:
        with pytest.raises(TimeoutError):
            list(executor.map(time.sleep, [0, 1.5], timeout=0.2))
    finally:
        executor.shutdown(cancel_futures=True)


@BOTH
def test_every_keyword_belongs_to_the_function(place):
    keywords = {"self": 1, "fn": 2, "timeout": 3, "args": 4, "kwargs": 5}
    with pointsman.Executor(1, backend=place) as executor:
        assert executor.submit(functions.takes, 0, **keywords).result() == ((0,), keywords)
        view = executor.options(retries=1, retry_on=Boom)
        assert view.submit(functions.takes, 0, **keywords).result() == ((0,), keywords)


# ---------------------------------------------------------------------------------------- its options


@BOTH
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_workers_run_at_a_time_as_asked_for_and_no_more(place, workers, tmp_path):
    with pointsman.Executor(workers, backend=place) as executor:
        met = list(executor.map(partial(functions.meet, str(tmp_path), workers), range(workers)))
        spans = list(executor.map(functions.span, [0.005] * 20))

    assert met == [True] * workers
    assert len({(span.process, span.thread) for span in spans}) <= workers


def test_threads_are_named_after_the_prefix():
    with pointsman.Executor(2, "my-prefix", backend="threads") as executor:
        names = set(executor.map(lambda _: threading.current_thread().name, range(20)))

    assert all(name.startswith("my-prefix") for name in names)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from 3.12 on the interpreter limits C recursion by a count of its own"
)
def test_a_stack_of_the_size_asked_for_lets_calls_recurse_deeper():
    def deep(n):
        return 0 if n == 0 else 1 + max(0, *map(deep, [n - 1]))

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        with pointsman.Executor(1, backend="threads", thread_stack_size=256 * 1024 * 1024) as executor:
            assert executor.submit(deep, 5000).result() == 5000
    finally:
        sys.setrecursionlimit(limit)


@BOTH
def test_the_initializer_runs_in_each_worker_before_its_first_call(place):
    with pointsman.Executor(2, initializer=prepare, initargs=("ready",), backend=place) as executor:
        assert set(executor.map(prepared, range(50))) == {"ready"}


_LOCAL = threading.local()


def prepare(text):
    _LOCAL.text = text


def prepared(_):
    time.sleep(0.001)
    return getattr(_LOCAL, "text", None)


@BOTH
def test_an_initializer_that_raises_breaks_the_executor_and_says_so(place, caplog):
    executor = pointsman.Executor(2, initializer=functions.fail, initargs=("start",), backend=place)
    future = executor.submit(functions.square, 1)

    with pytest.raises(concurrent.futures.BrokenExecutor, match="fail"):
        future.result(functions.PATIENCE)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        executor.submit(functions.square, 1)
    executor.shutdown()


def test_submit_blocks_while_the_queue_is_full():
    gate, submitted = threading.Event(), []
    with pointsman.Executor(1, backend="threads", queue_capacity=2) as executor:
        executor.submit(gate.wait, functions.PATIENCE)

        def fill():
            for n in range(10):
                executor.submit(functions.square, n)
                submitted.append(n)

        filler = threading.Thread(target=fill)
        filler.start()
        # Whatever the queue may hold is there soon; the rest must not come while the worker is kept busy.
        wait_until(lambda: len(submitted) >= 2)
        time.sleep(0.2)
        early = len(submitted)
        gate.set()
        filler.join(functions.PATIENCE)

    assert 1 <= early <= 3
    assert submitted == list(range(10))


@BOTH
def test_wait_returns_those_that_are_done(place):
    with pointsman.Executor(2, backend=place) as executor:
        # The workers are there.
        executor.submit(functions.square, 1).result()
        slow = executor.submit(time.sleep, 1.5)
        quick = executor.submit(functions.square, 2)
        done = executor.wait([quick, slow], timeout=0.7)

        assert quick in done
        assert executor.wait([quick, slow]) == [quick, slow]


@BOTH
def test_as_completed_gives_each_future_once(place):
    with pointsman.Executor(2, backend=place) as executor:
        futures = [executor.submit(functions.square, n) for n in range(20)]

        assert sorted(future.result() for future in executor.as_completed(futures)) == [n * n for n in range(20)]


@BOTH
def test_the_figures_of_an_executor_count_its_calls(place):
    with pointsman.Executor(2, backend=place) as executor:
        before = executor.get_stats()
        futures = [executor.submit(functions.nap, n) for n in range(10)]
        futures += [executor.submit(functions.fail, n) for n in range(3)]
        concurrent.futures.wait(futures)
        assert wait_until(lambda: executor.get_stats().running_tasks == 0)
        after = executor.get_stats()

    assert (before.completed_tasks, before.failed_tasks) == (0, 0)
    assert (after.completed_tasks, after.failed_tasks) == (10, 3)
    assert after.queued_tasks == 0
    assert 1 <= after.active_threads <= 2
    assert after.total_execution_time >= 10 * 0.005


@BOTH
def test_an_executor_does_not_travel(place):
    with pointsman.Executor(backend=place) as executor, pytest.raises(TypeError, match="Executor cannot be pickled"):
        pickle.dumps(executor)


def test_an_executor_can_be_subclassed():
    class Doubling(pointsman.Executor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(lambda: 2 * fn(*args, **kwargs))

    with Doubling(1, backend="threads") as executor:
        assert executor.submit(functions.square, 3).result() == 18
        assert list(executor.map(functions.square, [1, 2])) == [2, 8]


@BOTH
def test_two_executors_do_not_share_their_workers(place):
    with pointsman.Executor(1, backend=place) as one, pointsman.Executor(1, backend=place) as other:
        first, second = one.submit(functions.span, 0.0).result(), other.submit(functions.span, 0.0).result()

    assert (first.process, first.thread) != (second.process, second.thread)


@BOTH
def test_many_executors_one_after_another_work(place):
    for n in range(10):
        with pointsman.Executor(1, backend=place) as executor:
            assert executor.submit(functions.square, n).result() == n * n


def test_a_call_on_a_thread_may_wait_for_another_of_the_same_executor():
    with pointsman.Executor(1, backend="threads") as executor:

        def outer(n):
            return n if n == 0 else n + executor.submit(outer, n - 1).result()

        assert executor.submit(outer, 4).result(functions.PATIENCE) == 10


def test_an_executor_may_be_shut_down_from_one_of_its_calls():
    executor = pointsman.Executor(1, backend="threads")

    executor.submit(executor.shutdown, wait=False).result(functions.PATIENCE)

    with pytest.raises(RuntimeError):
        executor.submit(functions.square, 1)
