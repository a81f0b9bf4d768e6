"""Any input, any options: `execute` and `map` give what a plain loop gives.

What it does not know: where the calls ran.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import functions
import pointsman
from functions import Boom

pytestmark = pytest.mark.timeout(120)

MANY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

inputs = st.lists(st.integers(-1000, 1000), max_size=80)
options = st.fixed_dictionaries(
    {},
    optional={
        "max_workers": st.integers(1, 4),
        "chunksize": st.integers(1, 100),
    },
)
containers = st.sampled_from([list, tuple, iter, lambda data: (x for x in data)])


@MANY
@given(data=inputs, given_options=options, container=containers)
def test_execute_gives_what_a_list_comprehension_gives(backend, data, given_options, container):
    assert pointsman.execute(functions.affine, container(data), backend=backend, **given_options) == [
        functions.affine(x) for x in data
    ]


@MANY
@given(data=inputs, given_options=options, buffersize=st.none() | st.integers(1, 50), container=containers)
def test_map_gives_what_the_built_in_gives(backend, data, given_options, buffersize, container):
    results = pointsman.map(functions.affine, container(data), backend=backend, buffersize=buffersize, **given_options)

    assert list(results) == list(map(functions.affine, data))


@MANY
@given(left=inputs, right=inputs, given_options=options)
def test_map_over_two_inputs_gives_what_the_built_in_gives(backend, left, right, given_options):
    results = pointsman.map(functions.add, left, right, backend=backend, **given_options)

    assert list(results) == list(map(functions.add, left, right))


@MANY
@given(data=inputs, bad=st.frozensets(st.integers(-1000, 1000), max_size=300), given_options=options)
def test_the_exception_is_that_of_the_first_bad_item(backend, data, bad, given_options):
    first = next((n for n, x in enumerate(data) if x in bad), None)

    got = []
    try:
        got.extend(pointsman.map(functions.FailsAt(bad), data, backend=backend, **given_options))
    except Boom as error:
        assert first is not None
        assert error.code == data[first]
        assert got == data[:first]
    else:
        assert first is None
        assert got == data


@MANY
@given(data=inputs, bad=st.frozensets(st.integers(-1000, 1000), max_size=300), given_options=options)
def test_exceptions_as_results_stand_where_their_items_stood(backend, data, bad, given_options):
    results = pointsman.execute(functions.FailsAt(bad), data, backend=backend, on_error="return", **given_options)

    assert [(x.code if isinstance(x, Boom) else x) for x in results] == data
    assert [isinstance(x, Boom) for x in results] == [x in bad for x in data]


@MANY
@given(count=st.integers(0, 200), stop=st.integers(0, 200), given_options=options)
def test_leaving_a_map_at_any_place_gives_the_results_before_it(backend, count, stop, given_options):
    results = pointsman.map(functions.affine, iter(range(count)), backend=backend, **given_options)

    got = [result for _, result in zip(range(stop), results, strict=False)]
    results.close()

    assert got == [functions.affine(x) for x in range(min(stop, count))]


@MANY
@given(data=inputs, sample_size=st.integers(1, 100), seconds=st.floats(1e-6, 1.0))
def test_how_a_job_is_measured_does_not_change_what_it_gives(data, sample_size, seconds):
    results = pointsman.execute(functions.affine, data, sample_size=sample_size, target_chunk_duration=seconds)

    assert results == [functions.affine(x) for x in data]
