"""What a call is seen to wait for, though looking at it made it wait.

What it does not know: when a running call is looked at, or what follows from it.
"""

from itertools import chain, repeat
from types import SimpleNamespace

import pytest

from pointsman import _measure, _switching
from pointsman._measure import Meter


class Probe:
    """A probe that says what it is told to."""

    def __init__(self, wall, cpu):
        self.seconds = {"wall": wall, "cpu": cpu}

    def begin(self, _interval):
        pass

    def sample(self):
        figures = dict.fromkeys(("other_cpu", "children_cpu", "flip"), 0.0)
        counts = dict.fromkeys(("samples", "on_cpu_samples", "threads_before", "threads_peak", "faults"), 0)
        return SimpleNamespace(held_share=1.0, held=self.seconds["cpu"], **figures, **counts, **self.seconds)

    peek = end = sample


@pytest.fixture
def meter(monkeypatch):
    # What the system says of this test's own thread has nothing to do with what the probe says.
    monkeypatch.setattr(_measure, "_queued_seconds", lambda _thread: 0.0)
    # These calls are made up, and no thread gives up its core in them.
    monkeypatch.setattr(_switching, "of_thread", lambda: None)
    made = Meter()
    made.close()
    return made


def measure(meter, wall, cpu, look=None):
    """Measure a call of which a look lasted so long, computed so long, and let it compute for so long."""
    meter.probe = Probe(wall, cpu)
    meter.begin(look=True)
    if look is not None:
        took, busy, ran = look
        before = SimpleNamespace(cpu=cpu - ran, wall=wall - took)
        meter.note_look(before, took, busy)
    meter.end(1, keep=True)
    return meter.observation()


def test_a_call_that_slept_while_it_was_looked_at_waited(meter):
    assert measure(meter, 0.010, 0.005, (0.005, 0.005, 0.0)).wait == pytest.approx(0.005)


def test_a_call_that_took_turns_with_a_look_did_not_wait(meter):
    assert measure(meter, 0.030, 0.020, (0.020, 0.010, 0.010)).wait == 0.0


def test_a_call_that_got_the_gil_a_little_less_often_than_a_look_did_not_wait(meter):
    assert measure(meter, 0.0215, 0.014, (0.0113, 0.0073, 0.0040)).wait == 0.0


def test_while_other_programs_keep_a_look_and_the_call_from_running_the_call_does_not_wait(meter):
    assert measure(meter, 0.063, 0.010, (0.047, 0.007, 0.004)).wait < 0.02


@pytest.mark.parametrize("look", [None, (0.025, 0.020, 0.0), (0.035, 0.012, 0.005)])
def test_a_call_that_a_look_outlasts_took_no_longer_for_that(look, meter, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(_measure, "perf_counter", lambda: clock[0])
    meter.probe = Probe(0.0, 0.0)
    meter.begin(look=True)
    clock[0] += 0.010
    meter.stop()
    clock[0] += 0.020
    meter.probe = Probe(0.030, 0.005)
    if look is not None:
        took, busy, ran = look
        meter.note_look(SimpleNamespace(cpu=0.005 - ran, wall=0.030 - took), took, busy)
    meter.end(1, keep=True)

    waited = meter.observation().wait
    assert waited == pytest.approx(0.005) if look is None or not look[2] else waited == 0.0


def test_a_first_call_like_the_next_counts_with_it(meter):
    measure(meter, 0.011, 0.0055)
    meter.forget()
    seen = measure(meter, 0.009, 0.0045)

    assert (seen.calls, seen.held) == (2, pytest.approx(0.005))


def test_a_first_call_unlike_the_next_is_forgotten(meter):
    measure(meter, 0.100, 0.090)
    meter.forget()
    seen = measure(meter, 0.010, 0.001)

    assert (seen.calls, seen.held) == (1, pytest.approx(0.001))


def begun(meter, wall, cpu):
    """What is known of a call that has lasted so long."""
    meter.probe = Probe(wall, cpu)
    meter.begin(look=True)
    return meter.partial(meter.peek(), 1, partial=True)


def test_a_call_that_computes_as_the_first_one_did_is_expected_to_wait_as_that(meter):
    first = measure(meter, 0.010, 0.005)
    meter.forget()
    part = begun(meter, 0.005, 0.005)

    assert meter.like_the_first(first, part).wait == pytest.approx(0.005)


@pytest.mark.parametrize(("wall", "cpu"), [(0.500, 0.004), (0.020, 0.020)], ids=["waited", "computes"])
def test_a_call_that_does_something_for_longer_than_the_first_one_is_not_expected_to_be_like_that(wall, cpu, meter):
    first = measure(meter, 0.010, 0.005)
    meter.forget()
    part = begun(meter, wall, cpu)
    meter.computing = 1.0

    assert meter.like_the_first(first, part) is None


def test_a_call_that_sleeps_waited_though_the_system_says_that_it_waited_for_a_core(meter, monkeypatch):
    heard = chain([0.0], repeat(0.005))
    monkeypatch.setattr(_measure, "_queued_seconds", lambda _thread: next(heard))

    assert measure(meter, 0.0051, 0.0001).wait == pytest.approx(0.0048)


def test_a_call_that_computed_beside_other_programs_did_not_wait(meter, monkeypatch):
    heard = chain([0.0], repeat(0.008))
    monkeypatch.setattr(_measure, "_queued_seconds", lambda _thread: next(heard))

    assert measure(meter, 0.013, 0.005).wait == 0.0
