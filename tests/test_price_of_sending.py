"""What it takes to send a call is part of its price: the pickling and unpickling of objects, and the bytes of arrays.

What it does not know: how long any of that takes on this machine, but for which takes longer.
"""

import sys
import time
from functools import partial

import pytest

import pointsman
from pointsman import _machine, _switching
from pointsman._measure import Meter
from pointsman._measure import carried as carried_by

pytestmark = pytest.mark.timeout(60)


def make_array(number):
    import numpy

    return numpy.full(200_000, number / 3)


def price(arguments, results=(0,)):
    meter = Meter()
    meter.size(list(arguments), list(results))
    meter.close()
    return meter.pack


def total(pairs):
    return sum(a * b for a, b in pairs)


class Cell:
    def __init__(self, n):
        self.n = n


def test_many_objects_are_dearer_than_as_many_bytes_of_plain_values():
    objects = [Cell(n) for n in range(1000)]

    assert price([objects]) > 5 * price([bytes(20_000)])


def test_large_buffers_cost_what_their_bytes_do_though_pickle_does_not_copy_them():
    numpy = pytest.importorskip("numpy")
    small, large = numpy.zeros(10), numpy.zeros(1 << 20)

    assert price([0], [large]) > 10 * price([0], [small])
    assert price([large]) > 10 * price([small])


def test_arguments_that_are_sent_many_at_a_time_do_not_each_pay_for_the_beginning():
    assert price([[1]], [0]) < price([0], [[1]])


def test_workers_that_save_fresh_memory_are_not_chosen_before_it_is_known_what_they_would_send():
    pytest.importorskip("numpy")

    for _ in range(3):
        plan = pointsman.optimize(make_array, range(400))
        assert plan.observation.result_bytes > 1_000_000 or plan.backend in {"inline", "threads"}


def computes(_carried, number):
    return sum(k * number for k in range(2_000))


def test_what_the_function_carries_is_part_of_the_price(monkeypatch):
    numpy = pytest.importorskip("numpy")
    # As every machine is taken to be before anything has been measured there.
    monkeypatch.setattr(_machine, "constants", dict)
    table = numpy.ones(20 << 20)
    empty = table[:0]

    carried = pointsman.optimize(partial(computes, table), range(30_000))
    free = pointsman.optimize(partial(computes, empty), range(30_000))

    starts = [min(c.start_up for c in plan.candidates if c.backend == "processes") for plan in (carried, free)]
    # To send 160 MB takes more than a tenth of a second, and as long to unpack them.
    assert starts[0] > starts[1] + 0.2
    assert any("carries 168 MB" in reason for reason in carried.reasons)
    assert not any("carries" in reason for reason in free.reasons)


@pytest.mark.parametrize(
    ("function", "least"),
    [(computes, 0), (len, 0), (partial(computes, bytes(10_000)), 10_000), (Cell(bytes(10_000)).__init__, 10_000)],
    ids=["a function", "a builtin", "a partial", "a method"],
)
def test_what_a_function_carries_is_what_is_pickled_with_it(function, least):
    carried, seconds = carried_by(function)

    assert least <= carried <= least + 1_000
    assert (carried > 0) == (seconds > 0) == (least > 0)


def test_what_sending_costs_is_remembered_for_the_next_job():
    rows = [[(i, j) for j in range(300)] for i in range(2000)]

    first = pointsman.optimize(total, rows)
    pointsman.execute(total, rows)
    again = pointsman.execute(total, rows, return_optimization_result=True)[1]

    assert again.observation.pack > first.observation.pack / 5 > 0


def test_what_the_first_pickling_imports_is_no_part_of_the_price(monkeypatch):
    from pointsman import _transport

    dumps, slept = _transport.dumps_with_buffers, []

    def slow_at_first(value, **how):
        if not slept:
            slept.append(time.sleep(0.05))
        return dumps(value, **how)

    monkeypatch.setattr(_transport, "dumps_with_buffers", slow_at_first)

    assert price([Cell(1)]) < 0.02


@pytest.mark.skipif(sys.platform != "linux", reason="nobody counts switches here")
@pytest.mark.parametrize("gives_up", [True, False])
def test_only_who_gives_up_the_core_is_taken_to_wait(monkeypatch, gives_up):
    if not gives_up:
        # As on a machine that stands still meanwhile.
        monkeypatch.setattr(_switching, "of_thread", lambda: 7)
    meter = Meter()
    meter.begin(look=True)
    time.sleep(0.05)
    meter.end(1, keep=True)
    waited = meter.observation().wait
    meter.close()

    assert (waited > 0.02) is gives_up


class Forgetful(Cell):
    def __init__(self, n):
        super().__init__(n)
        self.double = 2 * n

    def __getstate__(self):
        return {"n": self.n}


class Restoring(Forgetful):
    def __setstate__(self, state):
        self.__init__(**state)


@pytest.mark.parametrize(("kind", "stays"), [(Cell, False), (Forgetful, True), (Restoring, False)])
def test_objects_of_which_pickle_leaves_out_a_part_stay(kind, stays):
    meter = Meter()
    meter.size([kind(1)], [0])
    given, meter.cannot_travel = meter.cannot_travel, False
    meter.size([0], [kind(1)])
    meter.close()

    assert (given, meter.cannot_travel) == (stays, stays)
