"""However the program ends, nothing of ours outlives it: no process, no file, no hang.

What it does not know: how workers learn that their parent has gone.

Invariants:
    P1. Processes are counted before the end, since afterwards nobody knows whose they were.
"""

import os
import signal
import sys
import tempfile

import psutil
import pytest

from fixtures import SOON, alive, family, program, run_program, wait_until

pytestmark = pytest.mark.timeout(90)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])

BUSY = {
    "idle": "pointsman.execute(functions.square, range(10), backend='processes', max_workers=2)",
    "asleep": "futures = [executor.submit(functions.sleep_long, n) for n in range(20)]",
    "spinning": "futures = [executor.submit(spin_for_ever) for _ in range(4)]",
    "spinning in C": "futures = [executor.submit(sum, range(10**17)) for _ in range(4)]",
    "deaf": "futures = [executor.submit(ignore_signals) for _ in range(4)]",
    "stopped": "futures = [executor.submit(stop_myself) for _ in range(4)]",
    "before a full ring": "futures = [executor.submit(bytes, 30_000) for _ in range(2000)]",
    "before a full arena": "futures = [executor.submit(bytes, 3_000_000) for _ in range(200)]",
    "in a job": "threading.Thread(target=pointsman.execute, args=(functions.sleep_long, range(20)), "
    "kwargs={'backend': 'processes'}, daemon=True).start()",
}


def gone(processes: list[psutil.Process]) -> bool:
    return wait_until(lambda: not any(alive(process) for process in processes), SOON)


@pytest.mark.parametrize("what", BUSY)
@pytest.mark.parametrize("thread", ["main", "other"])
def test_when_the_program_is_killed_its_workers_go_too(what, thread, tmp_path):
    source = f"""
import functions, pointsman, threading, time

def spin_for_ever():
    while True:
        pass

def ignore_signals():
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)

def stop_myself():
    import os, signal

    os.kill(os.getpid(), signal.SIGSTOP)

executor = pointsman.Executor(2, backend="processes", shared_memory=16 << 20)

def start():
    global futures
    executor.submit(functions.square, 1).result()
    {BUSY[what]}

if {thread!r} == "main":
    start()
else:
    starter = threading.Thread(target=start)
    starter.start()
    starter.join()
time.sleep(0.2)
print("ready", flush=True)
time.sleep(300)
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)
        assert len(processes) >= 2
        before = names()

        os.kill(running.pid, signal.SIGKILL)

        assert gone(processes)
        ended = running.wait()
    assert ended.err == ""
    assert names() <= before


def names() -> set[str]:
    """Name what is ours where shared memory and temporary files have their names, but for the tests' own folders."""
    found = [name for folder in ("/dev/shm", tempfile.gettempdir()) for name in os.listdir(folder)]  # noqa: S108 - looked at
    return {name for name in found if "pointsman" in name and "tests" not in name}


@pytest.mark.parametrize("place", ["auto", "inline", "threads", "processes"])
@pytest.mark.parametrize("to", ["the program", "its group"])
def test_ctrl_c_ends_a_running_job_and_leaves_no_process(place, to, tmp_path):
    source = f"""
import functions, pointsman, threading

threading.Timer(0.7, print, ("ready",), {{"flush": True}}).start()
pointsman.execute(functions.spin, range(1_000_000), backend={place!r})
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)
        assert processes or place in {"inline", "threads", "auto"}

        (os.kill if to == "the program" else os.killpg)(running.pid, signal.SIGINT)
        ended = running.wait(SOON)

        assert ended.code == -signal.SIGINT
        assert gone(processes)
    assert ended.err.count("Traceback") == 1
    assert ended.err.count("KeyboardInterrupt") == 1


def test_ctrl_c_does_not_wait_for_calls_that_run_in_worker_processes(tmp_path):
    source = """
import functions, pointsman, threading

threading.Timer(0.7, print, ("ready",), {"flush": True}).start()
pointsman.execute(functions.sleep_long, range(100), backend="processes")
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)

        os.killpg(running.pid, signal.SIGINT)
        ended = running.wait(SOON)

        assert ended.code == -signal.SIGINT
        assert gone(processes)
    assert ended.err.count("Traceback") == 1


WAITS = ["future.result()", "list(executor.map(functions.sleep_long, range(9)))", "executor.shutdown()"]


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_a_program_that_waits_for_worker_processes(what, tmp_path):
    # In a terminal it reaches the workers too: with the standard library their calls end, and so does the program.
    source = f"""
import functions, pointsman, threading

executor = pointsman.Executor(2, backend="processes")
future = executor.submit(functions.sleep_long, 1)
threading.Timer(0.7, print, ("ready",), {{"flush": True}}).start()
{what}
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)

        os.killpg(running.pid, signal.SIGINT)
        ended = running.wait(SOON)

        assert ended.code == -signal.SIGINT
        assert gone(processes)
    assert ended.err.count("Traceback") == 1


@pytest.mark.parametrize("place", ["inline", "threads", "processes", "auto"])
def test_after_a_ctrl_c_that_was_caught_the_next_job_runs(place, tmp_path):
    source = f"""
import functions, pointsman, threading

threading.Timer(0.7, print, ("ready",), {{"flush": True}}).start()
try:
    pointsman.execute(functions.spin, range(1_000_000), backend={place!r})
except KeyboardInterrupt:
    pass
print(sum(pointsman.execute(functions.square, range(100), backend={place!r})), flush=True)
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        os.killpg(running.pid, signal.SIGINT)
        ended = running.wait(2 * SOON)

    assert (ended.out.strip(), ended.code, ended.err) == (str(sum(x * x for x in range(100))), 0, "")


def test_after_a_ctrl_c_long_calls_do_not_keep_the_workers(tmp_path):
    source = """
import functions, pointsman, threading

threading.Timer(0.7, print, ("ready",), {"flush": True}).start()
try:
    pointsman.execute(functions.sleep_long, range(100), backend="processes")
except KeyboardInterrupt:
    pass
print(sum(pointsman.execute(functions.square, range(100), backend="processes")), flush=True)
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        os.killpg(running.pid, signal.SIGINT)

        assert running.wait(2 * SOON).out.strip() == str(sum(x * x for x in range(100)))


# ------------------------------------------------------------------------------------- ordinary ends


@BOTH
def test_a_program_that_ends_with_calls_queued_runs_them_and_ends(place, tmp_path):
    path = tmp_path / "calls"
    with program(
        tmp_path,
        f"""
        import functions, pointsman

        executor = pointsman.Executor(2, backend={place!r})
        for n in range(40):
            executor.submit(functions.note_and_nap, {str(path)!r}, n)
        """,
    ) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")
    assert sorted(map(int, path.read_text().split())) == list(range(40))


def test_calls_submitted_without_an_executor_are_run_before_the_program_ends(tmp_path):
    path = tmp_path / "calls"
    with program(
        tmp_path,
        f"""
        import functions, pointsman

        for n in range(40):
            pointsman.submit(functions.note_and_nap, {str(path)!r}, n)
        """,
    ) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")
    assert sorted(map(int, path.read_text().split())) == list(range(40))


ENDINGS = {
    "with a map half read": """
        results = pointsman.map(functions.nap, itertools.count(), backend=place)
        next(results)
        """,
    "inside a with block by an exception": """
        with pointsman.Executor(2, backend=place) as executor:
            executor.submit(functions.nap, 1)
            raise SystemExit(0)
        """,
    "with a job running on a daemon thread": """
        threading.Thread(
            target=pointsman.execute, args=(functions.nap, itertools.count()), kwargs={"backend": place}, daemon=True
        ).start()
        time.sleep(0.3)
        """,
    "with callbacks pending": """
        executor = pointsman.Executor(2, backend=place)
        for n in range(20):
            executor.submit(functions.nap, n).add_done_callback(lambda done: done.result())
        """,
    "with an executor used from atexit": """
        def late():
            try:
                pointsman.execute(functions.square, range(50), backend=place)
            except RuntimeError as why:
                assert "shutdown" in str(why), why

        pointsman.execute(functions.square, range(50), backend=place)
        atexit.register(late)
        """,
    "with a first use from atexit": """
        def late():
            try:
                pointsman.execute(functions.square, range(50), backend=place)
            except RuntimeError as why:
                assert "shutdown" in str(why), why

        atexit.register(late)
        """,
    "with a future awaited in a loop that was left": """
        async def main():
            asyncio.ensure_future(asyncio.wrap_future(pointsman.options(backend=place).submit(functions.nap, 1)))

        asyncio.run(main())
        """,
    "with a reference cycle that holds everything": """
        executor = pointsman.Executor(2, backend=place)
        futures = [executor.submit(functions.nap, n) for n in range(10)]
        futures.append(futures)
        sys.modules["kept"] = futures, executor
        """,
}


@BOTH
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_without_a_hang_or_a_word(ending, place, tmp_path):
    source = f"""
        import asyncio, atexit, itertools, sys, threading, time
        import functions, pointsman

        place = {place!r}
{ENDINGS[ending]}
        """
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")


def test_a_job_at_exit_leaves_no_word_when_its_pool_outlives_the_modules(tmp_path):
    # Which goes first hangs on what else is imported: here next to nothing is.
    source = """
        import atexit, pointsman

        @atexit.register
        def late():
            try:
                assert sum(pointsman.execute(abs, range(200), backend="processes")) == 19900
            except RuntimeError as why:
                assert "shutdown" in str(why), why
        """
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("place", ["auto", "threads", "processes"])
def test_a_daemon_thread_that_runs_a_job_to_the_end_never_crashes_the_program(place, tmp_path):
    # Where the thread is when the interpreter goes is chance: hence several times.
    source = f"""
        import itertools, threading, time
        import functions, pointsman

        threading.Thread(
            target=pointsman.execute, args=(functions.nap, itertools.count()), kwargs={{"backend": {place!r}}}, daemon=True
        ).start()
        time.sleep(0.3)
        """
    for _ in range(5):
        with program(tmp_path, source) as running:
            ended = running.wait()
        assert (ended.code, ended.err) == (0, "")


@BOTH
@pytest.mark.parametrize("rest", [0.0, 0.1, 0.3])
def test_a_daemon_thread_amid_a_long_list_leaves_no_word_whenever_the_program_ends(rest, place, tmp_path):
    # The first worker that dies of it has an error that nobody hears of; what that takes must not be loaded so late.
    source = f"""
        import atexit, threading, time
        import functions, pointsman

        def late():
            try:
                pointsman.execute(functions.square, range(9), backend={place!r})
            except RuntimeError as why:
                assert "shutdown" in str(why), why

        atexit.register(late)
        threading.Thread(
            target=pointsman.execute, args=(functions.nap, range(10_000)), kwargs={{"backend": {place!r}}}, daemon=True
        ).start()
        # It goes on for a while after the program's end has begun.
        threading.Thread(target=time.sleep, args=(0.3,)).start()
        time.sleep({rest})
        """
    for _ in range(3):
        with program(tmp_path, source) as running:
            ended = running.wait()
        assert (ended.code, ended.err) == (0, "")


def test_a_pool_that_is_made_while_the_modules_go_leaves_no_word(tmp_path):
    # The threads of the first job are gone by then: `atexit` came before the modules went.
    source = """
        import atexit, time, pointsman

        def nap(number):
            time.sleep(0.02)
            return number

        atexit.register(lambda: pointsman.execute(nap, range(100)))

        class Late:
            def __del__(self):
                print(len(pointsman.execute(nap, range(50))))

        late = Late()
        """
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")


@BOTH
def test_a_thread_that_outlasts_the_main_one_may_be_the_first_to_use_workers(place, tmp_path):
    if place == "threads" and sys.version_info >= (3, 12):
        pytest.skip("from 3.12 on no thread can be started once the main one has ended")
    source = f"""
        import threading, time
        import functions, pointsman

        def late():
            time.sleep(0.2)
            print(sum(pointsman.execute(functions.square, range(100), backend={place!r}, max_workers=2)))

        threading.Thread(target=late).start()
        """
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split() == [str(sum(x * x for x in range(100)))]


def test_a_program_that_ends_again_and_again_never_hangs_or_crashes(tmp_path):
    source = """
        import functions, pointsman

        executor = pointsman.Executor(2, backend="processes")
        futures = [executor.submit(functions.square, n) for n in range(50)]
        futures[0].result()
        """
    for _ in range(15):
        with program(tmp_path, source) as running:
            ended = running.wait()
        assert (ended.code, ended.err) == (0, "")


def test_os_exit_of_the_program_takes_the_workers_along(tmp_path):
    source = """
import functions, os, pointsman, time

pointsman.execute(functions.square, range(100), backend="processes", max_workers=2)
print("ready", flush=True)
time.sleep(0.5)
os._exit(0)
"""
    with program(tmp_path, source) as running:
        assert running.line() == "ready"
        processes = family(running.pid)
        assert len(processes) >= 2

        assert running.wait().code == 0
        assert gone(processes)


# ---------------------------------------------------------------------------------------------- forks

FORKS = """
import functions, os, pointsman, signal, sys

def use():
    assert pointsman.execute(functions.square, range(50), backend="processes") == [x * x for x in range(50)]
    assert pointsman.execute(functions.square, range(50), backend="threads", max_workers=2) == [x * x for x in range(50)]
    assert pointsman.execute(functions.spin, range(50)) == list(range(50))
    assert pointsman.submit(functions.square, 3).result(20) == 9
    return set(pointsman.execute(functions.process, range(200), backend="processes"))

before = use() if {used} else set()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    mine = use()
    assert not mine & before, "the child used workers of its parent"
    {leave}
_, status = os.waitpid(pid, 0)
assert status == 0, status
after = use()
assert before <= after or before & after or not before, "the parent lost its workers"
print("done")
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("used", [True, False], ids=["after use", "before use"])
@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_a_fork_of_the_program_can_use_pointsman_and_does_not_harm_its_parent(used, leave, tmp_path):
    with program(tmp_path, FORKS.format(used=used, leave=leave)) as running:
        ended = running.wait()

    assert (ended.code, ended.out.strip()) == (0, "done"), ended.err


def test_a_fork_that_uses_nothing_leaves_the_pool_of_its_parent_alone(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functions, os, pointsman, sys

        executor = pointsman.Executor(2, backend="processes")
        futures = [executor.submit(functions.nap, n) for n in range(50)]
        pid = os.fork()
        if pid == 0:
            del executor, futures
            sys.exit(0)
        os.waitpid(pid, 0)
        print(sum(future.result(20) for future in futures))
        """,
    )

    assert printed == str(sum(range(50)))


# --------------------------------------------------------------------------------- what is left behind


def test_no_name_in_shared_memory_and_no_file_is_made(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functions, os, pathlib, pointsman, tempfile
        import psutil

        home = os.getpid()
        os.mkdir("tmp")
        os.environ["TMPDIR"] = os.path.abspath("tmp")
        tempfile.tempdir = None
        results = pointsman.execute(functions.same, [bytes(3_000_000)] * 8, backend="processes", max_workers=2)
        mapped = set()
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            mapped |= {line.split(maxsplit=5)[5].strip() for line in open(f"/proc/{process.pid}/maps") if "/dev/shm" in line}
            mapped |= {file.path for file in process.open_files() if file.path.startswith("/dev/shm")}
        print(sorted(mapped), os.listdir("tmp"))
        """,
    )

    assert printed == "[] []"


def test_no_socket_listens_while_workers_run(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functions, pointsman, psutil

        pointsman.execute(functions.square, range(100), backend="processes", max_workers=2)
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        print([c for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN])
        """,
    )

    assert printed == "[]"


def test_pools_that_come_and_go_leave_no_process_thread_or_descriptor(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functions, gc, pointsman, psutil, threading, time

        me = psutil.Process()

        def use():
            with pointsman.Executor(2, backend="processes") as executor:
                assert list(executor.map(functions.square, range(10))) == [x * x for x in range(10)]
            with pointsman.Executor(2, backend="threads") as executor:
                assert list(executor.map(functions.square, range(10))) == [x * x for x in range(10)]

        def figures():
            gc.collect()
            living = [p for p in me.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
            return len(living), threading.active_count(), me.num_fds(), len(me.children(recursive=True))

        def settle(most):
            until = time.monotonic() + 10
            while figures() > most and time.monotonic() < until:
                time.sleep(0.05)
            return figures()

        use()
        time.sleep(1)
        before = figures()
        for _ in range(12):
            use()
        after = settle(before)
        print("flat" if all(a <= b for a, b in zip(after, before)) else f"{before} became {after}")
        """,
    )

    assert printed == "flat"


def test_a_job_whose_pool_is_ended_under_it_gives_no_part_for_the_whole(tmp_path):
    source = """
import pointsman, threading, time
from pointsman import _default

def run():
    try:
        print(len(pointsman.execute(time.sleep, [0.2] * 50, backend="processes", max_workers=1, chunksize=1)))
    except pointsman.PoolBrokenError as why:
        print(why)

running = threading.Thread(target=run)
running.start()
while not _default._processes:
    time.sleep(0.01)
[(pool, _given)] = _default._processes.values()
while not pool.native.figures()[0]:
    time.sleep(0.01)
# As at the program's end.
pool.native.cancel_all()
running.join()
"""
    assert run_program(tmp_path, source) == "the pool was ended before all calls of sleep had begun"
