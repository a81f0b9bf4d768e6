"""`map`: lazy, bounded, and clean when it is left early.

What it does not know: what every backend promises alike (test_contract.py).
"""

import gc
import itertools
import time
from functools import partial

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)


class Counted:
    """An endless input that knows how much of it was taken."""

    def __init__(self):
        self.taken = 0
        self.closed = False

    def __iter__(self):
        try:
            for x in itertools.count():
                self.taken += 1
                yield x
        finally:
            self.closed = True


def test_nothing_is_taken_before_the_first_result_is_asked_for(backend):
    source = Counted()

    results = pointsman.map(functions.nap, source, backend=backend)

    assert source.taken == 0
    assert next(results) == 0


def test_map_gives_an_iterator(backend):
    results = pointsman.map(functions.square, [1, 2], backend=backend)

    assert iter(results) is results
    assert list(results) == [1, 4]


def looked_ahead(backend):
    source = Counted()
    results = pointsman.map(functions.nap, source, backend=backend)

    ahead = []
    for expected in range(60):
        assert next(results) == expected
        ahead.append(source.taken - expected - 1)
    results.close()
    return max(ahead)


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_what_the_inputs_raise_comes_after_the_results_where_the_caller_only_waits(place):
    def data():
        yield from range(30)
        raise LookupError("no more of them")

    results = pointsman.map(functions.nap, data(), backend=place, max_workers=3)
    got = list(itertools.islice(results, 30))

    assert got == list(range(30))
    with pytest.raises(LookupError, match="no more of them"):
        next(results)


def test_an_endless_input_gives_results_and_is_looked_at_a_bounded_way_ahead(backend):
    # Calls of 5 ms: a look ahead of more than this would be seconds of work that nobody may want. Once more, since on a
    # loaded machine the first calls may be mistaken for short ones.
    assert any(looked_ahead(backend) <= 200 for _ in range(3))


def test_tiny_calls_on_an_endless_input_are_looked_at_a_bounded_way_ahead(backend):
    source = Counted()
    results = pointsman.map(functions.square, source, backend=backend)

    assert list(itertools.islice(results, 1000)) == [x * x for x in range(1000)]
    results.close()
    assert source.taken < 500_000


@pytest.mark.parametrize("buffersize", [1, 2, 5, 16])
def test_no_more_inputs_are_taken_ahead_than_the_buffer_holds(backend, buffersize):
    source = Counted()
    results = pointsman.map(functions.nap, source, backend=backend, buffersize=buffersize)

    ahead = []
    for expected in range(50):
        assert next(results) == expected
        ahead.append(source.taken - expected - 1)
    results.close()

    assert max(ahead) <= buffersize


@pytest.mark.parametrize("buffersize", [1, 10])
def test_no_more_tiny_calls_are_taken_ahead_than_the_buffer_holds(backend, buffersize):
    source = Counted()
    results = pointsman.map(functions.square, source, backend=backend, buffersize=buffersize)

    ahead = []
    for expected in range(2000):
        assert next(results) == expected * expected
        ahead.append(source.taken - expected - 1)
    results.close()

    assert max(ahead) <= buffersize


@pytest.mark.parametrize("buffersize", [1, 2, 1000])
@pytest.mark.parametrize("chunksize", [None, 1, 5])
def test_buffer_and_chunk_size_do_not_change_the_results(backend, buffersize, chunksize):
    results = pointsman.map(
        functions.square, range(200), backend=backend, buffersize=buffersize, chunksize=chunksize, max_workers=2
    )

    assert list(results) == [x * x for x in range(200)]


def test_a_list_is_mapped_lazily_too(backend, tmp_path):
    path = tmp_path / "calls"
    results = pointsman.map(partial(functions.note_and_nap, str(path)), list(range(5000)), backend=backend)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    pointsman.execute(functions.square, range(10), backend=backend)

    assert len(path.read_text().splitlines()) < 500


def test_leaving_a_loop_early_leaves_nothing_behind(backend):
    source = Counted()
    for result in pointsman.map(functions.nap, source, backend=backend):
        if result == 5:
            break
    gc.collect()
    taken = source.taken

    assert pointsman.execute(functions.square, range(50), backend=backend) == [x * x for x in range(50)]
    assert source.taken == taken
    assert source.closed


def test_many_maps_left_early_do_not_pile_up(backend):
    for start in range(30):
        results = pointsman.map(functions.nap, itertools.count(start), backend=backend)
        assert next(results) == start
        results.close()

    assert pointsman.execute(functions.square, range(50), backend=backend) == [x * x for x in range(50)]


def test_a_map_that_is_never_read_costs_nothing_and_says_nothing(backend):
    source = Counted()
    pointsman.map(functions.nap, source, backend=backend)
    gc.collect()

    assert source.taken == 0


def test_a_slow_consumer_does_not_lose_results(backend):
    results = []
    for result in pointsman.map(functions.square, range(12), backend=backend):
        functions.nap(0)
        results.append(result)

    assert results == [x * x for x in range(12)]


def test_results_of_a_slow_input_arrive_before_its_next_item(backend):
    given = []

    def slow():
        for x in range(8):
            given.append(x)
            yield x
            functions.nap(0)

    results = pointsman.map(functions.square, slow(), backend=backend, buffersize=1)

    for expected in range(8):
        assert next(results) == expected**2
        assert len(given) <= expected + 2


def test_several_iterables_may_be_endless(backend):
    results = pointsman.map(functions.add, itertools.count(), itertools.count(1), backend=backend)

    assert list(itertools.islice(results, 100)) == [2 * x + 1 for x in range(100)]
    results.close()


def test_an_exception_of_the_input_comes_after_the_results_before_it(backend):
    def data():
        yield from range(30)
        raise LookupError("the input has a hole")

    got = []
    with pytest.raises(LookupError, match="hole"):
        for result in pointsman.map(functions.square, data(), backend=backend, buffersize=1):
            got.append(result)

    assert got == [x * x for x in range(len(got))]
    assert len(got) >= 28


def test_an_input_may_itself_use_pointsman(backend):
    squares = pointsman.map(functions.square, range(50), backend=backend)
    results = pointsman.map(functions.add, squares, range(50), backend=backend)

    assert list(results) == [x * x + x for x in range(50)]


def test_exceptions_as_results_do_not_end_the_map(backend):
    results = pointsman.map(functions.fail_if_odd, itertools.count(), backend=backend, on_error="return")

    assert [type(x).__name__ for x in itertools.islice(results, 6)] == ["int", "Boom"] * 3
    results.close()


RUNS = {
    "execute": pointsman.execute,
    "map": lambda *args, **how: list(pointsman.map(*args, **how)),
    "as they are ready": lambda *args, **how: pointsman.execute(*args, ordered=False, **how),
    "a window": lambda *args, **how: list(pointsman.map(*args, buffersize=64, **how)),
}


def counted(seconds):
    """Return a call that waits, and a list that it adds to how many of its kind run."""
    running, most = set(), []

    def wait(n):
        running.add(n)
        most.append(len(running))
        time.sleep(seconds)
        running.discard(n)
        return n

    return wait, most


ON_THREADS = pytest.mark.parametrize("how", [{"backend": "threads"}, {"backend": "threads", "max_workers": 6}], ids=str)


@pytest.mark.parametrize("name", RUNS)
@ON_THREADS
def test_calls_on_inputs_of_a_generator_wait_side_by_side(name, how):
    wait, most = counted(0.01)

    RUNS[name](wait, (n for n in range(120)), **how)

    assert max(most) >= 4


@pytest.mark.parametrize("name", RUNS)
@ON_THREADS
def test_calls_go_on_while_a_generator_takes_its_time(name, how):
    wait, most = counted(0.03)

    def numbers():
        for n in range(40):
            time.sleep(0.005)
            yield n

    RUNS[name](wait, numbers(), **how)

    # The caller gets inputs and makes no calls meanwhile: each lasts as long as six of the generator's steps.
    assert max(most) >= 3
