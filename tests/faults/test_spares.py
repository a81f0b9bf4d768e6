"""A pool that ends leaves workers behind for the next one: who has not been needed, and who is no more, harms nobody.

What it does not know: how a spare waits for its work.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from fixtures import SOON, alive, family, program, run_program, wait_until

# A program's pools, one after the other, and the workers that wait between them.
PRELUDE = """
import functions, os, pointsman, psutil, signal, time

def pool():
    return pointsman.Executor(2, backend="processes")

def spares(count=2):
    for _ in range(1000):
        found = [other.pid for zygote in psutil.Process().children() for other in zygote.children()]
        if len(found) == count:
            return set(found)
        time.sleep(0.01)
    raise AssertionError(f"{found} and not {count}")

def slow_pid():
    time.sleep(0.05)
    return os.getpid()

def workers(executor):
    found = set()
    while len(found) < 2:
        found |= {call.result() for call in [executor.submit(slow_pid) for _ in range(4)]}
    return found

def begin(value):
    global begun
    begun = value

def begun_with():
    return begun

with pool() as first:
    before = workers(first)
"""


def test_the_next_pool_is_given_workers_that_wait(tmp_path):
    source = """
waiting = spares()
with pool() as second:
    print(workers(second) == waiting, waiting & before)
"""
    assert run_program(tmp_path, PRELUDE + source) == "True set()"


@pytest.mark.parametrize(
    ("change", "see"),
    [
        ("os.environ['POINTSMAN_TESTS'] = 'new'", "os.getenv, 'POINTSMAN_TESTS'"),
        ("os.chdir('/')", "os.getcwd"),
        ("os.umask(0o77)", "os.umask, 0o77"),
    ],
)
def test_what_the_program_has_changed_since_is_changed_for_the_next_pool(change, see, tmp_path):
    source = f"""
spares()
{change}
with pool() as second:
    print(second.submit({see}).result())
print(pointsman.Executor(1, backend="threads").submit({see}).result())
"""
    seen, expected = run_program(tmp_path, PRELUDE + source).split("\n")
    assert seen == expected


def test_an_initializer_that_differs_runs_in_the_next_pool(tmp_path):
    source = """
spares()
with pointsman.Executor(2, backend="processes", initializer=begin, initargs=(3,)) as second:
    print(second.submit(begun_with).result())
"""
    assert run_program(tmp_path, PRELUDE + source) == "3"


def test_the_next_pool_works_when_the_spares_have_been_killed(tmp_path):
    source = """
waiting = spares()
for pid in waiting:
    os.kill(pid, signal.SIGKILL)
with pool() as second:
    print(len(workers(second)), workers(second) & waiting)
"""
    assert run_program(tmp_path, PRELUDE + source) == "2 set()"


def test_the_next_pool_works_when_a_spare_is_stopped_and_killed_at_its_start(tmp_path):
    source = """
waiting = spares()
for pid in waiting:
    os.kill(pid, signal.SIGSTOP)
with pool() as second:
    call = second.submit(functions.square, 3)
    time.sleep(0.1)
    for pid in waiting:
        os.kill(pid, signal.SIGKILL)
    print(call.result(), workers(second) & waiting)
"""
    assert run_program(tmp_path, PRELUDE + source) == "9 set()"


def test_a_spare_that_is_stopped_does_not_outlive_its_program(tmp_path):
    source = """
for pid in spares():
    os.kill(pid, signal.SIGSTOP)
print("ready", flush=True)
time.sleep(300)
"""
    with program(tmp_path, PRELUDE + source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)
        # Unlike a kill it lets the program end as programs do.
        os.kill(running.pid, signal.SIGINT)

        assert wait_until(lambda: not any(alive(process) for process in processes), SOON)


@pytest.mark.parametrize("who", ["program", "zygote"])
def test_spares_go_with_whoever_they_wait_for(who, tmp_path):
    with program(tmp_path, PRELUDE + "spares()\nprint('ready', flush=True)\ntime.sleep(300)") as running:
        assert running.line() == "ready"
        waiting = [process for process in family(running.pid) if process.pid != running.pid]
        (zygote,) = psutil.Process(running.pid).children()
        assert len(waiting) == 3

        os.kill(running.pid if who == "program" else zygote.pid, signal.SIGKILL)

        assert wait_until(lambda: not any(alive(process) for process in waiting), SOON)


def test_a_ctrl_c_of_the_whole_group_leaves_the_spares_to_the_next_pool(tmp_path):
    source = """
waiting = spares()
try:
    os.killpg(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    pass
with pool() as second:
    print(workers(second) == waiting)
"""
    assert run_program(tmp_path, PRELUDE + source) == "True"


def test_a_program_that_opens_pools_in_turn_has_no_more_processes_each_time(tmp_path):
    source = """
for _ in range(20):
    with pool() as executor:
        workers(executor)
print(len(spares()))
"""
    assert run_program(tmp_path, PRELUDE + source) == "2"


@pytest.mark.parametrize(("size", "count"), [(10, 2), (8 << 20, 0)])
def test_workers_do_not_wait_for_another_pool_with_as_much_to_begin_with(size, count, tmp_path):
    source = """
with pointsman.Executor(2, backend="processes", initializer=begin, initargs=(bytes(SIZE),)) as second:
    print(len(second.submit(begun_with).result()))
print(len(spares(COUNT)))
"""
    prelude = PRELUDE.partition("with pool() as first:")[0]
    source = source.replace("SIZE", str(size)).replace("COUNT", str(count))
    assert run_program(tmp_path, prelude + source).split() == [str(size), str(count)]
