"""Much data, large data, and data that does things when it is packed: bounded memory, and no call hurts another.

What it does not know: where the bytes lie on their way.
"""

import os
import pickle
import threading

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(110)

MANY = 10_000
LARGE = bytes(1 << 20)


def shared_now():
    """Bytes of shared memory that this process holds with its workers."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:pointsman" in os.readlink(f"/proc/self/fd/{name}"):
                total += os.stat(f"/proc/self/fd/{name}").st_blocks * 512
        except OSError:
            continue
    return total


@pytest.fixture
def peak():
    """Look at the shared memory all the time; gives the most there was on top of what there is at the start."""
    before, most, done = shared_now(), [0], threading.Event()

    def watch():
        while not done.wait(0.005):
            most[0] = max(most[0], shared_now() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield lambda: most[0]
    done.set()
    watcher.join()


def test_ten_thousand_submits_of_a_megabyte_stay_within_bounds(peak):
    with pointsman.Executor(2, backend="processes", shared_memory=256 << 20) as made:
        futures = [made.submit(len, LARGE) for _ in range(MANY)]

        assert sum(future.result(functions.PATIENCE) for future in futures) == MANY * len(LARGE)
    assert peak() <= 256 << 20


@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_job_over_ten_thousand_megabytes_stays_within_bounds(chunksize, peak):
    count = MANY if chunksize is None else 2000

    assert pointsman.execute(len, [LARGE] * count, backend="processes", chunksize=chunksize) == [len(LARGE)] * count
    assert peak() <= 512 << 20


def test_a_map_of_large_results_that_is_read_slowly_stays_within_bounds(peak):
    total = 0
    for value in pointsman.map(bytes, [1 << 20] * 1500, backend="processes"):
        total += len(value)

    assert total == 1500 << 20
    assert peak() <= 1 << 30


def test_a_result_larger_than_its_segment_arrives():
    with pointsman.Executor(1, backend="processes", shared_memory=8 << 20) as one:
        assert one.submit(functions.same, b"x" * 100).result(functions.PATIENCE) == b"x" * 100
        assert one.submit(make_text, 40 << 20).result(functions.PATIENCE) == "y" * (40 << 20)
        assert len(one.submit(make_list, 1_000_000).result(functions.PATIENCE)) == 1_000_000


def make_text(size):
    return "y" * size


def make_list(count):
    return [str(n) for n in range(count)]


def test_submits_that_wait_for_room_end_when_the_pool_is_shut_down():
    made = pointsman.Executor(1, backend="processes", shared_memory=8 << 20)
    running = made.submit(functions.sleep_long, 1)
    over = threading.Event()

    def submit():
        try:
            for _ in range(200):
                made.submit(len, LARGE)
        except RuntimeError:
            pass
        over.set()

    submitter = threading.Thread(target=submit)
    submitter.start()
    assert not over.wait(0.5)
    threading.Timer(0.1, running.cancel, kwargs={"kill": True}).start()
    made.shutdown(wait=True, cancel_futures=True)

    assert over.wait(functions.PATIENCE)
    submitter.join()


class CallsUs:
    """Runs a job of ours while it is pickled, and while it is unpickled."""

    def __reduce__(self):
        inner = pointsman.execute(functions.square, range(30), backend="processes")
        with pointsman.Executor(1, backend="processes") as one:
            inner.append(one.submit(functions.square, 30).result(functions.PATIENCE))
        return rebuilt, (inner,)


def rebuilt(inner):
    assert pointsman.execute(functions.square, range(31), backend="auto") == inner
    return sum(inner)


def test_what_calls_pointsman_while_it_is_pickled_does_not_deadlock():
    total = sum(n * n for n in range(31))

    assert pointsman.execute(functions.same, [CallsUs()] * 3, backend="processes") == [total] * 3
    with pointsman.Executor(2, backend="processes") as made:
        assert made.submit(functions.same, CallsUs()).result(functions.PATIENCE) == total
        assert made.submit(CallsUs).result(functions.PATIENCE) == total


class Moody(Exception):  # noqa: N818 - it is not our error
    """Pickles; when unpickled it raises, interrupts or exits, as it was told."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how

    def __reduce__(self):
        return moody, (self.how, os.getpid())


def moody(how, home):
    if os.getpid() == home:
        return Moody(how)
    raise {"error": ValueError, "interrupt": KeyboardInterrupt, "exit": SystemExit, "memory": MemoryError}[how](how)


def raise_moody(how):
    raise Moody(how)


@pytest.mark.parametrize("how", ["error", "interrupt", "exit", "memory"])
def test_an_exception_whose_unpickling_raises_anything_is_an_error_of_its_call_alone(how):
    with pointsman.Executor(2, backend="processes") as made:
        neighbours = [made.submit(functions.nap, n) for n in range(6)]
        error = made.submit(raise_moody, how).exception(functions.PATIENCE)

        assert isinstance(error, pointsman.RemoteError)
        assert "Moody" in str(error)
        assert [future.result(functions.PATIENCE) for future in neighbours] == list(range(6))


@pytest.mark.parametrize("how", ["error", "interrupt", "exit", "memory"])
def test_a_result_whose_unpickling_raises_anything_is_an_error_of_its_call_alone(how):
    with pointsman.Executor(2, backend="processes") as made:
        error = made.submit(Moody, how).exception(functions.PATIENCE)

        assert isinstance(error, pointsman.UnreadableError)
        assert isinstance(error, pickle.UnpicklingError)
        assert made.submit(functions.square, 3).result(functions.PATIENCE) == 9
