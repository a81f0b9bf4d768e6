"""A stretch of a list gives each input to one loop, or to whoever cuts it short.

What it does not know: who cuts, or why.
"""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import functions
import pointsman
from pointsman._stretch import Stretch


@given(
    length=st.integers(0, 40),
    start=st.integers(0, 40),
    count=st.integers(0, 40),
    taken=st.integers(0, 40),
    cut=st.booleans(),
)
def test_each_input_is_given_or_cut_off(length, start, count, taken, cut):
    whole = [object() for _ in range(length)]
    start, end = min(start, length), min(start + count, length)
    stretch = Stretch(whole, start, max(start, end))
    expected = whole[start:end]
    assert stretch[:2] == expected[:2]
    assert stretch[-1:] == expected[-1:]

    iterator = iter(stretch)
    given_out = [one for _, one in zip(range(taken), iterator, strict=False)]
    assert stretch.unreached() == len(expected) - len(given_out)
    rest = stretch.cut() if cut else []
    given_out += list(iterator)

    assert given_out + rest == expected
    assert len(stretch) == len(given_out)


def cut_into(stretch, rest):
    rest += stretch.cut()


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="loops are not cut short there")
def test_a_loop_that_another_thread_cuts_short_leaves_out_what_that_has():
    whole = list(range(300_000))
    for _ in range(20):
        stretch, rest = Stretch(whole, 1000, 299_000), []
        iterator = iter(stretch)
        cutter = threading.Timer(0.002, cut_into, (stretch, rest))
        cutter.start()
        made = [functions.square(item) for item in iterator]
        cutter.join()

        assert len(made) == len(stretch)
        assert [*made, *map(functions.square, rest)] == [functions.square(item) for item in whole[1000:299_000]]


def test_a_list_of_tiny_calls_that_become_dear_gives_each_result_once():
    inputs = [0] * 60_000 + [30_000] * 100

    results, plan = pointsman.execute(functions.sum_up_to, inputs, return_optimization_result=True)

    assert results == [0] * 60_000 + [sum(range(30_000))] * 100
    assert plan.actual.calls == len(inputs)
