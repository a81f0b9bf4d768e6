"""Whatever pickle can carry comes back from a worker as pickle would bring it back; on a thread it is the same object.

What it does not know: how values are encoded.
"""

import copy
import datetime
import decimal
import fractions
import pickle
import uuid
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import functions
import pointsman
from functions import Boom, Colour, Label, Pair

pytestmark = pytest.mark.timeout(120)

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=()), max_size=30)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**66),
    st.integers(min_value=-(2**66), max_value=-(2**62)),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=40),
    st.builds(bytearray, st.binary(max_size=40)),
    st.sampled_from([*Colour, Label("label"), ..., NotImplemented, int, len, functions.square]),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.datetimes(),
    st.timedeltas(),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)),
)
# What hashes, and equals itself only when it is the same value.
keys = st.one_of(
    st.none(), st.booleans(), st.integers(), texts, st.binary(max_size=10), st.tuples(st.integers(), texts)
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
        st.sets(keys, max_size=5),
        st.frozensets(keys, max_size=5),
        st.builds(Pair, inner, inner),
    )


values = st.recursive(scalars, nested, max_leaves=25)


def shape(value: Any) -> Any:
    """A value with the types of all its parts, comparable: NaN equals itself and 0.0 is not -0.0."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, [(shape(key), shape(part)) for key, part in value.items()]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(shape(part)) for part in value)
    if isinstance(value, (list, tuple)):
        return kind, [shape(part) for part in value]
    return kind, repr(value)


@QUICK
@given(st.lists(values, min_size=1, max_size=6))
def test_values_come_back_from_processes_as_pickle_would_bring_them(items):
    expected = pickle.loads(pickle.dumps(items))

    results = pointsman.execute(functions.same, items, backend="processes", max_workers=2)

    assert shape(results) == shape(expected)


@QUICK
@given(values, st.dictionaries(st.sampled_from(["a", "self", "fn", "backend"]), values))
def test_arguments_of_submit_reach_the_call_as_pickle_would_bring_them(value, keywords):
    future = _executor().submit(functions.takes, value, **keywords)

    assert shape(future.result()) == shape(pickle.loads(pickle.dumps(((value,), keywords))))


_made: list[pointsman.Executor] = []


def _executor() -> pointsman.Executor:
    if not _made:
        _made.append(pointsman.Executor(1, backend="processes"))
    return _made[0]


@pytest.fixture(scope="module", autouse=True)
def _end_the_executor():
    yield
    for executor in _made:
        executor.shutdown()
    _made.clear()


@QUICK
@given(st.lists(values, min_size=1, max_size=6))
@pytest.mark.parametrize("place", ["inline", "threads"])
def test_values_come_back_from_this_process_as_the_same_objects(place, items):
    results = pointsman.execute(functions.same, items, backend=place, max_workers=2)

    assert len(results) == len(items)
    assert all(result is item for result, item in zip(results, items, strict=True))


@QUICK
@given(st.lists(values, min_size=1, max_size=4))
def test_sending_values_does_not_change_them(items):
    before = shape(copy.deepcopy(items))

    pointsman.execute(functions.same, items, backend="processes", max_workers=2)

    assert shape(items) == before


class Holder:
    def __init__(self, value):
        self.value = value

    def give(self, _):
        return self.value


def partial_of(value):
    return partial(given_first, value)


def given_first(value, _):
    return value


def method_of(value):
    return Holder(value).give


def closure_over(value):
    return lambda _: value


large = st.builds(lambda kind, seed, repeat: kind(seed * repeat), st.sampled_from([bytes, bytearray]),
                  st.binary(min_size=1, max_size=20), st.integers(1, 20_000))  # fmt: skip


@settings(QUICK, max_examples=40)
@given(st.one_of(values, large, st.lists(large, max_size=3)))
@pytest.mark.parametrize("carry", [partial_of, method_of, closure_over])
def test_what_a_function_carries_reaches_the_call_as_pickle_would_bring_it(carry, value):
    results = pointsman.execute(carry(value), range(3), backend="processes", max_workers=2)

    expected = shape(pickle.loads(pickle.dumps(value)))
    assert [shape(result) for result in results] == [expected] * 3


@QUICK
@given(st.binary(max_size=64), st.integers(0, 3), st.integers(1, 5000))
def test_large_buffers_come_back_whole(seed, kind, repeat):
    content = (seed or b"x") * repeat
    value = [content, bytearray(content), content.decode("latin-1"), (content, [content])][kind]

    [result] = pointsman.execute(functions.same, [value], backend="processes", max_workers=2)

    assert result == value
    assert type(result) is type(value)


@QUICK
@given(texts, st.integers(), st.lists(texts, max_size=3))
def test_an_exception_comes_back_with_its_arguments_and_notes(text, code, notes):
    def call(_):
        error = Boom(text, code)
        for note in notes:
            error.add_note(note)
        raise error

    [error] = pointsman.execute(call, [0], backend="processes", on_error="return")

    assert type(error) is Boom
    assert error.args == (text, code)
    assert error.code == code
    assert getattr(error, "__notes__", []) == notes


def test_the_comparison_of_these_tests_tells_apart_what_it_must():
    different = [0, 0.0, -0.0, False, "0", b"0", bytearray(b"0"), [0], (0,), {0}, frozenset({0}), {0: 0}, Label("0")]

    assert len({repr(shape(value)) for value in different}) == len(different)
    assert shape(float("nan")) == shape(float("nan"))
    assert shape(decimal.Decimal("1.0")) != shape(decimal.Decimal("1.00"))
    assert shape(fractions.Fraction(1, 2)) != shape(0.5)
    assert shape(datetime.datetime(2020, 1, 1)) != shape(datetime.date(2020, 1, 1))  # noqa: DTZ001 - naive on purpose
    assert shape(uuid.UUID(int=1)) != shape(1)
