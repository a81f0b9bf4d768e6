"""Inputs of an iterator that depend on the calls: each is taken when the call of the one before is over.

What it does not know: how many calls make a batch.
"""

import collections
import itertools

import pytest

import functions
import pointsman
from pointsman._source import Source

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

    # The inputs' waits would be 14 ms for each call. A machine that stalls adds to some calls, which may then go away.
    assert plan.backend != "threads"
    assert plan.observation is None or plan.observation.wait < 5e-3


def slow_sum(numbers, more=()):
    return sum(range(3000)) * 0 + sum(numbers) + sum(more)


def refilled(count):
    buffer = [0]
    for number in range(count):
        buffer[0] = number
        yield buffer


@pytest.mark.parametrize("again", [False, True])
def test_a_buffer_that_is_filled_again_keeps_calls_here_that_would_be_worth_sending(again):
    if again:
        # What was learnt of such calls spares measuring them, and not looking at the inputs.
        pointsman.execute(slow_sum, [[number] for number in range(400)])

    results, plan = pointsman.execute(slow_sum, refilled(2000), return_optimization_result=True)

    assert results == list(range(2000))
    assert plan.backend == "inline"


def by_turns(count):
    buffers = [[0], [0]]
    for number in range(count):
        buffers[number % 2][0] = number
        yield buffers[number % 2]


def views(count):
    numpy = pytest.importorskip("numpy")
    buffer = numpy.zeros(100)
    for number in range(count):
        buffer[0] = number
        yield buffer[:10]


@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        (lambda pair: slow_sum(pair[1]), lambda: enumerate(refilled(1000))),
        (lambda pair: slow_sum(pair[1]), lambda: zip(range(1000), refilled(1000), strict=True)),
        (lambda row: slow_sum(row["of"]), lambda: ({"of": buffer} for buffer in refilled(1000))),
        (slow_sum, lambda: by_turns(1000)),
        (slow_sum, lambda: views(1000)),
    ],
    ids=["enumerate", "zip", "dictionary", "by turns", "views"],
)
def test_so_does_one_that_is_part_of_the_inputs(call, inputs, learnt):
    expected = list(map(call, inputs()))
    for _ in range(2 if learnt else 1):
        assert pointsman.execute(call, inputs()) == expected
        assert list(pointsman.map(call, inputs())) == expected


def test_so_does_one_of_several_inputs():
    results = pointsman.map(slow_sum, [[number] for number in range(1000)], refilled(1000))

    assert list(results) == [2 * number for number in range(1000)]


@pytest.mark.parametrize(
    "inputs",
    [
        lambda: ([number] for number in range(300)),
        lambda: itertools.repeat([1], 300),
        lambda: (SAME for _ in range(300)),
        lambda: (5 * [number // 100] for number in range(300)),
    ],
    ids=["new ones", "repeat", "the same, unchanged", "equal ones"],
)
def test_inputs_of_an_iterator_that_stay_as_they_are_keep_nothing_here(inputs):
    plan = pointsman.optimize(slow_sum, inputs(), sample_size=5)

    assert "filled anew" not in str(plan)


@pytest.mark.parametrize("size", [1, 2])
def test_a_sample_of_so_few_is_kept_to_and_the_results_are_right(size):
    results, plan = pointsman.execute(slow_sum, refilled(500), sample_size=size, return_optimization_result=True)

    assert results == list(range(500))
    assert plan.observation is None or plan.observation.calls == size


def test_a_plan_says_that_inputs_are_filled_anew():
    assert "filled anew" in str(pointsman.optimize(slow_sum, refilled(300), sample_size=5))


SAME = [1, 2, 3]


def test_what_an_iterator_waited_for_is_not_taken_for_its_computing():
    def slow():
        for number in range(4):
            functions.nap(number)
            yield number

    source = Source((slow(),))
    taken = list(source.in_turn(4, 10.0, timed=True))

    assert taken == list(range(4))
    assert source.wall > 3 * 4e-3
    assert source.cpu < source.wall / 8


@pytest.mark.parametrize("quick", [10, 100])
def test_one_object_filled_anew_is_seen_also_after_many_inputs_that_nobody_can_fill(quick):
    def rows():
        yield from range(quick)
        row = [0]
        for number in range(100):
            row[0] = number
            yield row

    results = pointsman.execute(first_after_a_nap, rows())

    assert results[quick:] == list(range(100))


def first_after_a_nap(row):
    if type(row) is int:
        return row
    functions.nap(0)
    return row[0]
