"""Inputs of an iterator that depend on the calls: each is taken when the call of the one before is over.

What it does not know: how many calls make a batch.
"""

import collections
import itertools

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)

PLACES = pytest.mark.parametrize("place", ["auto", "inline"])


def run(entry, function, inputs, place):
    return list(entry(function, inputs, backend=place))


ENTRIES = pytest.mark.parametrize("entry", [pointsman.execute, pointsman.map])


@PLACES
@ENTRIES
def test_the_groups_of_a_grouping_are_whole(entry, place):
    rows = [(number // 3, number) for number in range(3000)]

    sizes = run(entry, lambda group: len(list(group[1])), itertools.groupby(rows, key=lambda row: row[0]), place)

    assert sizes == [3] * 1000


def test_inputs_that_are_iterators_stay_on_the_callers_thread_however_long_their_calls_take():
    rows = [(number // 3, number) for number in range(90)]
    groups = (group for _key, group in itertools.groupby(rows, key=lambda row: row[0]))

    results, plan = pointsman.execute(
        lambda group: (functions.nap(0), len(list(group)))[1], groups, return_optimization_result=True
    )

    assert results == [3] * 30
    assert plan.backend == "inline"
    assert any("good only until the next" in (way.struck_out or "") for way in plan.candidates)


@PLACES
@ENTRIES
def test_a_call_may_add_to_the_inputs(entry, place):
    queue = collections.deque([1])

    def work():
        while queue:
            yield queue.popleft()

    def visit(node):
        if node < 1 << 10:
            queue.extend((2 * node, 2 * node + 1))
        return node

    assert run(entry, visit, work(), place) == list(range(1, 1 << 11))


@PLACES
def test_a_buffer_that_is_filled_again_for_each_input_is_read_in_time(place):
    buffer = []

    def fill():
        for number in range(5000):
            buffer[:] = [number]
            yield buffer

    assert pointsman.execute(sum, fill(), backend=place) == list(range(5000))


@PLACES
def test_what_an_iterator_raises_is_no_result_of_a_call(place):
    def inputs():
        yield from range(100)
        raise LookupError("no more of them")

    with pytest.raises(LookupError, match="no more of them"):
        pointsman.execute(functions.square, inputs(), backend=place, on_error="return")


def test_what_the_inputs_take_is_not_counted_as_the_calls():
    def slow():
        for number in range(30):
            functions.nap(number)
            yield number

    plan = pointsman.execute(functions.square, slow(), return_optimization_result=True)[1]

    assert plan.backend == "inline"
    assert plan.observation is None or plan.observation.wait < 1e-3
