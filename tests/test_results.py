"""Lists of results are what the parts were that they came in, each thing once.

What it does not know: who makes the parts.
"""

import gc
import weakref
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

import functions
import pointsman
from pointsman._results import Results


class Thing:
    pass


@given(
    sizes=st.lists(st.one_of(st.integers(0, 5), st.integers(1000, 3000)), max_size=12),
    total=st.one_of(st.none(), st.integers(0, 20_000)),
    gil=st.booleans(),
)
def test_results_are_all_parts_in_order_whatever_was_expected(sizes, total, gil):
    results, expected = Results(total), []
    results._moves = results._moves and gil
    for size in sizes:
        values = [Thing() for _ in range(size)]
        expected.append([id(value) for value in values])
        results.add(values)
        assert len(results) == sum(map(len, expected))
        del values

    whole = results.whole()

    assert [id(value) for value in whole] == list(chain.from_iterable(expected))
    # It is a list like any other.
    whole += [1]
    whole[:0] = [2]
    assert (whole.pop(), whole[0]) == (1, 2)


def test_each_result_goes_when_its_list_does():
    results, gone = Results(20_000), []
    for _part in range(10):
        values = [Thing() for _ in range(2_000)]
        gone += [weakref.ref(value) for value in values]
        results.add(values)
        del values
    whole = results.whole()

    assert all(ref() is not None for ref in gone)
    assert gc.is_tracked(whole)
    del whole, results
    gc.collect()
    assert all(ref() is None for ref in gone)


@pytest.mark.parametrize("where", ["auto", "inline", "threads", "processes"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_no_result_is_lost_whichever_way_the_calls_of_a_list_go(where, share):
    # Cheap, then dear, so that calls are made ahead, and given out between the others, where nobody chose.
    steps = [400] * int(4000 * (1 - share)) + [800] * int(4000 * share)

    assert pointsman.execute(functions.sum_up_to, steps, backend=where) == [sum(range(count)) for count in steps]
