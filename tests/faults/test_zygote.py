"""The process that forks the workers may be killed, and it is one for all pools of a program."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

import functions
import pointsman
from fixtures import alive, run_program, wait_until


def zygote_of(worker: int) -> psutil.Process:
    parent = psutil.Process(worker).parent()
    assert parent is not None
    return parent


def test_pools_of_a_program_share_one_zygote():
    with pointsman.Executor(1, backend="processes") as one, pointsman.Executor(1, backend="processes") as other:
        zygotes = {zygote_of(executor.submit(os.getpid).result()).pid for executor in (one, other)}

    assert len(zygotes) == 1


def test_a_pool_goes_on_after_its_zygote_and_a_worker_were_killed():
    with pointsman.Executor(1, backend="processes") as executor:
        worker = executor.submit(os.getpid).result()
        zygote = zygote_of(worker)
        zygote.kill()
        wait_until(lambda: not alive(zygote))
        os.kill(worker, signal.SIGKILL)

        again = executor.submit(os.getpid).result()

        assert again != worker
        assert zygote_of(again).pid != zygote.pid


def test_a_pool_that_starts_after_the_zygote_was_killed_gets_another():
    with pointsman.Executor(1, backend="processes") as executor:
        zygote = zygote_of(executor.submit(os.getpid).result())
        zygote.kill()
        wait_until(lambda: not alive(zygote))
        with pointsman.Executor(1, backend="processes") as other:
            assert other.submit(functions.square, 3).result() == 9
        assert executor.submit(functions.square, 4).result() == 16


def test_workers_that_have_ended_leave_no_zombies_under_the_zygote():
    with pointsman.Executor(1, backend="processes") as kept:
        zygote = zygote_of(kept.submit(os.getpid).result())
        for _ in range(5):
            with pointsman.Executor(2, backend="processes") as executor:
                executor.submit(functions.square, 3).result()

        def zombies() -> list[psutil.Process]:
            return [child for child in zygote.children() if child.status() == psutil.STATUS_ZOMBIE]

        wait_until(lambda: not zombies())
        assert not zombies()


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1])
def test_a_ctrl_c_at_any_moment_of_the_start_leaves_a_pool_that_can_be_used(tmp_path, moment):
    source = f"""
import functions, os, pointsman, signal, threading

try:
    threading.Timer({moment}, os.killpg, (os.getpid(), signal.SIGINT)).start()
    pointsman.execute(functions.sleep_long, range(100), backend="processes")
except KeyboardInterrupt:
    pass
print(sum(pointsman.execute(functions.square, range(100), backend="processes")), flush=True)
"""
    assert run_program(tmp_path, source) == str(sum(x * x for x in range(100)))


def test_a_ctrl_c_that_only_the_program_gets_ends_the_calls_of_the_workers_too(tmp_path):
    source = """
import functions, os, pointsman, signal, threading

threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    pointsman.execute(functions.sleep_long, range(100), backend="processes")
except KeyboardInterrupt:
    pass
print(sum(pointsman.execute(functions.square, range(100), backend="processes")), flush=True)
"""
    assert run_program(tmp_path, source) == str(sum(x * x for x in range(100)))


def test_the_second_pool_of_a_program_finds_imported_what_the_first_needed(tmp_path):
    (tmp_path / "needy.py").write_text(
        """
import sys, wave


def loaded():
    return "wave" in sys.modules, "needy" in sys.modules
"""
    )
    source = """
import pointsman, psutil, sys

def loaded():
    return "wave" in sys.modules, "needy" in sys.modules

import needy

for _ in range(2):
    with pointsman.Executor(psutil.cpu_count(), backend="processes") as executor:
        print(executor.submit(loaded).result(), end=" ")
        executor.submit(needy.loaded).result()
"""
    assert run_program(tmp_path, source) == "(False, False) (True, False)"


def test_one_that_is_still_importing_ends_with_a_program_that_did_not_need_it(tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time\n\ntime.sleep(60)\n")
    source = """
import sys, types
# Here it is loaded already.
sys.modules["slow_to_import"] = types.ModuleType("slow_to_import")
sys.modules["slow_to_import"].__file__ = "slow_to_import.py"
from pointsman import _functions, _pool
_functions.needed.append("slow_to_import")
import functions, psutil
_pool.prepare(functions.square)
print(*(child.pid for child in psutil.Process().children()), flush=True)
"""
    (zygote,) = run_program(tmp_path, source).split()

    assert not psutil.pid_exists(int(zygote))
