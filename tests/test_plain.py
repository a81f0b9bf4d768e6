"""Which values a thread of the library's own may pickle: those for which none of the user's code runs.

What it does not know: who pickles them, or when.
"""

import argparse
import datetime
import decimal
import functools
import math
import pathlib
import re
import threading
import types
from collections import OrderedDict, deque

import numpy
import pytest

import functions
from pointsman._plain import run_no_code

RAN = []


class Simple:
    def __init__(self, inside=1):
        self.inside = inside


class Hooked:
    def __reduce__(self):
        RAN.append("reduce")
        return Hooked, ()


class Nosy:
    def __getattribute__(self, name):
        RAN.append(name)
        return object.__getattribute__(self, name)


class Kind(type):
    def __hash__(cls):
        RAN.append("hash")
        return 1

    def __eq__(cls, other):
        RAN.append("eq")
        return True


class OfAKind(metaclass=Kind):
    pass


class Slotted:
    __slots__ = ("inside",)


HOOKED = Hooked()
SETTINGS = {"scale": 3, "box": Simple()}


def reaches_settings(x):
    return SETTINGS["scale"] * math.sqrt(x) + again(x)


def again(x):
    return reaches_settings(x - 1) if x else 0


# As in a program, whose functions travel with what they reach.
def by_value(function):
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    made.__module__ = "__main__"
    return made


def reaches_a_hook(_x):
    return HOOKED


def make_closure(value):
    return lambda x: (x, value)


PLAIN = [
    *(1, 2.0, 3j, True, None, "text", b"bytes", bytearray(b"x"), range(3), ...),
    *([1, [2, (3, {4: {5}})]], OrderedDict(a=1), deque([1]), frozenset([1])),
    *(numpy.arange(3.0), numpy.float32(1), pathlib.Path("a"), datetime.date(2000, 1, 1), decimal.Decimal(1)),
    *(Simple(), Simple([Simple()]), argparse.Namespace(a=1), Simple, re.compile("x")),
    *(len, math.sqrt, functions.square, by_value(reaches_settings), make_closure(3), Simple().__init__),
    *(functools.partial(functions.square, 3), by_value(again), types),
]
ODD = [
    *(HOOKED, Nosy(), OfAKind(), Slotted(), threading.Lock(), Simple(HOOKED), [1, [HOOKED]], {"key": HOOKED}),
    *(numpy.array([HOOKED], dtype=object), (x for x in ()), type("Sub", (list,), {})(), memoryview(b"x")),
    *(by_value(reaches_a_hook), make_closure(HOOKED), functools.partial(functions.square, HOOKED), HOOKED.__reduce__),
]


@pytest.mark.parametrize("value", PLAIN, ids=[f"{type(value).__name__}-{n}" for n, value in enumerate(PLAIN)])
def test_data_and_functions_that_reach_only_data_are_plain(value):
    assert run_no_code([value])


@pytest.mark.parametrize("value", ODD, ids=[f"{type(value).__name__}-{n}" for n, value in enumerate(ODD)])
def test_what_may_run_code_when_it_is_pickled_is_not_plain_and_is_not_run_by_the_look(value):
    RAN.clear()

    assert not run_no_code([value])
    assert RAN == []


def test_what_contains_itself_has_an_answer():
    ring = []
    ring.append(ring)
    box = Simple()
    box.inside = box

    assert not run_no_code(ring)
    assert run_no_code([box])


def test_more_than_can_be_looked_at_is_not_plain():
    assert run_no_code(list(range(5000)))
    assert not run_no_code([list(range(100_000))])
