"""Deaths while nobody looks: between calls, idle, at the end of the pool, while the program writes, in a memory cgroup.

What it does not know: how a death is noticed, or which worker runs what.

Invariants:
    O1. A worker is ended from within, in each of the ways that there are: nobody outside has a hand in it.
"""

import contextlib
import os
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

import deaths
import functions
import pointsman
from fixtures import run_program, wait_until
from pointsman import _default, _machine, _pool

pytestmark = pytest.mark.timeout(60)

EACH_WAY = pytest.mark.parametrize("how", deaths.WAYS)


def workers(executor):
    return set(executor._pool.native.pids())


@EACH_WAY
def test_an_idle_worker_that_ends_is_replaced_and_fails_nothing(how):
    with pointsman.Executor(1, backend="processes") as one:
        old = one.submit(deaths.end_later, how, 0.05).result(functions.PATIENCE)

        # Nobody asks for anything meanwhile.
        assert wait_until(lambda: len(workers(one) - {old}) == 1, functions.PATIENCE)
        assert one.submit(functions.square, 4).result(functions.PATIENCE) == 16
        assert one.get_stats().failed_tasks == 0


@EACH_WAY
def test_an_end_between_calls_costs_at_most_the_call_that_it_meets(how):
    errors = []
    with pointsman.Executor(1, backend="processes") as one:
        for blow in range(5):
            one.submit(deaths.end_later, how, 0.002 * blow).exception(functions.PATIENCE)
            futures = [one.submit(functions.square, n) for n in range(100)]
            told = [future.exception(functions.PATIENCE) for future in futures]
            assert all(future.result() == n * n for n, future in enumerate(futures) if told[n] is None)
            errors += [error for error in told if error is not None]
            # The blow may still be to come.
            time.sleep(0.02)

    assert all(type(error) is pointsman.WorkerDied and how in str(error) for error in errors)
    assert len(errors) <= 5


@EACH_WAY
def test_calls_that_end_their_worker_during_the_shutdown_cost_only_themselves(how):
    executor = pointsman.Executor(2, backend="processes")
    futures = [executor.submit(deaths.end, how) if n % 8 == 3 else executor.submit(functions.nap, n) for n in range(40)]
    executor.shutdown()

    assert all(future.done() for future in futures)
    assert all(how in str(future.exception()) for future in futures[3::8])
    assert [future.result() for n, future in enumerate(futures) if n % 8 != 3] == [n for n in range(40) if n % 8 != 3]


@EACH_WAY
def test_an_end_while_the_program_fills_the_shared_memory_costs_at_most_one_call(how):
    with pointsman.Executor(2, backend="processes", shared_memory=16 << 20) as made:
        futures, blows = [], []
        for n in range(400):
            if n % 80 == 40:
                blows.append(made.submit(deaths.end_later, how, 0.005))
            futures.append(made.submit(len, bytes(100_000 + n)))
        errors = [future.exception(functions.PATIENCE) for future in (*futures, *blows)]
        died = [error for error in errors if error is not None]

        assert all(future.result() == 100_000 + n for n, future in enumerate(futures) if errors[n] is None)
        # The last blow may still be to come, and meet this one.
        while (error := made.submit(functions.square, 3).exception(functions.PATIENCE)) is not None:
            died.append(error)

            assert len(died) <= len(blows)
        assert all(type(error) is pointsman.WorkerDied and how in str(error) for error in died)
        assert len(died) <= len(blows)


# ---------------------------------------------------------------------------------------------------------- cgroup

GROUPS = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    Path("/sys/fs/cgroup"): ("memory.max", "memory.swap.max"),
}


@pytest.fixture
def group():
    """Make a cgroup whose processes may have 100 MB; skips where this user may not."""
    for parent, (limit, swap) in GROUPS.items():
        made = parent / f"pointsman-{uuid.uuid4().hex}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            (made / limit).write_text(str(100 << 20))
        except OSError:
            made.rmdir()
            continue
        with contextlib.suppress(OSError):
            (made / swap).write_text(str(100 << 20) if "memsw" in swap else "0")
        yield made
        assert wait_until(partial(is_empty, made))
        made.rmdir()
        return
    pytest.skip("this user may make no memory cgroup here")


def is_empty(group):
    return not (group / "cgroup.procs").read_text()


def enter(group):
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))


def take(megabytes):
    held = [bytearray(b"x" * (1 << 20)) for _ in range(megabytes)]
    return len(held)


def test_a_call_that_the_system_kills_for_its_memory_fails_alone(group):
    with pointsman.Executor(2, backend="processes", initializer=enter, initargs=(str(group),)) as made:
        before = [made.submit(functions.nap, n) for n in range(6)]
        victim = made.submit(take, 4000)
        after = [made.submit(functions.nap, n) for n in range(6)]
        error = victim.exception(functions.PATIENCE)
        others = [future.exception(functions.PATIENCE) for future in (*before, *after)]

        assert type(error) is pointsman.WorkerDied
        assert "SIGKILL while it ran take; the system may have run out of memory" in str(error)
        # The system chooses whom it kills: the neighbour may be small, and is the largest as a rule.
        assert sum(other is not None for other in others) <= 1
        assert made.submit(take, 5).result(functions.PATIENCE) == 5


def test_a_pool_that_the_system_does_not_allow_is_one_clear_error(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import resource
        import pointsman

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            pointsman.execute(abs, range(10), backend="processes", max_workers=100)
        except pointsman.PoolBrokenError as why:
            print("100 worker processes cannot be started" in str(why), "ulimit" in str(why))
        print(pointsman.execute(abs, range(-3, 0), backend="processes", max_workers=1))
        """,
    )

    assert printed.splitlines() == ["True True", "[3, 2, 1]"]


def test_where_no_pool_can_be_had_an_automatic_choice_goes_on_without(monkeypatch):
    def refuse(*_args, **_options):
        raise pointsman.PoolBrokenError("no more of them")

    # On a busy machine no process would be considered.
    monkeypatch.setattr(_machine, "constants", dict)
    monkeypatch.setattr(_pool, "make", refuse)
    monkeypatch.setattr(_default, "_processes", {})

    results, plan = pointsman.execute(functions.spin, range(150), return_optimization_result=True)

    assert results == list(range(150))
    assert plan.backend != "processes"
