"""Inputs that are no plain values are pickled a group at a time: each arrives at its own call, and fails no more than that.

What it does not know: how large a group is, but for the tests that say so.
"""

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pointsman

pytestmark = pytest.mark.timeout(60)

picklings = 0


class Shared:
    """Counts in this process how often it is sent."""

    def __init__(self, size=0):
        self.load = bytes(size)

    def __reduce__(self):
        global picklings
        picklings += 1
        return Shared, (len(self.load),)


class Task:
    def __init__(self, number, shared):
        self.number = number
        self.shared = shared


class Unreadable:
    def __reduce__(self):
        return int, ("not a number",)


def number_of(item):
    return item[0] if isinstance(item, list | tuple) else item.number


def joined(*parts):
    return "".join(map(str, parts))


def end_at(item):
    number, path = item
    if number == 150 and not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: [n], id="short lists"),
        pytest.param(lambda n: [n, "x" * n], id="lists of many lengths"),
        pytest.param(lambda n: [n, bytes(100_000)], id="long ones"),
        pytest.param(lambda n: [n] if n % 7 else (n, None), id="some of them plain"),
    ],
)
@pytest.mark.parametrize("count", [1, 3, 4, 5, 12, 13, 400])
def test_every_input_arrives_at_its_own_call(make, count):
    inputs = [make(n) for n in range(count)]

    results = pointsman.execute(number_of, inputs, backend="processes", chunksize=count)

    assert results == list(range(count))


@given(st.lists(st.lists(st.text() | st.binary(max_size=3000) | st.integers(), max_size=4), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_lists_of_arguments_arrive(inputs):
    results = pointsman.map(joined, inputs, range(len(inputs)), backend="processes", chunksize=len(inputs))

    assert list(results) == list(map(joined, inputs, range(len(inputs))))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n, shared: [n, shared], id="in a list"),
        pytest.param(lambda n, shared: (n, shared), id="in a tuple"),
        pytest.param(Task, id="in an attribute"),
    ],
)
def test_what_all_inputs_of_a_chunk_share_is_sent_once(make):
    shared = Shared()
    before = picklings

    results = pointsman.execute(
        number_of, [make(n, shared) for n in range(500)], backend="processes", chunksize=500, max_workers=1
    )

    assert results == list(range(500))
    assert picklings == before + 1


def test_what_they_share_out_of_sight_is_sent_a_few_times():
    shared = Shared(100_000)
    before = picklings

    results = pointsman.execute(
        number_of, [[n, [[shared]]] for n in range(500)], backend="processes", chunksize=500, max_workers=1
    )

    assert results == list(range(500))
    assert picklings - before <= 3


def test_an_input_that_cannot_be_read_fails_itself_and_few_beside_it():
    inputs = [[n, Unreadable() if n == 200 else str(n) * 300] for n in range(400)]

    results = pointsman.execute(number_of, inputs, backend="processes", chunksize=400, on_error="return")

    failed = [n for n, result in enumerate(results) if isinstance(result, Exception)]
    assert 200 in failed
    assert len(failed) < 100
    assert all(result == n for n, result in enumerate(results) if n not in failed)
    assert isinstance(results[200], pointsman.UnreadableError)
    assert "not a number" in str(results[200])


def test_when_a_worker_dies_in_the_middle_of_a_group_the_others_of_it_run_elsewhere(tmp_path):
    inputs = [[n, str(tmp_path / "ended")] for n in range(300)]

    results = pointsman.execute(end_at, inputs, backend="processes", chunksize=300, on_error="return")

    assert isinstance(results[150], pointsman.WorkerDied)
    assert [result for result in results if not isinstance(result, Exception)] == [n for n in range(300) if n != 150]
