"""However inputs are taken: each is given once, in its order but for those that were asked for ahead of it.

What it does not know: who takes inputs, and why.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman._source import Source

pytestmark = pytest.mark.timeout(120)

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["take", "stretch", "put_back"]), st.integers(1, 30)),
        st.tuples(st.sampled_from(["ahead", "one ahead, the others not"]), st.integers(1, 4)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(
    count=st.integers(0, 60),
    container=st.sampled_from([range, lambda n: [*range(n)], lambda n: (*range(n),)]),
    steps=steps,
)
def test_each_input_is_given_once_and_in_its_order(count, container, steps):
    source = Source((container(count),))
    given_out, early = [], []
    for what, number in steps:
        if what in ("take", "stretch"):
            given_out += source.take(number, brief=True) if what == "take" else source.stretch(number)
        elif what == "put_back":
            back = given_out[-number:]
            del given_out[-number:]
            source.put_back(back)
        else:
            taken = [place for place, item in source.ahead(number) if item == place]
            kept = 1 if what == "one ahead, the others not" else number
            early += taken[:kept]
            for place in taken[kept:]:
                source.restore(place)

        assert source.left() == count - len(given_out) - len(early)
        assert source.given == len(given_out)
    while items := source.stretch(7):
        given_out += items

    assert given_out == sorted(given_out)
    assert sorted([*given_out, *early]) == [*range(count)]
    assert source.ended
    assert source.left() == 0
