"""Lists, dictionaries and objects that are sent as their parts come back as pickle would bring them.

What it does not know: the bytes that they become, or which of them pickle carries all the same.

Invariants:
    A1. Whatever was one object is one afterwards, and a class that says how its objects are pickled is heard.
"""

import copyreg
import enum
import pickle
import sys
import threading
import types
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import functions
import pointsman
from functions import PATIENCE

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def worker():
    with pointsman.Executor(1, backend="processes") as executor:
        yield executor


def sent(worker: pointsman.Executor, value: Any) -> Any:
    """Send a value there and back in each way that there is, and check that these agree."""
    one = worker.submit(functions.same, value).result(PATIENCE)
    (other,) = worker.map(functions.same, [value])
    (third,) = pointsman.execute(functions.same, [value], backend="processes", max_workers=1)
    assert shape(one) == shape(other) == shape(third)
    return one


@dataclass
class Point:
    x: Any
    y: Any = None


@dataclass(frozen=True)
class Frozen:
    x: Any


@dataclass
class Deeper(Point):
    tags: list[Any] = field(default_factory=list)


class Guarded:
    """Sets what it likes where an attribute of that name is set."""

    def __init__(self, value: Any) -> None:
        self.__dict__["value"] = value

    @property
    def value(self) -> Any:
        return "of the property"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


class Slots:
    __slots__ = ("x",)


class Stated:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.x = ("restored", state["x"])


class Reduced:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __reduce__(self) -> Any:
        return Reduced, (("reduced", self.x),)


class Delegating:
    def __init__(self, x: Any) -> None:
        self.x = x

    def __getattr__(self, name: str) -> Any:
        if name == "__setstate__":
            return lambda state: self.__dict__.update(x=("delegated", state["x"]))
        raise AttributeError(name)


class Counting(dict):  # type: ignore[type-arg]
    pass


class Colour(enum.Enum):
    RED = 1


class Locked(threading.local):
    pass


def shape(value: Any, seen: dict[int, int] | None = None) -> Any:
    """A value with the types of its parts, and which of these are one."""
    seen = {} if seen is None else seen
    if type(value) in (int, str, float, bool, bytes, type(None), tuple):
        return (tuple, [shape(part, seen) for part in value]) if type(value) is tuple else repr(value)
    if id(value) in seen:
        return "seen", seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, dict):
        return type(value), [(shape(key, seen), shape(part, seen)) for key, part in value.items()]
    if isinstance(value, list):
        return type(value), [shape(part, seen) for part in value]
    return type(value), shape(vars(value), seen) if hasattr(value, "__dict__") else repr(value)


KINDS = [Point, Frozen, Deeper, Stated, Reduced, Guarded]


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Containers and objects that hold each other, some of them more than once, or themselves."""
    nodes: list[Any] = []
    plain = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.floats(allow_nan=False))
    for _ in range(draw(st.integers(1, 8))):
        parts = [draw(st.sampled_from(nodes) if nodes and draw(st.booleans()) else plain) for _ in range(3)]
        kind = draw(st.sampled_from([list, dict, tuple, *KINDS]))
        if kind is list or kind is tuple:
            nodes.append(kind(parts))
        else:
            nodes.append(dict(zip("abc", parts, strict=True)) if kind is dict else kind(parts[0]))
    if draw(st.booleans()):
        holder = draw(st.sampled_from(nodes))
        if isinstance(holder, list):
            holder.append(draw(st.sampled_from(nodes)))
    return nodes[-1]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(graphs())
def test_what_was_one_object_is_one_afterwards(worker, value):
    expected = shape(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(value)))))

    assert shape(worker.submit(functions.same, value).result(PATIENCE)) == expected
    assert shape(next(iter(worker.map(functions.same, [value])))) == expected


def named(value):
    return type(value).__name__


def twice(one, other):
    return one is other, one


def test_arguments_of_a_call_that_are_one_object_are_one_there(worker):
    point = Point(1)

    assert worker.submit(twice, point, point).result(PATIENCE) == (True, point)
    assert worker.submit(twice, Point(1), point).result(PATIENCE) == (False, point)
    assert list(worker.map(twice, [[]], [[]])) == [(False, [])]


@pytest.mark.parametrize(
    "value",
    [
        [], {}, [[]], {"a": {}}, [1, "a", None, True, 2.5, b"x", (1, [2])],
        {1: "a", None: 2, (1, "b"): [3], 2.5: {}},
        [2**70], ["\ud800"], {"\ud800": 1}, ["long" * 1000], {"long" * 1000: 1},
        list(range(1000)), {str(n): n for n in range(1000)}, [[n] for n in range(100)],
        Counting(a=1), [Counting()], {"a": Colour.RED}, [{1, 2}], [bytearray(b"x")],
        Point(1), Point([Point(2), {"a": Point(3)}]), Frozen(1), Deeper(1, 2, [3]), [Point(n) for n in range(20)],
        Point(b"x" * 100_000), {"a": b"x" * 100_000, "b": "y" * 100_000},
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_values_come_back(worker, value):
    assert shape(sent(worker, value)) == shape(value)


def test_lists_within_lists_come_back_however_deep(worker):
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]

    assert sent(worker, deep) == deep


def test_attributes_that_no_code_could_set_come_back(worker):
    assert vars(sent(worker, Guarded(3))) == {"value": 3}


def test_an_object_with_further_attributes_has_them(worker):
    point = Point(1)
    point.more = {"a": [1]}

    assert vars(sent(worker, point)) == {"x": 1, "y": None, "more": {"a": [1]}}


def test_attributes_whose_names_are_no_texts_come_back(worker):
    point = Point(1)
    point.__dict__[7] = "odd"

    assert vars(sent(worker, point)) == {"x": 1, "y": None, 7: "odd"}


def test_a_class_that_says_what_becomes_of_its_objects_is_heard(worker):
    assert sent(worker, Stated(1)).x == ("restored", ("restored", 1))
    assert sent(worker, Reduced(1)).x == ("reduced", ("reduced", 1))
    assert sent(worker, Delegating(1)).x == ("delegated", ("delegated", 1))


def test_an_object_that_is_none_of_its_attributes_alone_is_refused_as_ever(worker):
    with pytest.raises(pointsman.CannotTravelError, match="Locked"):
        worker.submit(functions.same, Locked()).result(PATIENCE)
    slots = Slots()
    slots.x = 3
    assert worker.submit(functions.same, slots).result(PATIENCE).x == 3


def test_what_is_said_later_of_how_objects_are_pickled_counts(worker):
    assert vars(sent(worker, Point(1))) == {"x": 1, "y": None}
    with mock.patch.dict(copyreg.dispatch_table, {Point: lambda point: (Frozen, (point.x,))}):
        assert worker.submit(named, Point(2)).result(PATIENCE) == "Frozen"
    with mock.patch.object(Point, "__reduce__", lambda point: (Frozen, (point.x,))):
        assert worker.submit(named, Point(2)).result(PATIENCE) == "Frozen"
    with mock.patch.object(Point, "__getstate__", return_value={"x": "of the state"}, create=True):
        assert worker.submit(functions.same, Point(2)).result(PATIENCE).x == "of the state"
    assert vars(sent(worker, Point(1))) == {"x": 1, "y": None}


def test_the_attributes_are_those_of_the_moment(worker):
    point = Point(0)
    futures = []
    for point.x in range(50):
        futures.append(worker.submit(functions.same, point))

    assert [future.result(PATIENCE).x for future in futures] == list(range(50))


def test_objects_that_refer_to_each_other_are_no_end(worker):
    one, other = Point(1), Point(2)
    one.y, other.y = other, one

    back = sent(worker, one)

    assert back.y.y is back


def test_a_class_that_is_somewhere_else_by_now_is_not_taken_for_the_one_of_its_name(worker):
    module = types.ModuleType("of_the_moment")
    exec("class Here:\n    def __init__(self): self.x = 1", vars(module))  # noqa: S102 - a module that no file has
    old = module.Here()
    with mock.patch.dict(sys.modules, {"of_the_moment": module}):
        assert worker.submit(named, old).result(PATIENCE) == "Here"
        exec("class Here:\n    kind = 'new'", vars(module))  # noqa: S102 - a module that no file has
        assert worker.submit(hasattr, old, "kind").result(PATIENCE) is False
        assert worker.submit(getattr, module.Here(), "kind").result(PATIENCE) == "new"


def test_what_another_thread_does_to_a_list_meanwhile_breaks_nothing(worker):
    shared: dict[Any, Any] = {"list": list(range(20)), "entries": {n: n for n in range(10)}}
    over = threading.Event()

    def change():
        count = 0
        while not over.is_set():
            count += 1
            shared["list"].append(count)
            del shared["list"][:2]
            shared["entries"][count] = count
            shared["entries"].pop(count - 10, None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            back = worker.submit(functions.same, shared).result(PATIENCE)
            assert type(back["list"]) is list
            assert type(back["entries"]) is dict
    finally:
        over.set()
        thread.join()


def test_keys_that_come_again_and_again_are_not_mixed_up(worker):
    rows = [{f"key{n % 300}": n, f"other{n % 7}": {f"inner{n}": n}} for n in range(2000)]

    assert list(worker.map(functions.same, rows)) == rows
    assert [type(key) for row in rows for key in row] == [str] * 4000


class Kept:
    """A class of a module that workers find."""

    def __init__(self):
        self.x = 1


def test_what_is_registered_later_for_a_class_counts(worker):
    before = [sent(worker, Kept()).x, sent(worker, [Kept(), bytes(2_000)])[0].x]
    copyreg.pickle(Kept, registered)
    try:
        after = [sent(worker, Kept()).x, sent(worker, [Kept(), bytes(2_000)])[0].x]
    finally:
        del copyreg.dispatch_table[Kept]

    assert before == [1, 1]
    assert after == [99, 99]


def registered(_kept):
    return make_registered, ()


def make_registered():
    kept = Kept()
    kept.x = 99
    return kept


def test_tuples_that_hold_each_other_many_times_are_written_once(worker):
    value: Any = (0,) * 14
    for _ in range(7):
        value = (value,) * 14

    assert worker.submit(deep, value).result(PATIENCE) == 8


def deep(value):
    return 0 if type(value) is int else 1 + deep(value[0])


def test_exceptions_in_a_result_leave_what_is_shared_together(worker):
    twice, listed, again = worker.submit(with_exceptions).result(PATIENCE)

    assert twice[0] is twice[1]
    assert listed[0] is listed[1]
    assert again[1] is again


def with_exceptions():
    error, inner, again = ValueError(1), [1], [ValueError(2)]
    again.append(again)
    return [error, error], [inner, inner, KeyError(3)], again
