"""Ctrl-C at any moment, again and again: one KeyboardInterrupt each, and the workers usable or gone.

What it does not know: where in the library the signal arrives; chance decides, hence several times.
"""

import os
import signal
import threading
import time

import psutil
import pytest

import functions
import pointsman
from fixtures import SOON, alive, family, program, wait_until
from pointsman._locks import in_the_end
from pointsman._measure import Meter

pytestmark = pytest.mark.timeout(120)

DOES = {
    "submit": "futures = [executor.submit(functions.square, n) for n in range(2_000_000)]",
    "submit large": "futures = [executor.submit(len, bytes(300_000)) for n in range(2_000_000)]",
    "map": "list(executor.map(functions.square, range(5_000_000)))",
    "lazy map": "sum(pointsman.map(functions.square, itertools.count(), backend='processes'))",
    "execute": "pointsman.execute(functions.spin, range(10**7), backend='processes')",
    "result": "executor.submit(functions.sleep_long, 1).result()",
    "as_completed": "list(executor.as_completed([executor.submit(functions.sleep_long, 1)]))",
}


@pytest.mark.parametrize("what", DOES)
@pytest.mark.parametrize("to", ["the program", "its group"])
def test_each_ctrl_c_is_one_keyboard_interrupt_and_the_workers_stay_usable(what, to, tmp_path):
    source = f"""
import functions, itertools, pointsman, sys

def use():
    {DOES[what]}

for n in range(4):
    executor = pointsman.Executor(2, backend="processes")
    executor.submit(functions.square, 1).result()
    interrupted = 0
    print("ready", flush=True)
    try:
        use()
    except KeyboardInterrupt:
        interrupted += 1
    executor.shutdown(wait=False, cancel_futures=True)
    with pointsman.Executor(1, backend="processes") as fresh:
        assert fresh.submit(functions.square, 5).result() == 25
    assert sum(pointsman.execute(functions.square, range(50), backend="processes")) == 40425
    print("interrupted", interrupted, flush=True)
import os
os._exit(0) if "long" in {DOES[what]!r} else None
"""
    with program(tmp_path, source) as running:
        for n in range(4):
            assert running.line() == "ready"
            wait_until(lambda: False, 0.15 + 0.13 * n)
            (os.kill if to == "the program" else os.killpg)(running.pid, signal.SIGINT)

            line = running.line()
            assert line == "interrupted 1", running.wait(SOON).err
        processes = family(running.pid)
        ended = running.wait(2 * SOON)

        assert (ended.code, ended.err) == (0, "")
        assert wait_until(lambda: not any(alive(process) for process in processes if psutil.pid_exists(process.pid)))


def test_a_measurement_that_a_ctrl_c_cut_short_does_not_spoil_the_next_job():
    # As when the signal arrives between the beginning of a measurement and the block that ends it.
    for _ in range(3):
        meter = Meter()
        meter.begin(look=True)
        meter.close()

    assert pointsman.execute(functions.square, range(100)) == [n * n for n in range(100)]


@pytest.mark.parametrize("name", ["cb", "remove"])
def test_a_ctrl_c_in_a_callback_of_the_import_system_ends_the_call_and_prints_nothing(name, tmp_path):
    source = f"""
import os, signal, sys, time, weakref
import pointsman

class Lock: pass

def call(_):
    time.sleep(0)
    # As the import system has them, and the signal arrives in one.
    names = {{"os": os, "signal": signal}}
    exec(compile("def {name}(_):\\n os.kill(os.getpid(), signal.SIGINT)\\n for _ in range(9): pass",
                 "<frozen importlib._bootstrap>", "exec"), names)
    lock = Lock()
    watched = weakref.ref(lock, names["{name}"])
    del lock
    time.sleep(600)

with pointsman.Executor(1, backend="processes") as executor:
    print(type(executor.submit(call, 1).exception()).__name__)
"""
    with program(tmp_path, source) as running:
        ended = running.wait(2 * SOON)

    assert (ended.code, ended.out.split(), ended.err) == (0, ["KeyboardInterrupt"], "")


@pytest.mark.parametrize("where", ["text", "pickling"])
def test_a_ctrl_c_while_a_failure_is_packed_leaves_a_failure_and_the_worker(where, tmp_path):
    source = f"""
import os, pointsman, signal

HERE = os.getpid()

def interrupt(where):
    if where == {where!r} and os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(9):
            pass

class Failure(Exception):
    def __str__(self):
        interrupt("text")
        return "of the user's"

    def __reduce__(self):
        interrupt("pickling")
        return Failure, ()

def fail(_):
    raise Failure

with pointsman.Executor(1, backend="processes") as executor:
    worker = executor.submit(os.getpid).result()
    error = executor.submit(fail, 1).exception()
    print(type(error).__name__, executor.submit(os.getpid).result() == worker)
"""
    with program(tmp_path, source) as running:
        ended = running.wait(2 * SOON)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split() in (["KeyboardInterrupt", "True"], ["Failure", "True"])


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_a_ctrl_c_while_a_list_is_made_of_results_cancels_what_has_not_begun(backend):
    begun = []

    def interrupt(*_):
        begun.append(executor.get_stats().completed_tasks)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pointsman.Executor(2, backend=backend) as executor:
            executor.submit(functions.square, 1).result()
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                list(executor.map(time.sleep, [0.02] * 1000))
    finally:
        signal.signal(signal.SIGALRM, before)

    assert executor.get_stats().completed_tasks < begun[0] + 200


MANY = "sum(number * number % 7 for number in range(6_000_000))"
WAYS = {
    "an executor": "pool = pointsman.Executor(4); futures = [pool.submit(work, n) for n in range(60)]",
    "submit": "futures = [pointsman.submit(work, n) for n in range(60)]",
}


@pytest.mark.parametrize("how", WAYS)
def test_another_ctrl_c_ends_a_program_whose_threads_still_run_calls(how, tmp_path):
    source = f"""
import pointsman, threading
started = threading.Event()

def work(n):
    started.set()
    return [{MANY} for _ in range(50)]

{WAYS[how]}
started.wait()
print("ready", flush=True)
futures[-1].result()
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        # Two that come at about the same time are one: beside busy threads it takes a while until it is heard.
        for _ in range(40):
            if running.process.poll() is None:
                os.kill(running.pid, signal.SIGINT)
                wait_until(lambda: running.process.poll() is not None, 0.7)
        ended = running.wait()

    assert ended.code == -signal.SIGINT


def test_after_a_ctrl_c_queued_calls_of_threads_are_not_begun_any_more(tmp_path):
    source = """
import pointsman, threading, time
gate = threading.Event()

def work(n):
    gate.set()
    time.sleep(0.2)
    print("ran", n, flush=True)

futures = [pointsman.submit(work, n) for n in range(5_000)]
gate.wait()
print("ready", flush=True)
futures[-1].result()
"""
    with program(tmp_path, source) as running:
        while running.line() != "ready":
            pass
        os.kill(running.pid, signal.SIGINT)
        ended = running.wait()

    assert ended.code == -signal.SIGINT
    assert ended.out.count("ran") < 2_000


def test_a_ctrl_c_while_a_map_starts_its_threads_is_raised():
    def handler(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    raised = 0
    try:
        for attempt in range(30):
            with pointsman.Executor(16) as executor:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0005 * attempt)
                    for _result in executor.map(sum, [range(20_000)] * 300):
                        pass
                    signal.setitimer(signal.ITIMER_REAL, 0.0)
                except KeyboardInterrupt:
                    raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)

    # What is not raised would be a CancelledError.
    assert raised > 0


def test_an_exception_just_after_a_lock_was_had_leaves_it_free():
    class Interrupted:
        def __init__(self):
            self.lock, self.first = threading.RLock(), True

        def __enter__(self):
            self.lock.acquire()
            if self.first:
                self.first = False
                raise KeyboardInterrupt

        def __exit__(self, *_):
            self.lock.release()

        def __getattr__(self, name):
            return getattr(self.lock, name)

    lock, done = Interrupted(), []

    with pytest.raises(KeyboardInterrupt):
        in_the_end(lock, lambda: done.append(1))

    assert done
    free = threading.Thread(target=lambda: done.append(lock.lock.acquire(timeout=5)))
    free.start()
    free.join()
    assert done[-1] is True
