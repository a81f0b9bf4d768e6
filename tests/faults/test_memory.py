"""Memory of workers and of what is shared with them: little when idle, given back after use.

What it does not know: what the memory is used for.
"""

import copy
import os
import subprocess
import sys
import time

import psutil
import pytest

import functions
import pointsman
from fixtures import wait_until

pytestmark = pytest.mark.timeout(60)


def private(pid):
    """Bytes that belong to a process alone: what would be free if it ended."""
    return psutil.Process(pid).memory_full_info().uss


def bare_interpreter():
    """Private bytes of an interpreter that does nothing."""
    idle = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        idle.stdout.readline()
        return private(idle.pid)
    finally:
        idle.communicate(b"\n")


# A built-in, and functions that travel by value or by name. What a call imports is its own, so the module is a small one.
@pytest.mark.parametrize("call", [abs, lambda x: x, copy.copy], ids=["built-in", "lambda", "by name"])
def test_an_idle_worker_has_little_more_private_memory_than_a_bare_interpreter(call):
    bare = bare_interpreter()
    with pointsman.Executor(2, backend="processes") as made:
        assert [made.submit(call, n).result(functions.PATIENCE) for n in range(200)][-1] == 199
        assert wait_until(lambda: len(made._pool.native.pids()) == 2)
        workers = [private(pid) for pid in made._pool.native.pids()]

    assert len(workers) == 2
    assert max(workers) <= 1.3 * bare


def shared(made):
    """Bytes of shared memory in use by all pools of this process."""
    held = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:pointsman" in os.readlink(f"/proc/self/fd/{name}"):
                held += os.stat(f"/proc/self/fd/{name}").st_blocks * 512
        except OSError:
            continue
    return held


def test_shared_memory_grows_with_need_and_is_given_back_when_idle():
    with pointsman.Executor(1, backend="processes") as made:
        made.submit(functions.square, 1).result(functions.PATIENCE)
        before = shared(made)
        data = bytes(50 << 20)
        futures = [made.submit(functions.same, data) for _ in range(2)]
        assert all(len(future.result(functions.PATIENCE)) == len(data) for future in futures)
        grown = shared(made)
        del futures

        assert grown > before + (50 << 20)
        # Three idle seconds; another call wakes the worker, which tidies up when it has been idle as long.
        assert wait_until(lambda: shared(made) < before + (10 << 20), 20)


def test_a_pool_that_was_shut_down_holds_no_arguments_any_more():
    before = shared(None)
    made = pointsman.Executor(1, backend="processes")
    assert made.submit(len, bytes(80 << 20)).result(functions.PATIENCE) == 80 << 20
    made.shutdown()

    assert wait_until(lambda: shared(made) < before + (10 << 20))


def test_a_ring_that_is_full_makes_workers_wait_and_loses_nothing():
    with pointsman.Executor(2, backend="processes", shared_memory=8 << 20) as made:
        futures = [made.submit(bytes, 20_000) for _ in range(3000)]
        time.sleep(0.3)

        assert sum(len(future.result(functions.PATIENCE)) for future in futures) == 3000 * 20_000


def allocate(megabytes):
    blocks = [bytes(200_000) for _ in range(5 * megabytes)]
    return os.getpid(), len(blocks)


def test_memory_that_a_worker_keeps_for_the_next_call_is_not_held_against_it():
    with pointsman.Executor(1, backend="processes", memory_limit=60 << 20) as executor:
        workers = {executor.submit(allocate, 40).result()[0] for _ in range(6)}

    assert len(workers) == 1


FAULTS = """
import resource

def allocate(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes(megabytes << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the C library is another")
def test_what_a_call_has_freed_the_next_one_finds(tmp_path, monkeypatch):
    (tmp_path / "allocating.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import allocating

    with pointsman.Executor(1, backend="processes") as executor:
        given = [executor.submit(allocating.allocate, 4).result() for _ in range(6)]

    # 4 MB are a thousand pages.
    assert min(given[1:]) < 100
