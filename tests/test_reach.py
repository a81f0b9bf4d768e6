"""What a function that travels by value brings along is sent again when it has changed, and stays with its workers else.

What it does not know: how it is found out that something has changed.

Invariants:
    R1. What a call sees is what the program had when it was submitted, or what earlier calls on its worker made of that.
"""

import abc
import collections
import dataclasses
import enum
import functools
import importlib.util
import os
import random
import threading
import typing

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pointsman
from functions import PATIENCE
from pointsman import _by_value

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def worker():
    with pointsman.Executor(1, backend="processes") as made:
        yield made


def a_class():
    class Base:
        inherited = 1

    class Local(Base):
        n = 1
        many: typing.ClassVar = [1]

        def value(self):
            return self.n

    return Local


def a_dataclass():
    @dataclasses.dataclass
    class Point:
        x: int = 1
        tags: list[str] = dataclasses.field(default_factory=list)

    return Point


def an_object():
    made = a_class()()
    made.inner = {"a": [1]}
    return made


def an_enum():
    class Colour(enum.Enum):
        RED = 1

    return Colour


def an_abstract_class():
    class Shape(abc.ABC):
        sides = 3

        @abc.abstractmethod
        def area(self): ...

    return Shape


def a_generic_class():
    kind = typing.TypeVar("kind")

    class Box(typing.Generic[kind]):
        size = 1

    return Box


def a_cached_function():
    table = {"a": 1}

    @functools.lru_cache
    def look(key):
        return table[key]

    return look, table


def in_another_class(made):
    made.__class__ = type("Other", (), {"n": 5})


CHANGES = {
    "entry": (dict, lambda v: v.update(a=2), lambda v: v.get("a")),
    "entry of the same size": (lambda: {"a": 1}, lambda v: v.update(a=2), lambda v: v["a"]),
    "order of entries": (lambda: {"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a")), list),
    "nested": (lambda: {"a": [{"b": 1}]}, lambda v: v["a"][0].update(b=2), lambda v: v["a"][0]["b"]),
    "in a tuple": (lambda: ([1],), lambda v: v[0].append(2), lambda v: v[0]),
    "item": (lambda: [1, 2], lambda v: v.__setitem__(0, 3), list),
    "items": (list, lambda v: v.append(2), list),
    "set": (lambda: {1}, lambda v: v.add(2), sorted),
    "deque": (lambda: collections.deque([1]), lambda v: v.append(2), list),
    "default": (lambda: collections.defaultdict(int), lambda v: v["a"], list),
    "counter": (collections.Counter, lambda v: v.update("ab"), lambda v: v["a"]),
    "ordered": (collections.OrderedDict, lambda v: v.update(a=1), list),
    "octets": (bytearray, lambda v: v.extend(b"a"), bytes),
    "attribute": (an_object, lambda v: setattr(v, "n", 2), lambda v: v.value()),
    "new attribute": (an_object, lambda v: setattr(v, "more", 2), lambda v: getattr(v, "more", None)),
    "inside of an attribute": (an_object, lambda v: v.inner["a"].append(2), lambda v: v.inner["a"]),
    "all attributes": (an_object, lambda v: setattr(v, "__dict__", {"n": 7}), lambda v: v.n),
    "class of an object": (an_object, in_another_class, lambda v: v.n),
    "class attribute": (a_class, lambda v: setattr(v, "n", 2), lambda v: v().value()),
    "inside of a class attribute": (a_class, lambda v: v.many.append(2), lambda v: v.many),
    "method": (a_class, lambda v: setattr(v, "value", lambda _self: 9), lambda v: v().value()),
    "base": (a_class, lambda v: setattr(v.__base__, "inherited", 2), lambda v: v.inherited),
    "class of an input": (a_dataclass, lambda v: setattr(v, "x", 2), lambda v: v.x),
    "enum": (an_enum, lambda v: setattr(v, "shade", lambda _self: 2), lambda v: hasattr(v.RED, "shade")),
    "abstract": (an_abstract_class, lambda v: setattr(v, "sides", 4), lambda v: v.sides),
    "registered": (an_abstract_class, lambda v: setattr(v, "kin", v.register(int)), lambda v: issubclass(int, v)),
    "generic": (a_generic_class, lambda v: setattr(v, "size", 2), lambda v: v.size),
    "partial": (lambda: functools.partial(dict, a=1), lambda v: v.keywords.update(a=2), lambda v: v()),
    "what a cached function reads": (a_cached_function, lambda v: v[1].update(b=2), lambda v: v[0]("b")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_sent_again(worker, name):
    make, change, look = CHANGES[name]
    value = make()

    def call():
        return look(value)

    def outcome(ask):
        try:
            return ask()
        except KeyError as error:
            return repr(error)

    for _ in range(3):
        assert outcome(lambda: worker.submit(call).result(PATIENCE)) == outcome(call)
    change(value)
    for _ in range(2):
        assert outcome(lambda: worker.submit(call).result(PATIENCE)) == outcome(call)


KEPT = {
    "dictionary": (dict, lambda v: v.setdefault("made", os.urandom(8))),
    "class": (a_class, lambda v: v.__dict__.get("made") or setattr(v, "made", os.urandom(8)) or v.made),
    "object": (an_object, lambda v: v.__dict__.setdefault("made", os.urandom(8))),
    "deque": (collections.deque, lambda v: (v or v.append(os.urandom(8)) or v)[0]),
    "abstract class": (an_abstract_class, lambda v: v.__dict__.get("made") or setattr(v, "made", os.urandom(8)) or v.made),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_what_a_call_keeps_is_there_for_the_next_on_its_worker(worker, name):
    make, use = KEPT[name]
    value = make()

    def call(_=None):
        return use(value)

    one_by_one = {worker.submit(call).result(PATIENCE) for _ in range(4)}

    assert len(one_by_one) == 1
    assert {*worker.map(call, range(3))} == one_by_one


def test_a_function_that_was_missing_is_found_once_it_is_there(worker):
    space = {}
    exec("def call(n): return helper(n)", space)  # noqa: S102 - a module of its own
    call = space["call"]

    with pytest.raises(NameError):
        worker.submit(call, 3).result(PATIENCE)
    exec("def helper(n): return 10 * n", space)  # noqa: S102
    assert worker.submit(call, 3).result(PATIENCE) == 30
    exec("def helper(n): return 20 * n", space)  # noqa: S102
    assert worker.submit(call, 3).result(PATIENCE) == 60
    del space["helper"]
    with pytest.raises(NameError):
        worker.submit(call, 3).result(PATIENCE)


def test_a_name_among_many_that_was_missing_is_found(worker):
    space = {}
    many = "\n".join(f"    n += name_{index}" for index in range(400))
    exec(f"def call(n):\n{many}\n    return n", space)  # noqa: S102
    space.update({f"name_{index}": 1 for index in range(399)})

    with pytest.raises(NameError, match="name_399"):
        worker.submit(space["call"], 0).result(PATIENCE)
    space["name_399"] = 1
    assert worker.submit(space["call"], 0).result(PATIENCE) == 400


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_an_array_that_was_written_to_is_sent_again(worker):
    import numpy as np

    array = np.zeros(3)

    def call():
        return array.sum()

    for n in range(12):
        array[n % 3] += n
        for _ in range(3):
            assert worker.submit(call).result(PATIENCE) == array.sum()


class Odd:
    """Says for itself what is pickled of it."""

    def __init__(self):
        self.here = {"a": 1}
        self.pickled = 0

    def __reduce__(self):
        self.pickled += 1
        return dict, (self.here,)


def test_what_only_pickle_can_look_into_is_sent_again_once_it_has_changed_and_not_before(worker, monkeypatch):
    odd, octets, packed = Odd(), bytearray(b"ab"), []
    pack = _by_value.dumps
    monkeypatch.setattr(_by_value, "dumps", lambda *args: packed.append(1) or pack(*args))

    def call():
        return dict(odd), bytes(octets)

    def called():
        return worker.submit(call).result(PATIENCE)

    assert [called() for _ in range(5)] == [({"a": 1}, b"ab")] * 5
    assert len(packed) == 2
    odd.here["b"] = 2
    assert [called() for _ in range(3)] == [({"a": 1, "b": 2}, b"ab")] * 3
    octets[0] = 0
    assert [called() for _ in range(3)] == [({"a": 1, "b": 2}, b"\0b")] * 3
    assert len(packed) == 4
    assert odd.pickled > 5


def test_a_generator_of_numbers_goes_on_where_its_worker_has_left_it(worker):
    source = random.Random(1)  # noqa: S311 - no secret

    def call():
        return source.random()

    drawn = [worker.submit(call).result(PATIENCE) for _ in range(6)]

    assert len(set(drawn)) >= 5


def test_what_cannot_be_pickled_any_more_is_said(worker):
    odd = Odd()

    def call():
        return len(odd)

    assert [worker.submit(call).result(PATIENCE) for _ in range(3)] == [1, 1, 1]
    odd.here = threading.Lock()
    with pytest.raises(pointsman.CannotTravelError, match="lock"):
        worker.submit(call).result(PATIENCE)
    odd.here = {}
    assert worker.submit(call).result(PATIENCE) == 0


RESTORED = {
    "set": (lambda v: setattr(v, "n", 9), lambda v: setattr(v, "n", 1)),
    "added": (lambda v: setattr(v, "inherited", 9), lambda v: delattr(v, "inherited")),
}


@pytest.mark.parametrize("name", RESTORED)
def test_a_class_that_was_changed_for_a_while_is_as_before_afterwards(worker, name):
    kind = a_class()
    change, restore = RESTORED[name]

    def one():
        return kind.n, kind.inherited

    def other():
        return kind.n, kind.inherited, "other"

    assert worker.submit(one).result(PATIENCE) == one()
    change(kind)
    assert worker.submit(other).result(PATIENCE) == other()
    restore(kind)
    for _ in range(2):
        assert worker.submit(one).result(PATIENCE) == one()
        assert worker.submit(other).result(PATIENCE) == other()


def test_changes_of_functions_themselves_are_seen(worker):
    def helper():
        return getattr(helper, "factor", 1)

    def call(by=2):
        return by * helper()

    outcomes = []
    for change in (
        lambda: None,
        lambda: setattr(helper, "factor", 5),
        lambda: setattr(call, "__defaults__", (3,)),
        lambda: setattr(helper, "__code__", (lambda: 7).__code__),
    ):
        try:
            change()
        except ValueError:
            # Code that captures another number of variables.
            continue
        outcomes.append(worker.submit(call).result(PATIENCE))

    assert outcomes == [2, 10, 15][: len(outcomes)]


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


def test_callable_objects_begin_each_call_as_the_program_has_them(worker):
    counting = type("Local", (Counting,), {})()
    kept = functools.partial(lambda seen: seen.append(1) or len(seen), [])

    assert [worker.submit(counting).result(PATIENCE) for _ in range(3)] == [1, 1, 1]
    assert [worker.submit(kept).result(PATIENCE) for _ in range(3)] == [1, 1, 1]


def holding(ballast):
    def call(deeper=1):
        return call(deeper - 1) if deeper else len(ballast)

    return call


def test_what_many_functions_hold_is_not_kept_for_ever_by_a_worker():
    with pointsman.Executor(1, backend="processes") as one:
        pid = one.submit(os.getpid).result(PATIENCE)
        for n in range(40):
            assert one.submit(holding(bytes([n]) * (8 << 20))).result(PATIENCE) == 8 << 20
        memory = psutil.Process(pid).memory_full_info().uss

    # They held 320 MB, each in a cycle; a worker keeps 64 MB of them.
    assert memory < 200 << 20


VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["a", "b"]) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), VALUES), min_size=1, max_size=6))
def test_calls_see_what_the_program_has_after_any_changes(worker, changes):
    class Local:
        pass

    table, kept, made = {}, [], Local()

    def call():
        return table, kept, vars(made), Local.__dict__.get("shared")

    for place, value in changes:
        if place == "a":
            table["x"] = value
        elif place == "b":
            kept.append(value)
        elif place == "c":
            made.attribute = value
        elif place == "d":
            Local.shared = value
        elif kept and isinstance(kept[-1], list):
            kept[-1].append(value)
        assert worker.submit(call).result(PATIENCE) == call()


def test_a_global_that_comes_before_a_builtin_later_is_the_one_that_counts(worker):
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec("def work(x): return max(x, 2)", names)  # noqa: S102 - a module of its own
    before = worker.submit(names["work"], 1).result(PATIENCE)
    names["max"] = lambda *_: "mine"

    assert (before, worker.submit(names["work"], 1).result(PATIENCE)) == (2, "mine")
