"""Jobs of calls that cannot last are over before anybody could look at one, and tell from their code that they are."""

from __future__ import annotations

import math
import opcode
import sys
import time
from functools import partial
from math import sqrt

import pytest

import functions
import pointsman
from pointsman import _engine
from pointsman._brief import _BACKWARD, is_brief

FACTOR = 3
LIST = [1, 2, 3]


def small_negative(x):
    return -x if x > FACTOR else abs(x) ** 2 + round(x / 7, 2)


def with_mathematics(x):
    return sqrt(x) + math.sin(x) * math.pi


def loops(x):
    while x > 0:
        x -= 1
    return x


def goes_through(x):
    return [n + 1 for n in range(x)]


def sleeps(x):
    time.sleep(x)


def calls_another(x):
    return small_negative(x)


def reads_a_list(x):
    return x in LIST


def huge(x):
    return math.factorial(x)


def has_an_attribute(x):
    return x.real


def yields(x):
    yield x


async def waits(x):
    return x


def by_default(x, y=LIST):
    return x + y


def makes_a_function(x):
    return lambda: x


def enclosing():
    factor = [1]
    return lambda x: x * factor


@pytest.mark.parametrize(
    "function", [small_negative, with_mathematics, functions.square, abs, float, sqrt, lambda x: x]
)
def test_calls_without_loops_of_what_is_over_in_a_moment_are_brief(function):
    assert is_brief(function, range(100)) == (type(function) is not type)


@pytest.mark.parametrize(
    "function",
    [
        loops, goes_through, sleeps, calls_another, reads_a_list, huge, has_an_attribute, yields, waits, by_default,
        makes_a_function, enclosing(), partial(small_negative, 1), time.sleep, math.factorial, print, sum, str.upper,
    ],
    ids=lambda function: getattr(function, "__name__", "partial"),
)  # fmt: skip
def test_what_may_last_is_not_brief(function):
    assert not is_brief(function, range(100))


@pytest.mark.parametrize("items", [[1, 2.0, None, True], (1, 2), range(9)])
def test_numbers_are_brief_inputs(items):
    assert is_brief(functions.square, items)


@pytest.mark.parametrize("items", [["text"], [[1]], [1] * 50 + [b"bytes"] * 50, [LIST]])
def test_what_may_be_large_is_no_brief_input(items):
    assert not is_brief(functions.square, items)


def test_a_name_that_the_module_has_replaced_is_what_it_is_there():
    names = {"abs": time.sleep}
    exec("def shadowed(x): return abs(x)", names)  # noqa: S102 - a module of its own

    assert not is_brief(names["shadowed"], range(9))


def test_the_instructions_that_go_back_are_those_of_this_interpreter():
    version = sys.version_info[:2]
    backward = {number for name, number in opcode.opmap.items() if "BACKWARD" in name and "INSTRUMENTED" not in name}

    # A version that is not known yet has no brief calls.
    assert _BACKWARD.get(version, backward) == {number for number in backward if number < 256}


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_a_job_of_brief_calls_is_a_plain_loop_with_a_plan(count, monkeypatch):
    # On a busy machine a batch may take so long that it is given a closer look.
    monkeypatch.setattr(_engine, "perf_counter", lambda: 0.0)

    results, plan = pointsman.execute(small_negative, range(count), return_optimization_result=True)

    assert results == [small_negative(x) for x in range(count)]
    assert plan.backend == "inline"
    assert plan.actual.calls == count
    assert plan.observation.calls == count
    assert str(plan)


def test_an_exception_in_a_brief_call_is_raised_as_in_a_loop():
    with pytest.raises(ZeroDivisionError):
        pointsman.execute(lambda x: 1 / (x - 40), range(100))
    kept = pointsman.execute(lambda x: 1 / (x - 40), range(100), on_error="return")
    assert [type(result) for result in kept].count(ZeroDivisionError) == 1


def test_numbers_of_thousands_of_digits_are_noticed_and_measured():
    digits = 10**20_000

    plan = pointsman.execute(functions.square, [digits] * 400, return_optimization_result=True)[1]

    assert plan.observation.calls < 400


def test_who_asks_for_figures_gets_calls_that_were_looked_at():
    assert "GIL-held" in str(pointsman.optimize(functions.square, range(100)))
    plan = pointsman.execute(functions.square, range(100), profile=True, return_optimization_result=True)[1]
    assert plan.samples
