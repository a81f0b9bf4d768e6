"""An executor does what a simple reference does, whatever is asked of it and in which order.

What it does not know: how the executor works.

Invariants:
    R1. The reference: a call is queued, held at a gate (it has begun), or settled with its own value, its own exception, a
        cancellation, or the death of its worker. Queued calls begin in their order as workers come free.
"""

import concurrent.futures
import contextlib
import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import functions
import pointsman
from fixtures import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

LONG = functions.PATIENCE


def held(folder, n):
    """Say that the call has begun, and wait until it may end."""
    Path(folder, f"begun-{n}").touch()
    gate = Path(folder, f"open-{n}")
    if not wait_until(gate.exists, LONG):
        raise TimeoutError(n)
    return n


def pid_of(folder, n):
    Path(folder, f"pid-{n}").write_text(str(os.getpid()))
    return held(folder, n)


class Model(RuleBasedStateMachine):
    """`outcome` maps each call to what it must give; calls that are held are in `held`, in no particular order."""

    place = "threads"

    @initialize(workers=st.integers(1, 3))
    def start(self, workers):
        self.workers, self.threads = workers, threading.active_count()
        self.folder = TemporaryDirectory()
        self.executor = pointsman.Executor(workers, backend=self.place)
        self.futures, self.outcome, self.running, self.queued = {}, {}, [], []
        self.closed = False
        self.told = {}

    def _submit(self, function, *args, outcome):
        n = len(self.futures)
        if self.closed:
            with pytest.raises(RuntimeError):
                self.executor.submit(function, *args)
            return None
        future = self.futures[n] = self.executor.submit(function, *args)
        self.outcome[n] = outcome
        future.add_done_callback(lambda future: self.told.setdefault(n, []).append(future))
        return n

    def _begin(self):
        """Let the reference begin what the executor must begin."""
        while self.queued and len(self.running) < self.workers:
            n = self.queued.pop(0)
            if self.outcome[n] == "held":
                self.running.append(n)

    @rule(value=st.integers())
    def submit_quick(self, value):
        n = self._submit(functions.same, value, outcome=("value", value))
        if n is not None:
            self.queued.append(n)
            self._begin()

    @rule()
    def submit_failing(self):
        n = self._submit(functions.fail, 1, outcome=("raises", functions.Boom))
        if n is not None:
            self.queued.append(n)
            self._begin()

    @rule()
    def submit_held(self):
        n = len(self.futures)
        function = pid_of if self.place == "processes" else held
        n = self._submit(function, self.folder.name, n, outcome="held")
        if n is not None:
            self.queued.append(n)
            self._begin()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data):
        n = data.draw(st.sampled_from(self.running))
        Path(self.folder.name, f"open-{n}").touch()
        assert self.futures[n].result(LONG) == n
        self.outcome[n] = ("value", n)
        self.running.remove(n)
        self._begin()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_running_call_is_not_cancelled(self, data):
        n = data.draw(st.sampled_from(self.running))
        assert wait_until(Path(self.folder.name, f"begun-{n}").exists, LONG)
        assert wait_until(self.futures[n].running)

        assert not self.futures[n].cancel()

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def cancel_a_queued_call(self, data):
        n = data.draw(st.sampled_from(self.queued))
        for busy in self.running:
            assert wait_until(Path(self.folder.name, f"begun-{busy}").exists, LONG)

        assert self.futures[n].cancel()
        assert self.futures[n].cancel()
        self.outcome[n] = "cancelled"
        self.queued.remove(n)

    @precondition(lambda self: self.place == "processes" and self.running)
    @rule(data=st.data())
    def kill_a_worker(self, data):
        n = data.draw(st.sampled_from(self.running))
        assert wait_until(Path(self.folder.name, f"begun-{n}").exists, LONG)
        pid = int(Path(self.folder.name, f"pid-{n}").read_text())
        os.kill(pid, signal.SIGKILL)
        assert isinstance(self.futures[n].exception(LONG), pointsman.WorkerDied)
        self.outcome[n] = ("raises", pointsman.WorkerDied)
        self.running.remove(n)
        self._begin()

    @rule(values=st.lists(st.integers(), max_size=5))
    def map_of_what_can_run(self, values):
        if self.closed or len(self.running) + sum(self.outcome[n] == "held" for n in self.queued) >= self.workers:
            return
        assert list(self.executor.map(functions.same, values, timeout=LONG)) == values

    @rule(cancel=st.booleans())
    def shut_down(self, cancel):
        for busy in self.running:
            assert wait_until(Path(self.folder.name, f"begun-{busy}").exists, LONG)
        self.executor.shutdown(wait=False, cancel_futures=cancel)
        self.closed = True
        if cancel:
            for n in self.queued:
                # One whose turn had come may have begun meanwhile, but not while all workers are held.
                assert self.futures[n].done() or len(self.running) < self.workers
                if self.futures[n].cancelled():
                    self.outcome[n] = "cancelled"
            self.queued = [n for n in self.queued if self.outcome[n] != "cancelled"]

    @invariant()
    def what_is_settled_stays_so(self):
        for n in range(len(getattr(self, "futures", ()))):
            if self.outcome[n] != "held" and n not in self.queued:
                self._check(n)

    def _check(self, n):
        future, outcome = self.futures[n], self.outcome[n]
        if outcome == "cancelled":
            assert future.cancelled()
        elif outcome[0] == "value":
            assert future.result(LONG) == outcome[1]
        else:
            assert isinstance(future.exception(LONG), outcome[1])

    def teardown(self):
        if not hasattr(self, "executor"):
            return
        for n in self.futures:
            Path(self.folder.name, f"open-{n}").touch()
        self.executor.shutdown()
        for n, future in self.futures.items():
            assert future.done()
            if self.outcome[n] == "held":
                with contextlib.suppress(concurrent.futures.CancelledError):
                    assert future.result(0) == n
            else:
                self._check(n)
            assert self.told[n] == [future]
        self.folder.cleanup()
        assert threading.active_count() < self.threads + 100


class ProcessModel(Model):
    place = "processes"


calm = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestThreads = Model.TestCase
TestThreads.settings = settings(max_examples=60, stateful_step_count=30, **calm)
TestProcesses = ProcessModel.TestCase
TestProcesses.settings = settings(max_examples=15, stateful_step_count=20, **calm)
