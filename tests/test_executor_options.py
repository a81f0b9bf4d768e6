"""`Executor` beyond the standard library's: priorities, stealing, capacity, limits, figures, and where calls may run.

What it does not know: what it shares with the standard library (test_executor.py).
"""

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import os
import signal
import threading
import time

import pytest

import functions
import pointsman
from fixtures import wait_until
from pointsman import TaskPriority

pytestmark = pytest.mark.timeout(60)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])


@pytest.fixture
def busy():
    """An executor whose one thread waits for a gate."""
    gate = threading.Event()
    with pointsman.Executor(1) as executor:
        begun = threading.Event()
        executor.submit(lambda: (begun.set(), gate.wait(functions.PATIENCE)))
        assert begun.wait(functions.PATIENCE)
        executor.gate = gate
        yield executor
        gate.set()


# ------------------------------------------------------------------------------------- priorities


def test_the_more_urgent_of_the_queued_calls_go_first(busy):
    order = []
    for name in ("LOW", "NORMAL", "HIGH", "URGENT"):
        busy.submit(order.append, name, priority=TaskPriority[name])
    busy.submit(order.append, "usual")
    last = busy.options(priority=TaskPriority.LOW).submit(order.append, "last")
    busy.gate.set()
    last.result(functions.PATIENCE)

    assert order == ["URGENT", "HIGH", "NORMAL", "usual", "LOW", "last"]


def test_the_more_urgent_calls_go_first_in_worker_processes_too(tmp_path):
    path, gate = tmp_path / "calls", tmp_path / "gate"
    gate.mkdir()
    with pointsman.Executor(1, backend="processes") as executor:
        executor.submit(functions.meet, str(gate), 2, 0)
        # As many as the worker may have been handed already.
        for n in range(30):
            executor.submit(functions.note, str(path), n)
        executor.options(priority=TaskPriority.LOW).submit(functions.note, str(path), "low")
        executor.submit(functions.note, str(path), "usual")
        executor.submit(functions.note, str(path), "urgent", priority=TaskPriority.URGENT)
        (gate / "1").touch()

    order = path.read_text().splitlines()
    assert order.index("urgent") < order.index("29") < order.index("usual") < order.index("low")


def test_a_call_that_many_later_ones_have_passed_goes_next(busy):
    order = []
    busy.submit(order.append, "patient", priority=TaskPriority.LOW)
    futures = [busy.submit(order.append, n, priority=TaskPriority.HIGH) for n in range(1200)]
    busy.gate.set()
    concurrent.futures.wait(futures)

    assert order.index("patient") < 1100


def test_a_priority_that_is_no_task_priority_belongs_to_the_function(busy):
    future = busy.submit(functions.takes, priority=3)
    busy.gate.set()

    assert future.result() == ((), {"priority": 3})


def test_an_urgent_call_passes_the_inputs_of_a_map():
    with pointsman.Executor(1) as executor:
        seen = []
        results = executor.map(lambda n: (seen.append(n), time.sleep(0.002)), range(500))
        next(results)
        executor.submit(seen.append, "urgent", priority=TaskPriority.URGENT).result(functions.PATIENCE)

        assert seen.index("urgent") < 400


# --------------------------------------------------------------------------------------- stealing


def test_calls_that_a_thread_submits_are_taken_newest_first_by_itself():
    order = []
    with pointsman.Executor(1, scheduler=pointsman.WorkStealingScheduler()) as executor:

        def parent():
            return [executor.submit(order.append, n) for n in range(5)]

        concurrent.futures.wait(executor.submit(parent).result())

    assert order == [4, 3, 2, 1, 0]


def test_a_thread_without_work_takes_it_from_one_that_is_busy():
    with pointsman.Executor(2, scheduler=pointsman.WorkStealingScheduler()) as executor:
        gate = threading.Event()

        def parent():
            children = [executor.submit(threading.get_ident) for _ in range(4)]
            gate.wait(functions.PATIENCE)
            return threading.get_ident(), children

        future = executor.submit(parent)
        assert wait_until(lambda: executor.get_stats().completed_tasks == 4)
        gate.set()
        owner, children = future.result()

        assert all(child.result() != owner for child in children)


@pytest.mark.parametrize("bad", ["fifo", pointsman.WorkStealingScheduler])
def test_a_scheduler_that_is_none_is_refused(bad):
    with pytest.raises(TypeError, match="scheduler"):
        pointsman.Executor(scheduler=bad)


# ------------------------------------------------------------------------------- waiting, nesting


@BOTH
def test_submit_blocks_at_the_capacity_and_goes_on_when_there_is_room(place, tmp_path):
    with pointsman.Executor(1, backend=place, queue_capacity=2) as executor:
        futures = [executor.submit(functions.note_and_nap, str(tmp_path / "calls"), n) for n in range(40)]
        most = executor.get_stats().queued_tasks

        assert most <= 3
        assert [future.result(functions.PATIENCE) for future in futures] == list(range(40))


def test_a_worker_never_waits_for_room():
    with pointsman.Executor(1, queue_capacity=1) as executor:

        def outer():
            return sum(future.result() for future in [executor.submit(functions.square, n) for n in range(20)])

        assert executor.submit(outer).result(functions.PATIENCE) == sum(n * n for n in range(20))


@BOTH
def test_an_event_loop_never_waits_for_room(place):
    async def main(executor):
        return await asyncio.gather(*[executor.submit(functions.nap, n) for n in range(50)])

    with pointsman.Executor(1, backend=place, queue_capacity=1) as executor:
        assert asyncio.run(main(executor)) == list(range(50))


def test_a_full_queue_does_not_stop_calls_that_wait_for_the_event_loop():
    async def main(executor):
        loop = asyncio.get_running_loop()

        async def answer():
            return 1

        def ask():
            return asyncio.run_coroutine_threadsafe(answer(), loop).result(functions.PATIENCE)

        return sum(await asyncio.gather(*[executor.submit(ask) for _ in range(10)]))

    with pointsman.Executor(1, queue_capacity=1) as executor:
        assert asyncio.run(main(executor)) == 10


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("scheduler", [None, pointsman.WorkStealingScheduler()])
def test_calls_that_wait_for_calls_end_at_any_depth(workers, scheduler):
    with pointsman.Executor(workers, scheduler=scheduler) as executor:

        def deep(n):
            return 0 if n == 0 else 1 + executor.submit(deep, n - 1).result()

        assert executor.submit(deep, 150).result(functions.PATIENCE) == 150


@pytest.mark.parametrize("workers", [1, 2])
def test_a_call_may_wait_for_a_map_of_its_own_executor(workers):
    with pointsman.Executor(workers) as executor:

        def deep(n):
            return 1 if n == 0 else sum(executor.map(deep, [n - 1, n - 1]))

        assert executor.submit(deep, 6).result(functions.PATIENCE) == 64


@pytest.mark.parametrize("how", ["wait", "as_completed", "await"])
def test_a_call_may_wait_for_another_by_any_means(how):
    with pointsman.Executor(1) as executor:

        def outer():
            inner = executor.submit(functions.square, 7)
            if how == "wait":
                concurrent.futures.wait([inner])
            elif how == "as_completed":
                next(concurrent.futures.as_completed([inner]))
            else:

                async def main():
                    return await inner

                asyncio.run(main())
            return inner.result()

        assert [executor.submit(outer).result(functions.PATIENCE) for _ in range(5)] == [49] * 5


def test_two_executors_whose_calls_wait_for_each_other_end():
    with pointsman.Executor(1) as one, pointsman.Executor(1) as other:

        def ping(n):
            return n if n == 0 else other.submit(pong, n - 1).result() + 1

        def pong(n):
            return n if n == 0 else one.submit(ping, n - 1).result() + 1

        futures = [one.submit(ping, 40), other.submit(pong, 40), one.submit(ping, 41)]

        assert [future.result(functions.PATIENCE) for future in futures] == [40, 40, 41]


def nested(depth):
    return (
        0
        if depth == 0
        else 1 + pointsman.options(backend="processes", max_workers=1).submit(nested, depth - 1).result()
    )


def test_calls_in_worker_processes_may_submit_and_wait():
    with pointsman.Executor(1, backend="processes") as executor:
        assert executor.submit(nested, 2).result(functions.PATIENCE) == 2


def test_threads_beyond_the_limit_end_when_nobody_waits_any_more():
    with pointsman.Executor(1) as executor:

        def outer(n):
            return 0 if n == 0 else 1 + executor.submit(outer, n - 1).result()

        executor.submit(outer, 100).result(functions.PATIENCE)

        assert wait_until(lambda: executor.get_stats().active_threads <= 1)


# ---------------------------------------------------------------------------------------- figures


@BOTH
def test_the_figures_are_true_at_every_moment(place):
    with pointsman.Executor(2, backend=place) as executor:
        futures = []
        for n in range(200):
            futures.append(executor.submit(functions.same if n % 3 else functions.fail, n))
            done = sum(future.done() for future in futures)
            stats = executor.get_stats()
            settled = stats.completed_tasks + stats.failed_tasks

            assert done <= settled <= n + 1
            assert 0 <= stats.running_tasks <= 2
            assert stats.active_threads <= 2
        concurrent.futures.wait(futures)
        stats = executor.get_stats()

    assert (stats.completed_tasks, stats.failed_tasks) == (133, 67)
    assert stats.queued_tasks == 0


def test_calls_are_taken_while_the_figures_unpack_a_result(monkeypatch):
    taken = []

    def submit_elsewhere():
        submitting = threading.Thread(target=lambda: taken.append(terms.submit(functions.square, 3)), daemon=True)
        submitting.start()
        submitting.join(5)
        taken.append("unpacked")

    monkeypatch.setattr(functions, "WHEN_UNPACKED", [submit_elsewhere])
    with pointsman.Executor() as executor:
        terms = executor.options(timeout=functions.PATIENCE)
        future = terms.submit(functions.give_unpacked)
        assert wait_until(future.done)
        executor.get_stats()

        assert taken[1] == "unpacked"
        assert taken[0].result(functions.PATIENCE) == 9


def test_the_figures_count_the_calls_of_a_map():
    with pointsman.Executor(2) as executor:
        gate = threading.Event()
        results = executor.map(lambda n: gate.wait(functions.PATIENCE) and n, range(100))
        assert wait_until(lambda: executor.get_stats().running_tasks == 2)
        before = executor.get_stats()
        gate.set()
        list(results)
        after = executor.get_stats()

    assert (before.queued_tasks, before.completed_tasks) == (98, 0)
    assert (after.queued_tasks, after.completed_tasks) == (0, 100)


def test_a_cancelled_call_is_not_queued_any_more(busy):
    futures = [busy.submit(functions.square, n) for n in range(10)]
    before = busy.get_stats().queued_tasks
    for future in futures[::2]:
        assert future.cancel()

    assert (before, busy.get_stats().queued_tasks) == (10, 5)


@BOTH
def test_memory_and_cpu_are_those_of_this_process_and_the_workers(place):
    import psutil

    with pointsman.Executor(2, backend=place) as executor:
        executor.get_cpu_usage()
        list(executor.map(functions.spin, [50_000] * 8))

        assert executor.get_cpu_usage() > 1.0
        assert executor.get_memory_usage() > psutil.Process().memory_info().rss / 10


# -------------------------------------------------------------------------- limits, where calls run


def test_a_call_on_a_thread_that_is_late_fails_and_says_that_it_goes_on():
    gate, ended = threading.Event(), threading.Event()
    with pointsman.Executor(1, backend="threads") as executor:
        future = executor.options(timeout=0.05).submit(lambda: (gate.wait(functions.PATIENCE), ended.set()))

        with pytest.raises(pointsman.CallTimeoutError, match="goes on") as caught:
            future.result(functions.PATIENCE)
        assert isinstance(caught.value, TimeoutError)
        assert not ended.is_set()
        gate.set()
        assert ended.wait(functions.PATIENCE)
        assert executor.options(timeout=30).submit(functions.square, 3).result() == 9


def test_a_late_call_that_may_travel_is_stopped_in_a_process():
    with pointsman.Executor() as executor:
        future = executor.options(timeout=0.3).submit(functions.sleep_long, 1)

        assert isinstance(future.exception(functions.PATIENCE), pointsman.CallTimeoutError)
        assert "goes on" not in str(future.exception())


def test_the_time_of_a_call_counts_from_its_beginning():
    with pointsman.Executor(1, backend="threads") as executor:
        blocker = executor.submit(time.sleep, 0.4)
        future = executor.options(timeout=0.2).submit(functions.square, 2)
        blocker.result()

        assert future.result(functions.PATIENCE) == 4


def test_a_caller_that_waits_may_run_the_call_itself_if_it_says_so(busy):
    view = busy.options(run_on_caller=True)

    assert view.submit(threading.get_ident).result() == threading.get_ident()
    assert busy.get_stats().completed_tasks == 1
    with pytest.raises(ValueError, match="run_on_caller"):
        pointsman.Executor(backend="processes").options(run_on_caller=True)


def test_a_caller_with_a_time_limit_waits_and_does_not_run_the_call_itself(busy):
    future = busy.options(run_on_caller=True).submit(threading.get_ident)

    with pytest.raises(TimeoutError):
        future.result(0.01)
    with pytest.raises(TimeoutError):
        future.exception(0)


def test_context_variables_reach_the_call_and_do_not_come_back():
    variable = contextvars.ContextVar("variable", default="none")

    def look():
        seen = variable.get()
        variable.set("changed")
        return seen

    with pointsman.Executor(1) as executor:
        assert executor.submit(look).result() == "none"
        variable.set("mine")
        assert executor.submit(look).result() == "mine"
        assert list(executor.map(lambda _: variable.get(), range(3))) == ["mine"] * 3
        assert executor.submit(look).result() == "mine"
        variable.set("other")
        assert executor.submit(look).result() == "other"


def test_threads_of_an_executor_are_ordinary_ones():
    seen = []
    local = threading.local()

    def look(n):
        seen.append(threading.current_thread() in threading.enumerate())
        before = getattr(local, "n", None)
        local.n = n
        return before

    with pointsman.Executor(1) as executor:
        assert [executor.submit(look, n).result() for n in range(3)] == [None, 0, 1]
    assert seen == [True] * 3


def test_a_profiler_for_threads_sees_the_calls():
    names = set()
    threading.setprofile(lambda frame, _event, _arg: names.add(frame.f_code.co_name))
    try:
        with pointsman.Executor(1) as executor:
            executor.submit(functions.square, 2).result()
    finally:
        threading.setprofile(None)

    assert "square" in names


def test_a_pool_of_nobodys_size_grows_while_its_calls_wait():
    with pointsman.Executor(backend="threads") as executor:
        start = executor._max_workers
        futures = [executor.submit(time.sleep, 0.03) for _ in range(40 * start)]
        most = 0
        while not all(future.done() for future in futures[-start:]):
            most = max(most, executor.get_stats().active_threads)
            time.sleep(0.01)

    assert most > start


def test_an_explicit_size_is_kept():
    with pointsman.Executor(3) as executor:
        futures = [executor.submit(time.sleep, 0.005) for _ in range(200)]
        most = 0
        while not futures[-1].done():
            most = max(most, executor.get_stats().active_threads)

    assert most <= 3


# ------------------------------------------------------------------------------ like the standard one


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_context_of_multiprocessing_means_processes(method):
    context = multiprocessing.get_context(method)
    with pointsman.Executor(1, mp_context=context) as executor, pointsman.Executor(1, context) as second:
        assert executor.submit(os.getpid).result() != os.getpid()
        assert second.submit(os.getpid).result() != os.getpid()


def test_a_context_that_forks_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="not safe once it has threads"):
        pointsman.Executor(mp_context=multiprocessing.get_context("fork"))


def test_one_death_breaks_an_executor_that_is_to_be_broken_by_it():
    with pointsman.Executor(2, backend="processes", on_worker_death="break") as executor:
        victim = executor.submit(functions.sleep_long, 1)
        others = [executor.submit(functions.sleep_long, n) for n in range(5)]
        assert wait_until(victim.running)
        os.kill(next(iter(executor._processes)), signal.SIGKILL)

        for future in [victim, *others]:
            error = future.exception(functions.PATIENCE)
            assert isinstance(error, concurrent.futures.process.BrokenProcessPool)
            assert "on_worker_death='break'" in str(error)
            assert "no other call is touched" not in str(error)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(functions.square, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"on_worker_death": "break"},
        {"on_worker_death": "ignore", "backend": "processes"},
        {"scheduler": pointsman.WorkStealingScheduler(), "backend": "processes"},
        {"thread_stack_size": 1 << 20, "backend": "processes"},
        {"mp_context": multiprocessing.get_context("spawn"), "backend": "threads"},
        {"scheduler": pointsman.WorkStealingScheduler(), "backend": "asyncio"},
        {"thread_stack_size": 1 << 20, "backend": "asyncio"},
    ],
)
def test_options_that_do_not_go_together_are_refused(options):
    with pytest.raises(ValueError, match=r"on_worker_death|scheduler|thread_stack_size|mp_context"):
        pointsman.Executor(**options)


def test_a_map_of_an_endless_input_takes_only_some_of_it():
    taken = []

    def count():
        n = 0
        while True:
            taken.append(n)
            yield n
            n += 1

    with pointsman.Executor(2) as executor:
        results = executor.map(functions.square, count(), buffersize=10)
        assert [next(results) for _ in range(100)] == [n * n for n in range(100)]
        results.close()
        more = executor.map(functions.square, count())
        assert next(more) == 0
        more.close()

    assert len(taken) < 4000


def test_a_map_that_is_dropped_cancels_what_has_not_begun():
    with pointsman.Executor(1) as executor:
        results = executor.map(lambda n: time.sleep(0.01) or n, range(10_000))
        next(results)
        del results

        assert wait_until(lambda: executor.get_stats().queued_tasks == 0)


def test_a_shutdown_that_cancels_ends_a_map_with_a_cancellation():
    executor = pointsman.Executor(1)
    results = executor.map(lambda n: time.sleep(0.01) or n, range(1000))
    assert next(results) == 0
    executor.shutdown(cancel_futures=True)

    with pytest.raises(concurrent.futures.CancelledError):
        list(results)


def test_a_forked_child_can_use_the_executors_of_its_parent():
    with pointsman.Executor(2) as executor:
        assert executor.submit(functions.square, 3).result() == 9
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if executor.submit(functions.square, 4).result(10) == 16 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        assert executor.submit(functions.square, 5).result() == 25


def test_the_time_of_calls_that_run_elsewhere_is_counted():
    async def pause():
        await asyncio.sleep(0.02)

    with pointsman.Executor(2) as executor:
        executor.submit(pause).result(functions.PATIENCE)
        assert wait_until(lambda: executor.get_stats().total_execution_time >= 0.02)
        before = executor.get_stats().total_execution_time
        # In a process, where it can be stopped.
        executor.options(timeout=functions.PATIENCE).submit(functions.nap, 1).result(functions.PATIENCE)
        assert wait_until(lambda: executor.get_stats().total_execution_time >= before + 0.004)
