"""The threads of an executor are ordinary ones to whoever looks at them, and there are no more than are needed.

What it does not know: which calls they run, or in which order.
"""

import concurrent.futures
import ctypes
import gc
import os
import sys
import threading

import pytest

import functions
import pointsman
from fixtures import wait_until

pytestmark = pytest.mark.timeout(60)


def test_a_tracer_for_threads_sees_every_line_of_a_call():
    lines = set()

    def trace(frame, event, _argument):
        if frame.f_code is not called.__code__:
            return None
        if event == "line":
            lines.add(frame.f_lineno - called.__code__.co_firstlineno)
        return trace

    def called(n):
        m = n + 1
        return m * 2

    threading.settrace(trace)
    try:
        with pointsman.Executor(1, backend="threads") as executor:
            assert executor.submit(called, 2).result() == 6
    finally:
        threading.settrace(None)

    assert lines == {1, 2}


def test_whoever_reads_the_stacks_of_threads_sees_what_a_call_does():
    gate, begun = threading.Event(), threading.Event()

    def waits_in_here():
        begun.set()
        return gate.wait(functions.PATIENCE)

    with pointsman.Executor(1, "seen", backend="threads") as executor:
        future = executor.submit(waits_in_here)
        assert begun.wait(functions.PATIENCE)
        (thread,) = (thread for thread in threading.enumerate() if thread.name.startswith("seen"))
        names, frame = [], sys._current_frames()[thread.ident]
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        gate.set()
        assert future.result() is True

    assert "waits_in_here" in names
    # Below it is what started the thread.
    assert names[-1] == "_bootstrap"


def test_an_idle_executor_ends_its_threads_and_starts_others_when_they_are_needed(monkeypatch):
    monkeypatch.setattr("pointsman.backends.threads.PATIENCE", 0.1)
    with pointsman.Executor(4, backend="threads") as executor:
        assert list(executor.map(functions.nap, range(20))) == list(range(20))
        assert wait_until(lambda: executor.get_stats().active_threads == 0)
        assert wait_until(lambda: not executor._threads)

        assert list(executor.map(functions.nap, range(20))) == list(range(20))


def stack_size():
    """Bytes of stack of this thread, as the C library says."""
    library = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(256)
    library.pthread_self.restype = ctypes.c_void_p
    assert library.pthread_getattr_np(ctypes.c_void_p(library.pthread_self()), attributes) == 0
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.pthread_attr_getstack(attributes, ctypes.byref(address), ctypes.byref(size)) == 0
    library.pthread_attr_destroy(attributes)
    return size.value


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the C library of Linux")
def test_threads_have_a_stack_of_the_size_asked_for():
    before = threading.stack_size()
    with pointsman.Executor(1, backend="threads", thread_stack_size=24 << 20) as executor:
        # More, if the C library has a larger one left of a thread that has ended; the usual one is smaller.
        assert executor.submit(stack_size).result() > 23 << 20

    assert threading.stack_size() == before


@pytest.mark.parametrize("size", [1, 1000])
def test_a_stack_that_the_system_refuses_is_refused_at_once(size):
    with pytest.raises(ValueError, match="thread_stack_size"):
        pointsman.Executor(thread_stack_size=size)


def test_an_executor_whose_workers_were_chosen_sends_no_call_elsewhere():
    local = threading.local()

    def prepare():
        local.ready = True

    def look():
        return getattr(local, "ready", False), os.getpid()

    with pointsman.Executor(1, initializer=prepare) as executor:
        assert executor.options(timeout=60).submit(look).result(functions.PATIENCE) == (True, os.getpid())
        with pytest.raises(ValueError, match="kill_on_cancel"):
            executor.options(kill_on_cancel=True)


def test_a_call_that_cannot_travel_runs_here_though_it_has_a_time_limit():
    lock = threading.Lock()

    def use(held):
        return held is lock

    with pointsman.Executor() as executor:
        assert executor.options(timeout=60).submit(use, lock).result(functions.PATIENCE)


def test_a_dropped_executor_ends_its_idle_threads():
    def leave(**options):
        executor = pointsman.Executor(2, "dropped", **options)
        futures = [executor.submit(functions.square, x) for x in range(10)]
        return [future.result() for future in futures]

    assert leave() == leave(initializer=int) == [x * x for x in range(10)]

    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("dropped"):
            # Idle threads of an executor that is held stay for ten seconds.
            thread.join(5.0)

            assert not thread.is_alive()


def test_an_executor_that_is_dropped_while_calls_wait_runs_them():
    futures = [pointsman.Executor(1).submit(functions.nap, x) for x in range(5)]
    gc.collect()

    assert [future.result(functions.PATIENCE) for future in futures] == list(range(5))


def test_an_initializer_that_fails_when_its_executor_was_dropped_fails_the_calls():
    gate = threading.Event()

    def fail():
        gate.wait(functions.PATIENCE)
        raise ValueError

    future = pointsman.Executor(1, initializer=fail).submit(functions.square, 3)
    gc.collect()
    gate.set()

    with pytest.raises(concurrent.futures.BrokenExecutor, match="fail"):
        future.result(functions.PATIENCE)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_handler_of_a_signal_raises_while_a_thread_starts_is_raised_by_submit(when, monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        if when == "after":
            start(thread)
        raise KeyboardInterrupt

    with pointsman.Executor(2, backend="threads") as executor:
        blocked = threading.Event()
        # One thread is there, so that the call would be run if nobody said a word.
        busy = executor.submit(blocked.wait, functions.PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                executor.submit(functions.square, 2)
        blocked.set()

        assert busy.result()
        assert [executor.submit(functions.square, n).result() for n in range(20)] == [n * n for n in range(20)]
    assert wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("pointsman_")])
