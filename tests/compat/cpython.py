"""Runs CPython's own tests of executors on `pointsman.Executor`.

    python tests/compat/cpython.py [--short] [WORD ...]

The tests are those of the interpreter that runs this (`test.test_concurrent_futures`, which pyenv's 3.13 and source builds
have); nothing of them is copied. WORDs choose tests by their names. `--short` leaves out what sleeps for seconds.

What it does not know: how the executor works.

Invariants:
    C1. A test either passes, or is in `DIFFERENCES` with the reason; one that is listed and passes is an error, too.
    C2. There are fewer than six differences.
"""

from __future__ import annotations

import contextlib
import sys
import unittest
from typing import Any

try:
    from test.test_concurrent_futures import (
        executor,
        test_as_completed,
        test_deadlock,
        test_init,
        test_process_pool,
        test_shutdown,
        test_thread_pool,
        test_wait,
        util,
    )
except ImportError as error:
    print(f"SKIPPED: this interpreter has no tests of its own ({error})")
    sys.exit(0)

import pointsman

# Name of the test: why it is meant to fail. A name stands for all its copies on processes.
DIFFERENCES = {
    "FailingInitializer.test_initializer": (
        "hands a multiprocessing.Queue to the workers, which only multiprocessing can give to its own children; "
        "the same test without the queue is run instead (FailingInitializerWithoutQueue)"
    ),
    "ExecutorShutdown.test_hang_gh83386": (
        "the script of the test lacks `import multiprocessing`; upstream never runs it on processes"
    ),
}
# Listed, but whether they pass is a matter of speed.
MAY_PASS = {
    "ExecutorShutdown.test_cancel_futures": (
        "wants a call of a pool that is still starting to be beyond cancelling; ours can be cancelled until it is begun"
    ),
}
# What these take is seconds of sleep.
SLOW = ("test_map_timeout", "test_first_exception", "gh105829")


class Threads(util.ExecutorMixin):
    executor_type = pointsman.Executor


class Spawn(util.ProcessPoolSpawnMixin):
    executor_type = pointsman.Executor


class Forkserver(util.ProcessPoolForkserverMixin):
    executor_type = pointsman.Executor


class _WithoutQueue(test_init.FailingInitializerMixin):
    """A worker's initializer that raises; its traceback is on standard error instead of in a queue."""

    def setUp(self) -> None:
        self.executor_kwargs = {"initializer": test_init.init_fail}
        super(test_init.FailingInitializerMixin, self).setUp()

    @contextlib.contextmanager
    def _assert_logged(self, msg: str) -> Any:
        yield


class KilledChild:
    """The death of one worker breaks the pool, for those who ask for it."""

    executor_kwargs = {"on_worker_death": "break"}
    test_killed_child = test_process_pool.ProcessPoolExecutorTest.test_killed_child


def _cases() -> dict[str, type[unittest.TestCase]]:
    cases: dict[str, type[unittest.TestCase]] = {}

    def add(name: str, mixin: type, *places: type) -> None:
        for place in places:
            label = f"{name}_{place.__name__}"
            body = {"__module__": __name__, "__qualname__": label}
            cases[label] = type(label, (mixin, place, util.BaseTestCase), body)

    everywhere = (Threads, Spawn, Forkserver)
    add("Executor", executor.ExecutorTest, *everywhere)
    add("Wait", test_wait.WaitTests, *everywhere)
    add("AsCompleted", test_as_completed.AsCompletedTests, *everywhere)
    add("ExecutorShutdown", test_shutdown.ExecutorShutdownTest, *everywhere)
    add("Initializer", test_init.InitializerMixin, *everywhere)
    add("FailingInitializer", test_init.FailingInitializerMixin, Threads, Spawn)
    add("FailingInitializerWithoutQueue", _WithoutQueue, Spawn, Forkserver)
    add("ExecutorDeadlock", test_deadlock.ExecutorDeadlockTest, Spawn, Forkserver)
    add("KilledChild", KilledChild, Spawn)
    threads = {name: value for name, value in vars(test_thread_pool.ThreadPoolExecutorTest).items() if "test_" in name}
    add("ThreadPool", type("ThreadPool", (), threads), Threads)
    add("PendingCalls", type("PendingCalls", (), {
        "test_pending_calls_race": test_wait.ThreadPoolWaitTests.test_pending_calls_race,
    }), Threads)  # fmt: skip
    return cases


def _run_with_ours(*args: str, **options: Any) -> Any:
    """`assert_python_ok` for scripts that import the executor by its class's name from the standard library."""
    *flags, script = args
    return _standard_run(
        *flags, script.replace("from concurrent.futures import Executor", "from pointsman import Executor"), **options
    )


_standard_run = test_shutdown.assert_python_ok
test_shutdown.assert_python_ok = _run_with_ours


def _difference(test: unittest.TestCase) -> str | None:
    label, _, place = type(test).__name__.rpartition("_")
    name = f"{label}.{test._testMethodName}"
    return name if place != "Threads" and name in DIFFERENCES | MAY_PASS else None


def main() -> int:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    short = "--short" in sys.argv
    suite = unittest.TestSuite()
    for case in _cases().values():
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            name = str(test.id())
            if words and not any(word in name for word in words):
                continue
            if short and any(word in name for word in SLOW):
                continue
            suite.addTest(test)
    util.setup_module()
    result = unittest.TextTestRunner(verbosity=2 if words else 1).run(suite)
    unittest.doModuleCleanups()
    wrong = [test for test, _ in (*result.failures, *result.errors)]
    known = {_difference(test) for test in wrong} - {None}
    unexpected = [test.id() for test in wrong if _difference(test) is None]
    print(f"{result.testsRun} tests, {len(result.skipped)} skipped, {len(wrong)} fail")
    for name in sorted(filter(None, known)):
        print(f"meant to differ: {name}: {(DIFFERENCES | MAY_PASS)[name]}")
    for test in unexpected:
        print(f"UNEXPECTED: {test}")
    mended = [] if words else sorted(set(DIFFERENCES) - known)
    for name in mended:
        print(f"PASSES though listed as a difference: {name}")
    return int(bool(unexpected or mended))


if __name__ == "__main__":
    sys.exit(main())
