"""How long a call may run, how often, and what stops it for real.

What it does not know: how a worker is killed.

Invariants:
    R1. Whatever a test stops, other calls on the same pool go on, and the core is free again.
"""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import deaths
import functions
import pointsman
from fixtures import alive, runs, wait_until

pytestmark = pytest.mark.timeout(60)

#: Seconds after which a call is late: more than any import takes on a loaded machine, since a worker's first call may import.
SHORT = 1.2


@pytest.fixture
def executor():
    with pointsman.Executor(2, backend="processes") as made:
        yield made
        assert list(made.map(functions.square, range(20))) == [x * x for x in range(20)]


def sleep_for_ever(_=None):
    while True:
        time.sleep(1)


def ignore_signals(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    functions.note(path, os.getpid())
    while True:
        time.sleep(1)


def spin_in_c(path):
    functions.note(path, os.getpid())
    # Years of one call into C, which looks at no signal.
    return sum(range(10**17))


def swallow_everything(path):
    functions.note(path, os.getpid())
    while True:
        try:
            time.sleep(1)
        except BaseException:
            time.sleep(0)


def stop_itself(path):
    functions.note(path, os.getpid())
    # Neither its threads nor its handlers run any more.
    os.kill(os.getpid(), signal.SIGSTOP)


def has_line(path):
    """Whether a call has noted something: there is a moment between the file and the line in it."""
    return path.exists() and path.read_text().endswith("\n")


STUBBORN = [ignore_signals, spin_in_c, swallow_everything, stop_itself]


# ---------------------------------------------------------------------------------------------------------- timeout


@pytest.mark.parametrize("call", STUBBORN)
def test_a_call_that_takes_too_long_is_stopped_whatever_it_does(executor, call, tmp_path):
    neighbour = executor.submit(time.sleep, 2.0)
    error = executor.options(timeout=SHORT).submit(call, str(tmp_path / "pid")).exception(functions.PATIENCE)
    pid = int((tmp_path / "pid").read_text())

    assert type(error) is pointsman.CallTimeoutError
    assert isinstance(error, TimeoutError)
    assert call.__name__ in str(error)
    assert wait_until(lambda: not runs(pid))
    assert neighbour.result(functions.PATIENCE) is None


def test_time_in_the_queue_does_not_count():
    with pointsman.Executor(1, backend="processes") as one:
        futures = [one.options(timeout=2).submit(time.sleep, 0.4) for _ in range(8)]

        assert [future.result(functions.PATIENCE) for future in futures] == [None] * 8


@pytest.mark.parametrize("chunksize", [None, 1, 5])
def test_in_a_job_only_the_late_items_fail_and_each_names_its_place(chunksize):
    def call(n):
        if n in {3, 11}:
            sleep_for_ever()
        return n

    results = pointsman.execute(
        call, range(20), backend="processes", timeout=SHORT, chunksize=chunksize, on_error="return"
    )

    assert [n for n, result in enumerate(results) if isinstance(result, pointsman.CallTimeoutError)] == [3, 11]
    assert "item 3" in str(results[3])
    assert [result for n, result in enumerate(results) if n not in {3, 11}] == [
        n for n in range(20) if n not in {3, 11}
    ]


def test_a_long_job_of_short_calls_is_not_late():
    assert pointsman.execute(functions.nap, range(300), timeout=5, chunksize=100) == list(range(300))


def test_map_raises_after_the_results_before_the_late_call():
    def call(n):
        return sleep_for_ever() if n == 5 else n

    results = pointsman.map(call, range(9), timeout=SHORT)

    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(pointsman.CallTimeoutError):
        next(results)


def test_run_with_a_timeout_stops_the_call():
    with pytest.raises(TimeoutError):
        pointsman.options(timeout=SHORT).run(sleep_for_ever)

    assert pointsman.options(timeout=5).run(functions.square, 7) == 49


def test_an_automatic_executor_runs_a_call_with_a_timeout_where_it_can_be_stopped():
    with pointsman.Executor() as made:
        assert made.options(timeout=SHORT).submit(sleep_for_ever).exception(functions.PATIENCE).__class__ is (
            pointsman.CallTimeoutError
        )
        assert made.options(timeout=20).submit(os.getpid).result(functions.PATIENCE) != os.getpid()


# ----------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("call", STUBBORN)
def test_a_running_call_can_be_cancelled_by_force(executor, call, tmp_path):
    path = tmp_path / "pid"
    future = executor.submit(call, str(path))
    assert wait_until(lambda: has_line(path))
    pid = int(path.read_text())

    assert future.cancel() is False
    assert future.cancel(kill=True) is True
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(functions.PATIENCE)
    assert wait_until(lambda: not runs(pid))


SPIN = "while True: pass"


def start_and_wait(path, session):
    child = subprocess.Popen([sys.executable, "-c", SPIN], start_new_session=session)
    functions.note(path, child.pid)
    child.wait()


@pytest.mark.parametrize("session", [False, True], ids=["its own", "detached"])
def test_programs_that_a_call_runs_end_with_it_unless_they_have_a_session_of_their_own(executor, session, tmp_path):
    path = tmp_path / "pid"
    future = executor.submit(start_and_wait, str(path), session)
    assert wait_until(lambda: has_line(path))
    child = psutil.Process(int(path.read_text()))
    assert future.cancel(kill=True)
    try:
        assert (
            wait_until(lambda: not psutil.pid_exists(child.pid) or not alive(child), 1.0 if session else 20)
            is not session
        )
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_cancel_stops_a_running_call_where_that_was_asked_for(executor, tmp_path):
    path = tmp_path / "pid"
    future = executor.options(kill_on_cancel=True).submit(ignore_signals, str(path))
    told = []
    future.add_done_callback(lambda done: told.append(done.cancelled()))
    assert wait_until(lambda: has_line(path))

    assert future.cancel()
    assert wait_until(lambda: told == [True])
    assert wait_until(lambda: executor.get_stats().running_tasks == 0)
    assert executor.get_stats().failed_tasks == 0


def test_a_finished_call_is_not_cancelled_by_force(executor):
    future = executor.submit(functions.square, 5)
    future.result(functions.PATIENCE)

    assert future.cancel(kill=True) is False
    assert future.result() == 25


def test_a_call_that_is_cancelled_by_force_is_not_begun_again(executor, tmp_path):
    path = tmp_path / "pid"
    future = executor.options(retries=5).submit(ignore_signals, str(path))
    assert wait_until(lambda: has_line(path))

    assert future.cancel(kill=True)
    assert executor.submit(functions.square, 2).result(functions.PATIENCE) == 4
    assert len(path.read_text().split()) == 1


def test_leaving_a_map_early_stops_its_calls_where_that_was_asked_for(tmp_path):
    path = tmp_path / "pids"

    def call(n):
        return n if n == 0 else ignore_signals(str(path))

    results = pointsman.options(kill_on_cancel=True, backend="processes").map(call, range(3), chunksize=1)
    assert next(results) == 0
    assert wait_until(lambda: has_line(path))
    pid = int(path.read_text().split()[0])
    results.close()

    assert wait_until(lambda: not runs(pid))


# ---------------------------------------------------------------------------------------------------------- retries


def count_of(path):
    """Count the calls that left a line in a file."""
    with open(path) as file:
        return len(file.read().split())


def die_until(path, count):
    functions.note(path, os.getpid())
    if count_of(path) < count:
        functions.end_by_signal(signal.SIGKILL)
    return count


def raise_until(path, count):
    functions.note(path, os.getpid())
    if count_of(path) < count:
        raise functions.Boom("not yet", count)
    return count


def test_a_call_whose_worker_dies_is_begun_again_as_often_as_asked_for_and_no_more(executor, tmp_path):
    enough, short = str(tmp_path / "enough"), str(tmp_path / "short")
    on = executor.options(retries=2)

    assert on.submit(die_until, enough, 3).result(functions.PATIENCE) == 3
    assert isinstance(on.submit(die_until, short, 9).exception(functions.PATIENCE), pointsman.WorkerDied)
    assert [count_of(path) for path in (enough, short)] == [3, 3]


def test_without_retries_nothing_is_run_twice(executor, tmp_path):
    path = str(tmp_path / "calls")

    assert isinstance(executor.submit(die_until, path, 9).exception(functions.PATIENCE), pointsman.WorkerDied)
    assert count_of(path) == 1


@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_a_repeated_call_gets_its_arguments_again(executor, size, tmp_path):
    path = str(tmp_path / "calls")

    def call(path, data):
        die_until(path, 3)
        return data

    assert executor.options(retries=2).submit(call, path, b"x" * size).result(functions.PATIENCE) == b"x" * size


def test_in_a_job_each_item_has_retries_of_its_own(tmp_path):
    def call(n):
        if n in {2, 5, 6}:
            die_until(f"{tmp_path}/{n}", 3)
        return n

    results = pointsman.execute(call, range(9), backend="processes", retries=2, chunksize=3)

    assert results == list(range(9))
    assert [len((tmp_path / str(n)).read_text().split()) for n in (2, 5, 6)] == [3, 3, 3]


@pytest.mark.parametrize("backend", ["auto", "inline", "threads", "processes"])
def test_a_call_that_raises_is_begun_again_only_for_what_was_named(backend, tmp_path):
    def call(n):
        if n == 1:
            raise_until(f"{tmp_path}/1", 3)
        if n == 2:
            functions.note(f"{tmp_path}/2", "x")
            raise KeyError(n)
        return n

    results = pointsman.execute(
        call, range(4), backend=backend, max_workers=2, retries=2, retry_on=functions.Boom, on_error="return"
    )

    assert [results[0], results[1], results[3]] == [0, 1, 3]
    assert type(results[2]) is KeyError
    assert len((tmp_path / "2").read_text().split()) == 1


def test_the_last_attempt_tells_why(executor, tmp_path):
    on = executor.options(retries=2, retry_on=(functions.Boom, ValueError))
    error = on.submit(raise_until, str(tmp_path / "calls"), 9).exception(functions.PATIENCE)

    assert type(error) is functions.Boom
    assert len((tmp_path / "calls").read_text().split()) == 3


@pytest.mark.parametrize(("retry_on", "runs"), [((), 1), (TimeoutError, 3), (Exception, 3)])
def test_a_late_call_is_begun_again_only_when_timeouts_were_named(executor, retry_on, runs, tmp_path):
    path = tmp_path / "calls"

    def call():
        functions.note(str(path), "x")
        sleep_for_ever()

    error = executor.options(timeout=SHORT, retries=2, retry_on=retry_on).submit(call).exception(functions.PATIENCE)

    assert type(error) is pointsman.CallTimeoutError
    assert len(path.read_text().split()) == runs


# ------------------------------------------------------------------------------------------------ what cannot be done


@pytest.mark.parametrize("backend", ["threads", "inline"])
@pytest.mark.parametrize("terms", [{"kill_on_cancel": True}, {"retries": 1}])
def test_what_a_backend_cannot_do_is_said_at_once(backend, terms):
    with pytest.raises(pointsman.InvalidArgumentError, match="process"):
        pointsman.options(backend=backend, **terms)
    with pytest.raises(pointsman.InvalidArgumentError, match="process"):
        pointsman.execute(functions.square, [1], backend=backend, **terms)


@pytest.mark.parametrize("seconds", [float("inf"), sys.maxsize, 10**400, 1e10])
def test_a_limit_beyond_all_time_is_none_and_leaves_others_theirs(seconds):
    with pointsman.Executor(2, backend="threads") as made:
        assert made.options(timeout=seconds).submit(functions.square, 3).result(functions.PATIENCE) == 9
        late = made.options(timeout=0.05).submit(time.sleep, 0.5)
        assert type(late.exception(functions.PATIENCE)) is pointsman.CallTimeoutError
    assert pointsman.execute(functions.square, [3], backend="processes", timeout=seconds) == [9]


@pytest.mark.parametrize(
    "terms",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": "1"},
        {"retries": -1},
        {"retries": 1.5},
        {"retry_on": ValueError},
        {"retries": 1, "retry_on": KeyboardInterrupt},
        {"retries": 1, "retry_on": "ValueError"},
    ],
)
def test_terms_that_make_no_sense_are_refused(terms):
    with pytest.raises((pointsman.InvalidArgumentError, pointsman.InvalidTypeError)):
        pointsman.options(**terms)


@pytest.mark.parametrize("option", ["max_tasks_per_child", "memory_limit", "shared_memory"])
def test_options_of_worker_processes_are_refused_elsewhere(option):
    with pytest.raises(pointsman.InvalidArgumentError, match=option):
        pointsman.Executor(2, backend="threads", **{option: 1 << 30})


# ------------------------------------------------------------------------------------------------------------- pools


def test_a_worker_is_replaced_after_so_many_calls():
    with pointsman.Executor(1, backend="processes", max_tasks_per_child=3) as one:
        pids = [one.submit(os.getpid).result(functions.PATIENCE) for _ in range(9)]

    assert [len(set(pids[n : n + 3])) for n in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_no_call_is_lost_while_workers_are_replaced():
    with pointsman.Executor(2, backend="processes", max_tasks_per_child=1) as made:
        assert list(made.map(functions.square, range(100))) == [x * x for x in range(100)]
        assert made.get_stats().failed_tasks == 0


def keep(size):
    kept = bytearray(size)
    functions.__dict__.setdefault("KEPT", []).append(kept)
    return os.getpid()


def test_a_worker_that_has_grown_is_replaced_between_two_calls():
    with pointsman.Executor(1, backend="processes", memory_limit=150 << 20) as one:
        small = [one.submit(keep, 1000).result(functions.PATIENCE) for _ in range(20)]
        grown = one.submit(keep, 200 << 20).result(functions.PATIENCE)
        later = one.submit(keep, 1000).result(functions.PATIENCE)

    assert set(small) == {grown}
    assert later != grown


def test_more_workers_than_cores_run_at_a_time(tmp_path):
    count = 2 * (os.cpu_count() or 1) + 1
    with pointsman.Executor(count, backend="processes") as made:
        met = [made.submit(functions.meet, str(tmp_path), count, n) for n in range(count)]

        assert [future.result(functions.PATIENCE) for future in met] == [True] * count


def test_shared_memory_stays_under_its_cap_and_a_full_one_waits():
    cap = 16 << 20
    with pointsman.Executor(2, backend="processes", shared_memory=cap) as made:
        futures, most = [], 0
        for n in range(120):
            futures.append(made.submit(functions.same, bytes([n % 256]) * (1 << 20)))
            most = max(most, sum(os.stat(f"/proc/self/fd/{number}").st_blocks * 512 for number in segments(cap)))

        assert 1 << 20 < most <= cap
        assert [future.result(functions.PATIENCE)[0] for future in futures] == [n % 256 for n in range(120)]


def test_the_environment_caps_shared_memory_too(monkeypatch):
    monkeypatch.setenv("POINTSMAN_SHARED_MEMORY", str(16 << 20))
    with pointsman.Executor(1, backend="processes") as one:
        assert type(one.submit(len, bytes(64 << 20)).exception(functions.PATIENCE)) is pointsman.SharedMemoryFullError
        assert one.submit(len, bytes(1 << 20)).result(functions.PATIENCE) == 1 << 20
    monkeypatch.setenv("POINTSMAN_SHARED_MEMORY", "much")
    with (
        pointsman.Executor(1, backend="processes") as one,
        pytest.raises(pointsman.InvalidArgumentError, match="SHARED_MEMORY"),
    ):
        one.submit(len, b"").result(functions.PATIENCE)


def test_arguments_that_never_fit_fail_alone_and_larger_results_arrive():
    with pointsman.Executor(2, backend="processes", shared_memory=16 << 20) as made:
        error = made.submit(len, bytes(64 << 20)).exception(functions.PATIENCE)

        assert type(error) is pointsman.SharedMemoryFullError
        assert isinstance(error, MemoryError)
        assert "len" in str(error)
        assert made.submit(len, b"abc").result(functions.PATIENCE) == 3
        assert len(made.submit(bytes, 64 << 20).result(functions.PATIENCE)) == 64 << 20


def test_a_cap_without_room_for_anything_is_refused():
    with pytest.raises(pointsman.InvalidArgumentError, match="shared_memory"):
        pointsman.Executor(2, backend="processes", shared_memory=1 << 20)


def test_results_that_nobody_reads_give_their_memory_back():
    cap = 16 << 20
    with pointsman.Executor(1, backend="processes", shared_memory=cap) as one:
        for _ in range(60):
            one.submit(bytes, 1 << 20)
        concurrent.futures.wait([one.submit(functions.square, 3)], functions.PATIENCE)
        used = sum(os.stat(f"/proc/self/fd/{number}").st_blocks * 512 for number in segments(cap))

    # With few results at a time in memory it is little; with all of them it would be the whole cap.
    assert 0 < used < cap // 2


def segments(cap):
    """Descriptors of the memory that this process shares with the workers of a pool with this cap."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if (
                "memfd:pointsman" in os.readlink(f"/proc/self/fd/{name}")
                and 0 < os.stat(f"/proc/self/fd/{name}").st_size <= cap
            ):
                yield name
        except OSError:
            continue


# ------------------------------------------------------------------------------------------------------- initializer


def note_and_raise(path):
    functions.note(path, os.getpid())
    raise ValueError("no such thing")


def note_and_die(path, how):
    functions.note(path, os.getpid())
    deaths.end(how)


def note_and_die_after(path, good, deadly):
    """End the process, but for the first `good` times and after `deadly` more."""
    functions.note(path, os.getpid())
    if good < count_of(path) <= good + deadly:
        deaths.end("SIGKILL")


def test_an_initializer_that_raises_breaks_the_pool_at_once(tmp_path):
    path = tmp_path / "calls"
    with pointsman.Executor(1, backend="processes", initializer=note_and_raise, initargs=(str(path),)) as one:
        error = one.submit(functions.square, 1).exception(functions.PATIENCE)

        assert isinstance(error, concurrent.futures.BrokenExecutor)
        assert "note_and_raise" in str(error)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            one.submit(functions.square, 1)
    assert len(path.read_text().split()) == 1


SAID = {"SIGKILL": "signal 9", "SIGSEGV": "signal 11", "SIGABRT": "signal 6"}


@pytest.mark.parametrize("how", deaths.WAYS)
def test_an_initializer_that_kills_its_worker_breaks_the_pool_at_the_third_time(how, tmp_path):
    path = tmp_path / "calls"
    with pointsman.Executor(1, backend="processes", initializer=note_and_die, initargs=(str(path), how)) as one:
        error = one.submit(functions.square, 1).exception(functions.PATIENCE)

        assert isinstance(error, concurrent.futures.BrokenExecutor)
        assert SAID.get(how, how) in str(error)
    assert len(path.read_text().split()) == 3


def test_an_initializer_that_kills_its_worker_twice_is_forgiven(tmp_path):
    path = str(tmp_path / "calls")
    with pointsman.Executor(1, backend="processes", initializer=note_and_die_after, initargs=(path, 0, 2)) as one:
        assert one.submit(functions.square, 4).result(functions.PATIENCE) == 16


@pytest.mark.parametrize(("deadly", "breaks"), [(2, False), (99, True)])
def test_an_initializer_that_kills_later_workers_breaks_the_pool_at_the_third_time(deadly, breaks, tmp_path):
    path = tmp_path / "calls"
    initargs = (str(path), 1, deadly)
    with pointsman.Executor(1, backend="processes", initializer=note_and_die_after, initargs=initargs) as one:
        assert one.submit(functions.square, 4).result(functions.PATIENCE) == 16
        assert isinstance(one.submit(deaths.end, "SIGKILL").exception(functions.PATIENCE), pointsman.WorkerDied)
        error = one.submit(functions.square, 5).exception(functions.PATIENCE)

    assert isinstance(error, pointsman.PoolBrokenError) is breaks
    assert error is None or breaks
    assert len(path.read_text().split()) == 4
