"""Functions that carry data of their own, in a partial, a closure, a global or an object, are sent with it, once.

What it does not know: how the data is packed.
"""

import os
import signal
from functools import partial
from pathlib import Path

import numpy
import pytest

import pointsman

pytestmark = pytest.mark.timeout(60)

SIZE = 100_000
TABLE = numpy.arange(float(SIZE))
TEXT = b"0123456789" * (SIZE // 10)
# Bytes of what each function of a long row of them carries.
LARGE = 8 << 20


class Model:
    def __init__(self):
        self.weights = numpy.arange(float(SIZE))

    def predict(self, index):
        return float(self.weights[index])

    __call__ = predict


def look_up(table, index):
    return float(table[index])


def last_of(tables, index):
    return float(tables[index][-1])


def in_a_global(index):
    return float(TABLE[index])


def in_a_default(index, table=TABLE):
    return float(table[index])


def in_a_closure():
    table = TABLE.copy()
    return lambda index: float(table[index])


def byte_at(text, index):
    return text[index] - ord("0")


def add_to(table, index):
    before = float(table[0])
    table[0] += index
    return before


def length_of(data, _):
    return len(data)


def private_bytes(_data, _index):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def dies_at_three(table, path, index):
    if index == 3 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(table[index])


FUNCTIONS = {
    "partial": partial(look_up, TABLE),
    "read-only": partial(look_up, numpy.broadcast_to(numpy.frombuffer(TABLE.tobytes()), SIZE)),
    "global": in_a_global,
    "default": in_a_default,
    "closure": in_a_closure(),
    "method": Model().predict,
    "object": Model(),
    "bytes": partial(byte_at, TEXT),
    "bytearray": partial(byte_at, bytearray(TEXT)),
    "view": partial(look_up, TABLE[:: SIZE // 10]),
    "dictionary of arrays": partial(last_of, dict(enumerate(TABLE.reshape(10, -1)))),
}


@pytest.fixture
def backend(backend):
    if backend == "interpreters":
        pytest.skip("numpy cannot be imported in other interpreters")
    return backend


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_that_carries_data_runs_everywhere(backend, function):
    expected = [function(index) for index in range(10)]

    assert pointsman.execute(function, range(10), backend=backend) == expected
    assert list(pointsman.map(function, range(10), backend=backend)) == expected


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_an_executor_takes_a_function_that_carries_data(backend, function):
    expected = [function(index) for index in range(10)]

    with pointsman.Executor(2, backend=backend) as executor:
        assert executor.submit(function, 3).result() == expected[3]
        assert list(executor.map(function, range(10))) == expected


def test_what_has_changed_between_two_jobs_is_seen(backend):
    table = TABLE.copy()
    function = partial(look_up, table)
    assert pointsman.execute(function, [0, 1], backend=backend) == [0, 1]
    table[0] = 7

    assert pointsman.execute(function, [0, 1], backend=backend) == [7, 1]


def test_what_a_call_writes_to_its_functions_data_stays_in_its_process():
    table = TABLE.copy()
    with pointsman.Executor(2, backend="processes") as executor:
        executor.options().execute(partial(add_to, table), range(50))

        assert executor.submit(look_up, table, 0).result() == 0
    assert table[0] == 0


def test_a_worker_that_takes_the_place_of_a_dead_one_has_the_data_too(tmp_path):
    function = partial(dies_at_three, TABLE, str(tmp_path / "died"))

    results = pointsman.execute(function, range(20), backend="processes", on_error="return")

    assert [result for index, result in enumerate(results) if index != 3] == [float(i) for i in range(20) if i != 3]
    assert isinstance(results[3], (float, pointsman.WorkerDied))


def test_functions_that_are_gone_leave_their_room_to_others():
    with pointsman.Executor(2, backend="processes", shared_memory=128 << 20) as executor:
        for _ in range(30):
            function = partial(length_of, numpy.ones(LARGE // 8))
            assert executor.options().execute(function, range(4)) == [LARGE // 8] * 4
            assert executor.submit(function, 0).result() == LARGE // 8


def test_what_a_function_carried_is_freed_with_its_call_and_not_with_the_future():
    with pointsman.Executor(2, backend="processes", shared_memory=128 << 20) as executor:
        calls = [executor.submit(partial(length_of, numpy.ones(LARGE // 8)), index) for index in range(60)]

        assert [call.result() for call in calls] == [LARGE // 8] * 60


def test_a_function_that_finds_no_room_says_so():
    with (
        pointsman.Executor(1, backend="processes", shared_memory=32 << 20) as executor,
        pytest.raises(OSError, match="shared memory"),
    ):
        executor.submit(partial(length_of, numpy.ones(64 << 17)), 0).result()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux says of a process")
def test_a_worker_keeps_few_of_the_functions_that_carry_much():
    with pointsman.Executor(1, backend="processes") as executor:
        sizes = [executor.submit(partial(private_bytes, numpy.ones(LARGE // 8)), 0).result() for _ in range(40)]

    # Of 320 MB.
    assert sizes[-1] - sizes[0] < 20 * LARGE
