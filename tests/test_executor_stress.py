"""No deadlock between the interpreter's lock and ours: callbacks, `__del__`, signal handlers, and the program's end.

What it does not know: what calls give (test_executor.py).

Invariants:
    W1. Every wait has an end; a hang is a failure that shows the stacks.
"""

import concurrent.futures
import contextlib
import gc
import random
import signal
import sys
import threading
import time

import pytest

import functions
import pointsman
from fixtures import program, wait_until

pytestmark = pytest.mark.timeout(60)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])


@pytest.fixture
def quick_switches():
    """Let threads take turns much more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@BOTH
def test_callbacks_may_submit_and_cancel(place, quick_switches):
    with pointsman.Executor(2, backend=place) as executor:
        left, done = 300, threading.Event()
        lock = threading.Lock()

        def again(future):
            nonlocal left
            with lock:
                left -= 1
                if left <= 0:
                    done.set()
                    return
            following = executor.submit(functions.square, left)
            following.add_done_callback(again)
            if left % 5 == 0:
                following.cancel()
            assert future.done()

        for n in range(4):
            executor.submit(functions.square, n).add_done_callback(again)

        assert done.wait(functions.PATIENCE)


@BOTH
def test_a_callback_may_shut_the_executor_down(place):
    executor = pointsman.Executor(2, backend=place)
    closed = threading.Event()

    def close(_future):
        executor.shutdown(wait=False, cancel_futures=True)
        closed.set()

    executor.submit(functions.square, 1).add_done_callback(close)
    futures = []
    with contextlib.suppress(RuntimeError):
        futures += [executor.submit(functions.nap, n) for n in range(50)]

    assert closed.wait(functions.PATIENCE)
    _done, not_done = concurrent.futures.wait(futures, functions.PATIENCE)
    assert not not_done
    executor.shutdown()


class Submits:
    """Submits a call when it is collected."""

    def __init__(self, executor, futures):
        self.executor, self.futures = executor, futures
        self.me = self

    def __del__(self):
        with contextlib.suppress(RuntimeError):
            self.futures.append(self.executor.submit(functions.square, 2))


@BOTH
def test_objects_may_submit_while_they_are_collected(place, quick_switches):
    futures = []
    with pointsman.Executor(2, backend=place) as executor:
        calls = []
        for n in range(300):
            Submits(executor, futures)
            calls.append(executor.submit(functions.same, n))
            if n % 50 == 0:
                gc.collect()
        gc.collect()

        assert [call.result(functions.PATIENCE) for call in calls] == list(range(300))
        assert len(futures) == 300
        assert all(future.result(functions.PATIENCE) == 4 for future in futures)


def test_arguments_may_use_the_executor_while_they_are_dropped(quick_switches):
    futures = []
    with pointsman.Executor(2) as executor:
        gate = threading.Event()
        executor.submit(gate.wait, functions.PATIENCE)
        queued = [executor.submit(functions.same, Submits(executor, futures)) for _ in range(100)]
        for future in queued[::2]:
            future.cancel()
        gate.set()
        concurrent.futures.wait(queued)
        del queued, future

        # A thread that has just told of the last outcome may hold it for a moment.
        assert wait_until(lambda: gc.collect() >= 0 and len(futures) == 100)


@BOTH
def test_signal_handlers_may_submit_and_wait(place):
    answers = []
    with pointsman.Executor(2, backend=place) as executor:
        # What is imported for the first calls is there: a handler in the middle of an import meets half a module.
        assert list(executor.map(functions.square, [2])) == [4]

        def handle(_number, _frame):
            answers.append(executor.submit(functions.square, 3).result(functions.PATIENCE))

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.003)
        try:
            until = time.monotonic() + functions.PATIENCE
            while len(answers) < 30 and time.monotonic() < until:
                assert sum(executor.map(functions.same, range(50))) == 1225
                assert executor.submit(functions.square, 4).result() == 16
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    assert len(answers) >= 30
    assert set(answers) == {9}


def test_a_signal_handler_may_shut_the_executor_down():
    executor = pointsman.Executor(2)
    futures = [executor.submit(functions.nap, n) for n in range(2000)]
    before = signal.signal(signal.SIGALRM, lambda *_: executor.shutdown(wait=False, cancel_futures=True))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        # Not `wait`: a handler that settles futures while `wait` subscribes to them leaves it waiting, whoever made them.
        for future in futures:
            with contextlib.suppress(concurrent.futures.CancelledError):
                future.result(functions.PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures)
    executor.shutdown()


@BOTH
def test_many_threads_may_use_and_close_executors_at_once(place, quick_switches):
    errors = []

    def use(seed):
        rng = random.Random(seed)  # noqa: S311 - a seeded choice
        try:
            for _ in range(8 if place == "threads" else 2):
                executor = pointsman.Executor(rng.randint(1, 3), backend=place)
                futures = [executor.submit(functions.same, n) for n in range(rng.randint(0, 60))]
                for future in rng.sample(futures, len(futures) // 3):
                    future.cancel()
                results = list(executor.map(functions.square, range(20)))
                executor.shutdown(wait=rng.random() < 0.7, cancel_futures=rng.random() < 0.5)
                assert results == [n * n for n in range(20)]
                for n, future in enumerate(futures):
                    assert future.cancelled() or future.result(functions.PATIENCE) == n
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(functions.PATIENCE)

    assert not errors
    assert not any(thread.is_alive() for thread in threads)


ENDINGS = {
    "calls queued": "futures = [executor.submit(time.sleep, 0.001) for _ in range(100)]",
    "a map half taken": "results = executor.map(abs, range(10_000)); next(results)",
    "an endless map": "results = executor.map(abs, itertools.count()); next(results)",
    "calls that submit": "def again(n):\n    if n: executor.submit(again, n - 1)\nexecutor.submit(again, 50)",
    "a callback that submits": (
        "def told(_):\n"
        "    try: executor.submit(abs, 1)\n"
        "    except RuntimeError: pass\n"
        "for _ in range(50): executor.submit(time.sleep, 0.001).add_done_callback(told)"
    ),
    "waiting in a daemon thread": (
        "future = executor.submit(time.sleep, 0.05)\nthreading.Thread(target=future.result, daemon=True).start()"
    ),
    "a daemon thread that submits": (
        "def forever():\n"
        "    try:\n"
        "        while True: executor.submit(abs, 1).result()\n"
        "    except (RuntimeError, concurrent.futures.CancelledError): pass\n"
        "executor.submit(abs, 1).result()\n"
        "threading.Thread(target=forever, daemon=True).start(); time.sleep(0.02)"
    ),
    "collected at the end": (
        "class Late:\n"
        "    def __del__(self):\n"
        "        try: executor.submit(abs, 1)\n"
        "        except RuntimeError: pass\n"
        "late = Late(); executor.submit(abs, 1).result()"
    ),
    "from atexit": (
        "import atexit\n"
        "@atexit.register\n"
        "def last():\n"
        "    try: executor.submit(abs, 1)\n"
        "    except RuntimeError as error: print(error)"
    ),
    "a late call": "executor.options(timeout=0.01).submit(time.sleep, 0.1)",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_program_ends_quietly_whatever_its_executor_is_doing(ending, workers, tmp_path):
    source = (
        "import concurrent.futures, itertools, threading, time, pointsman\n"
        f"executor = pointsman.Executor({workers}, backend='threads')\n{ENDINGS[ending]}\n"
    )
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert ended.code == 0
    assert not ended.err
    assert ended.out in ("", "cannot schedule new futures after interpreter shutdown\n")


def test_an_idle_executor_uses_no_processor_time():
    with pointsman.Executor(4) as executor:
        list(executor.map(functions.square, range(100)))
        executor.submit(functions.square, 2).result()
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.5)

        # A spin of one thread would be half a second.
        assert time.process_time() - before < 0.1
