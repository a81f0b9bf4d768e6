"""Whatever was measured, and whatever advice comes after the price: calls that others would miss are not sent away.

What it does not know: what a place costs.
"""

from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman import _default, _machine, _native
from pointsman._engine import Run
from pointsman._job import Job
from pointsman._measure import Meter

pytestmark = pytest.mark.timeout(120)

SEEN: list[int] = []

seconds = st.floats(0, 0.05)
machines = st.builds(lambda cores: _machine.facts()._replace(cores=cores), st.sampled_from([2, 3, 8]))
observations = st.builds(
    _native.Observation,
    calls=st.integers(1, 20),
    held=seconds,
    free=seconds,
    wait=seconds,
    longest=seconds,
    other_threads=st.sampled_from([0.0, 1e-4, 1e-3, 0.02]),
    argument_bytes=st.just(8.0),
    result_bytes=st.just(8.0),
    partial=st.booleans(),
)


def remember(x):
    SEEN.append(x)
    return x


def only_reads(x):
    return x + len(SEEN)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seen=observations,
    facts=machines,
    left=st.integers(1, 2000),
    running=st.sampled_from([0, 2, 3]),
    adjust=st.booleans(),
    prefer=st.booleans(),
)
def test_a_function_that_writes_what_others_read_is_never_sent_to_another_process(
    seen, facts, left, running, adjust, prefer
):
    run = Run(Job(remember, (range(2000),), nested=adjust, prefer_threads=prefer))
    run._meter = Meter()
    try:
        with (
            mock.patch.object(_machine, "facts", return_value=facts),
            mock.patch.object(_default, "processes_running", return_value=running),
        ):
            plan = run.decide(left=left, seen=seen)
    finally:
        run._meter.close()

    assert plan.backend in ("inline", "threads")


@pytest.mark.parametrize(
    ("function", "adjust", "backend"),
    [(only_reads, False, "threads"), (only_reads, True, "processes"), (remember, True, "inline or threads")],
)
def test_what_advice_changes_to_processes_is_read_first(function, adjust, backend):
    # Of calls that keep another core busy fewer threads may run than were chosen; processes are faster than those.
    seen = _native.Observation(calls=5, held=1e-4, free=1e-3, wait=0.0, other_threads=4.5e-4, longest=1.1e-3)
    run = Run(Job(function, (range(200),), nested=adjust))
    run._meter = Meter()
    facts = _machine.facts()._replace(cores=2)
    with (
        mock.patch.object(_machine, "facts", return_value=facts),
        mock.patch.object(_default, "processes_running", return_value=3),
    ):
        plan = run.decide(left=200, seen=seen)
    run._meter.close()

    assert plan.backend in backend.split(" or ")
