"""Points loky's own tests of process executors at `pointsman.Executor`.

Copied by `nox -s compat` into the folder of tests of loky's source distribution, as a test module of it; nothing of loky's
is kept in this repository.

What it does not know: how the executor works.

Invariants:
    K1. A test that is left out is in `LEFT_OUT` with the reason: it is about what only loky has, or reads its inner parts.
"""

import time
from types import SimpleNamespace

import pytest
from loky.backend import get_context

import pointsman

from . import _executor_mixin
from ._test_process_executor import AsCompletedTests, ExecutorShutdownTest, ExecutorTest, WaitTests

OWN = "makes a loky executor itself, or a script that does"
INNER = "reads loky's inner parts (queues, flags, manager thread)"
ONLY_LOKY = "is about an option that only loky has"
EVENT = "hands an event of multiprocessing to the workers"
LEFT_OUT = {
    "test_interpreter_shutdown": OWN,
    "test_hang_gh94440": OWN,
    "test_hang_issue39205": OWN,
    "test_context_manager_shutdown": OWN,
    "test_del_shutdown": INNER,
    "test_shutdown_no_wait": INNER,
    "test_processes_terminate_on_executor_gc": INNER,
    "test_processes_crash_handling_after_executor_gc": INNER,
    "test_shutdown_deadlock_pickle": INNER,
    "test_shutdown_and_kill_workers": EVENT,
    "test_first_exception": EVENT,
    "test_timeout": EVENT,
    "test_killed_child": "wants loky's class and words; CPython's test of the same name is run instead",
    "test_exited_child": "wants loky's words",
    "test_serialization": ONLY_LOKY,
    "test_no_failure_on_large_data_send": "sends more than 2 GB",
    "test_worker_timeout": ONLY_LOKY,
    "test_max_depth": ONLY_LOKY,
    "test_memory_leak_protection": ONLY_LOKY,
    "test_reference_cycle_collection": OWN,
    "test_child_env_executor": ONLY_LOKY,
    "test_viztracer_profiler": ONLY_LOKY,
    "test_viztracer_profiler_with_custom_init": ONLY_LOKY,
    "test_no_deprecation_warning_is_raised_on_fork": OWN,
    "test_manager_thread_crash_breaks_executor": INNER,
    "test_feeder_error_hook_crash_breaks_executor": INNER,
    "test_exception_cause_with_tblib": ONLY_LOKY,
    "test_killed_child_with_cancelled_work_items": INNER,
    "test_traceback": "wants the cause to be of a private class of loky's; ours is like it",
}


class LokyLike(pointsman.Executor):
    """`pointsman.Executor` with the names of loky's parameters."""

    def __init__(self, max_workers=None, context=None, initializer=None, initargs=(), **options):
        options.pop("timeout", None)
        super().__init__(
            max_workers,
            initializer=initializer,
            initargs=initargs,
            backend="processes",
            on_worker_death="break",
            **options,
        )

    @property
    def _flags(self):
        return SimpleNamespace(broken=self._broken)

    def shutdown(self, wait=True, *, cancel_futures=False, kill_workers=False):
        if kill_workers and self._pool is not None:
            self._pool.shutdown(wait=wait, kill=True)
        super().shutdown(wait, cancel_futures=cancel_futures)


# Workers are children of another process than this one, and loky looks only at its own.
_executor_mixin._check_subprocesses_number = lambda *args, **kwargs: None


class Mixin(_executor_mixin.ExecutorMixin):
    executor_type = LokyLike
    context = get_context("spawn")

    @pytest.fixture(autouse=True)
    def setup_method(self, request):
        why = LEFT_OUT.get(request.function.__name__)
        if why is not None:
            pytest.skip(why)
        # Without an event of multiprocessing, which only its own children can be given.
        self.executor = LokyLike(max_workers=self.worker_count)
        _executor_mixin._check_executor_started(self.executor)
        until = time.monotonic() + 10
        while len(self.executor._processes) < self.worker_count and time.monotonic() < until:
            time.sleep(0.01)

    @classmethod
    def check_no_running_workers(cls, patience=5, sleep_duration=0.01):
        time.sleep(sleep_duration)


class TestShutdown(Mixin, ExecutorShutdownTest):
    def _prime_executor(self):
        pass


class TestWait(Mixin, WaitTests):
    pass


class TestAsCompleted(Mixin, AsCompletedTests):
    pass


class TestExecutor(Mixin, ExecutorTest):
    pass
