"""Which functions may be called before their turn: those of which nobody can see in which order they are called.

What it does not know: when calls are made ahead, and what is made of their figures.
"""

import functools
import hashlib
import json
import logging
import math
import operator
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy
import pytest

from pointsman._ahead import nobody_sees
from pointsman._job import Job
from pointsman._meaning import judge
from pointsman._meaning._quiet import are_plain, is_quiet
from pointsman._meaning._quiet_tables import PATTERNS
from reading import readable, work

CONFIG = {"scale": 3}
LOG = logging.getLogger("quiet")


class Point:
    def __init__(self, x: float) -> None:
        self.x = x

    def norm(self) -> float:
        return abs(self.x)


class Shouting:
    def __init__(self, x: int) -> None:
        print(x)  # noqa: T201 - it is what may be seen


class Loud:
    """An object of which everything is seen."""

    def __add__(self, other):
        print(other)  # noqa: T201 - it is what may be seen
        return other

    __getitem__ = __add__

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        print(name)  # noqa: T201 - it is what may be seen
        return 1

    def __iter__(self):
        print("iterated")  # noqa: T201 - it is what may be seen
        return iter(())

    def __str__(self):
        print("shown")  # noqa: T201 - it is what may be seen
        return ""


class Counting:
    made = 0

    def __init__(self, x: int) -> None:
        Counting.made += x


class Adding:
    """Its operators write to what others see, and are called where no call is written."""

    sums: list[int] = []  # noqa: RUF012 - it is what may be seen

    def __init__(self, x: int) -> None:
        self.x = x

    def __add__(self, other: int) -> int:
        SUMS.append(other)
        return self.x + other


class AddingToItsClass:
    total = 0

    def __add__(self, other: int) -> int:
        AddingToItsClass.total += other
        return other


class Farewell:
    def __del__(self) -> None:
        print("gone")  # noqa: T201 - it is what may be seen


class Registered(type):
    def __call__(cls, *args: object) -> object:
        print(cls)  # noqa: T201 - it is what may be seen
        return super().__call__(*args)


class WithMeta(metaclass=Registered):
    pass


SUMS: list[int] = []
OBJ = Loud()
ARRAY = numpy.arange(12.0)
TABLE = {"double": lambda x: 2 * x}
PRINTS = {"double": print}
IN_ORDER = iter(range(9))
SHARED_UFUNC = numpy.frompyfunc(print, 1, 1)


def twice(x: int) -> int:
    return 2 * x


def through_a_closure(function):
    def inner(x: int) -> object:
        return function(x)

    return inner


QUIET = [
    work,
    lambda x: re.findall("[a-z]+", "abc def" * x),
    lambda x: json.dumps({"x": x, "y": [x] * 3}),
    lambda x: hashlib.sha256(b"x" * x).hexdigest(),
    lambda x: sorted(str(i) for i in range(x)),
    lambda x: CONFIG["scale"] * x,
    lambda x: Point(x).norm(),
    lambda x: "-".join(map(str, range(x))).split("-"),
    lambda x: list(map(twice, range(x))),
    lambda x: functools.reduce(operator.add, range(x), 0),
    lambda x: TABLE["double"](x),
    lambda x: defaultdict(list)[x],
    lambda x: f"{math.sqrt(x):.3f}",
    lambda x: float(numpy.linalg.norm(ARRAY + x)) + ARRAY.sum(),
    lambda x: statistics.mean([x, x + 1]),
    through_a_closure(twice),
    functools.partial(pow, 2),
    math.factorial,
    Point,
]


def says(x: int) -> int:
    print(x)  # noqa: T201 - it is what may be seen
    return x


def writes(x: int) -> int:
    Path("/dev/null").write_text(str(x), encoding="utf-8")
    return x


def opens(x: int) -> int:
    with open("/dev/null", "w", encoding="utf-8") as file:
        file.write(str(x))
    return x


def tells(x: int) -> int:
    sys.stdout.write(str(x))
    return x


def imports(x: int) -> int:
    import os

    return os.getpid() + x


LOUD = [
    says,
    writes,
    opens,
    tells,
    imports,
    print,
    Shouting,
    lambda x: LOG.info("%s", x),
    lambda x: random.randrange(9) + x,  # noqa: S311 - no secret
    lambda x: time.sleep(0) or x,
    lambda x: time.time() + x,
    lambda x: subprocess.run(["true"], check=True).returncode + x,
    lambda x: threading.Thread(target=work, args=(x,)).start(),
    lambda x: CONFIG.update(x=x),
    lambda x: x.frobnicate(),
    # Handed to somebody else, who calls it.
    lambda x: list(map(print, range(x))),
    lambda x: sorted(range(x), key=print),
    lambda x: functools.reduce(print, range(x), 0),
    lambda x: list(map(logging.info, range(x))),
    lambda x: list(map(time.sleep, range(x))),
    lambda x: list(map(random.choice, [[x]])),
    lambda x: list(map(Shouting, range(x))),
    lambda x: list(map(Counting, range(x))),
    lambda x: defaultdict(print)[x],
    lambda x: PRINTS["double"](x),
    lambda x: SHARED_UFUNC(x),
    through_a_closure(print),
    functools.partial(print, 1),
    # Objects whose operators and attributes may do anything.
    lambda x: OBJ + x,
    lambda x: OBJ[x],
    lambda x: f"{OBJ}{x}",
    lambda x: str(OBJ) + str(x),
    lambda x: [*OBJ, x],
    lambda x: list(OBJ) + [x],  # noqa: RUF005 - the call is what is looked at
    lambda x: OBJ.anything + x,
    lambda x: next(IN_ORDER) + x,
    lambda x: Loud() + x,
    # Methods and functions of libraries that otherwise compute.
    lambda x: (ARRAY + x).tofile("/dev/null"),
    lambda x: (ARRAY + x).dump("/dev/null"),
    lambda x: numpy.savetxt("/dev/null", ARRAY + x),
    lambda x: numpy.lib.format.open_memmap("/dev/null", shape=(x,)),
    lambda x: numpy.random.default_rng().random() + x,
    lambda x: statistics.NormalDist().samples(x),
    # Where the project's own functions hide.
    lambda x: (lambda: print(x))(),  # noqa: PLC3002,T201 - it is what may be seen
    lambda x, tell=print: tell(x),
    lambda x, *, tell=print: tell(x),
    lambda x: Adding(x) + x,
    lambda x: AddingToItsClass() + x,
    lambda x: Farewell() and x,
    lambda x: WithMeta() and x,
    functools.lru_cache(twice),
    OBJ.__add__,
    # Ways around names.
    lambda x: [cls.__name__ for cls in ().__class__.__base__.__subclasses__()][x],
    lambda x: (i for i in range(x)).gi_frame.f_globals["LOG"].info(x),
    lambda x: sys.modules["os"].getpid() + x,
    lambda x: __builtins__["print"](x),
    lambda x: globals()["LOG"].info(x),
    lambda x: id(x),
    lambda x: twice.__globals__["LOG"].info(x),
    lambda x: getattr(ARRAY, "tofile")(f"/dev/null{x:.0s}"),  # noqa: B009 - it is what may be seen
    lambda x: list(map(list.append, [[]], [x])),
]


def unseen(function) -> bool:
    """Whether calls may be made ahead, as a run asks it."""
    job = Job(function, ([1] * 9,))
    return judge(function, (1,)).may_travel and nobody_sees(job, [1])


@readable
@pytest.mark.parametrize("function", QUIET, ids=range(len(QUIET)))
def test_a_function_that_only_computes_may_be_called_in_any_order(function):
    assert unseen(function)


@readable
@pytest.mark.parametrize("function", LOUD, ids=range(len(LOUD)))
def test_a_function_that_reaches_outside_is_called_in_order(function):
    assert not unseen(function)


@readable
def test_what_a_function_reaches_is_looked_at_anew_each_time(monkeypatch):
    assert is_quiet(QUIET[10])
    monkeypatch.setitem(TABLE, "double", print)

    assert not is_quiet(QUIET[10])


@readable
def test_a_function_put_in_the_place_of_a_librarys_is_read_itself(monkeypatch):
    monkeypatch.setattr(math, "sqrt", says)

    assert not is_quiet(QUIET[12])


class Text(str):
    __slots__ = ()


PLAIN = [1, 0.5, "a", b"a", None, True, (1, "a"), [1, [2]], {"a": (1,)}, {1}, ARRAY, numpy.float64(1), range(3)]
NOT_PLAIN = [
    OBJ,
    Text("a"),
    [1, OBJ],
    {"a": {"b": OBJ}},
    print,
    twice,
    iter([1]),
    numpy.array([print], dtype=object),
    numpy.ma.array([1.0]),
    Path("/"),
    LOG,
]


@pytest.mark.parametrize("item", PLAIN, ids=range(len(PLAIN)))
def test_inputs_of_plain_types_may_be_used_in_any_order(item):
    assert are_plain([item, item])


@pytest.mark.parametrize("item", NOT_PLAIN, ids=range(len(NOT_PLAIN)))
def test_nothing_is_called_ahead_with_inputs_that_may_do_anything(item):
    assert not are_plain([1, item])
    assert not nobody_sees(Job(work, ([1, item] * 9,)), [item])


def test_what_patterns_and_matches_offer_is_known_without_loading_their_module():
    offered = {name for kind in (re.Pattern, re.Match) for name in dir(kind) if not name.startswith("_")}

    assert set(PATTERNS.split()) >= offered
