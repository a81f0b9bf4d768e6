"""Objects of classes that workers cannot import travel with their classes named, and mean what they would by value.

What it does not know: where the definitions of the classes lie.

Invariants:
    D1. What comes back is of the program's own class, and a call sees a class as it is when the call is submitted.
"""

import os
import signal
import sys
import time
import types
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pointsman
from functions import PATIENCE
from pointsman import _by_value, _naming

pytestmark = pytest.mark.timeout(60)

SOURCE = """
import abc, collections, dataclasses, enum, typing

@dataclasses.dataclass
class Point:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)
    shared = 0

    def moved(self, by):
        return Point(self.x + by, self.tags)

@dataclasses.dataclass(frozen=True, slots=True)
class Slim:
    x: int

class Pair(typing.NamedTuple):
    one: object
    other: object = None

Row = collections.namedtuple("Row", "a b")

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

class Rights(enum.Flag):
    READ = 1
    WRITE = 2

class Outer:
    class Inner:
        def __init__(self, value):
            self.value = value

        def __eq__(self, other):
            return type(other) is type(self) and other.value == self.value

    def __init__(self, value):
        self.inner = Outer.Inner(value)

    def __eq__(self, other):
        return type(other) is Outer and other.inner == self.inner

class Names(dict):
    pass

class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.made_by = cls.__name__
        return made

class Made(metaclass=Meta):
    def __eq__(self, other):
        return type(other) is Made and vars(other) == vars(self)

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2

    def __eq__(self, other):
        return type(other) is Square and other.side == self.side

class Picky:
    def __init__(self, x):
        self.x = x
        self.hidden = lambda: x

    def __getstate__(self):
        return self.x

    def __setstate__(self, x):
        self.__init__(x)

    def __eq__(self, other):
        return type(other) is Picky and other.hidden() == self.hidden()

class Reduced:
    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return Reduced, (self.x,)

    def __eq__(self, other):
        return type(other) is Reduced and other.x == self.x

kind = typing.TypeVar("kind")

class Box(typing.Generic[kind]):
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Box and other.x == self.x

class Mistake(Exception):
    def __init__(self, what, code):
        super().__init__(what)
        self.code = code
"""

VALUES = {
    "dataclass": "Point(1, ['a'])",
    "slots": "Slim(2)",
    "named tuple": "Pair(1, Point(2))",
    "row": "Row(1, 2)",
    "enum": "Colour.RED",
    "flags": "Rights.READ | Rights.WRITE",
    "inner": "Outer(3)",
    "dictionary": "Names(a=Point(1))",
    "metaclass": "Made()",
    "abstract base": "Square(2)",
    "state": "Picky(4)",
    "reduce": "Reduced(5)",
    "generic": "Box(Slim(1))",
    "many": "[Point(1), {'a': Slim(2)}, (Colour.BLUE, {Slim(3)})]",
    "class": "Point",
    "classes": "[Colour, Outer.Inner, Square]",
}


@pytest.fixture
def home(monkeypatch):
    """A module that the program has made: no worker would find it."""
    module = types.ModuleType("made_by_the_program")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(SOURCE, vars(module))  # noqa: S102 - its own source
    # As whoever sends one of its functions finds out.
    assert _naming.is_lost(module.__name__)
    return module


@pytest.fixture(scope="module")
def worker():
    with pointsman.Executor(1, backend="processes") as made:
        yield made


def same(value):
    return value


def is_same_class(value, kind):
    return type(value) is kind


@pytest.mark.parametrize("name", VALUES)
def test_values_go_there_and_back(worker, home, name):
    value = eval(VALUES[name], vars(home))  # noqa: S307 - the table above

    for _ in range(3):
        back = worker.submit(same, value).result(PATIENCE)
        assert back == value
        assert type(back) is type(value)
    assert worker.submit(is_same_class, value, type(value)).result(PATIENCE)
    assert list(worker.map(same, [value] * 5)) == [value] * 5
    assert pointsman.execute(same, [value] * 7, backend="processes", max_workers=1) == [value] * 7


def test_each_is_pickled_by_value_once_and_not_with_every_call(worker, home, monkeypatch):
    by_value = []
    dumps = _by_value.dumps
    monkeypatch.setattr(_by_value, "dumps", lambda *args: by_value.append(args[0]) or dumps(*args))

    for n in range(20):
        assert worker.submit(same, home.Point(n)).result(PATIENCE).x == n
    list(worker.map(same, map(home.Point, range(50))))
    pointsman.execute(same, [home.Slim(n) for n in range(50)], backend="processes", max_workers=1)

    assert by_value == [home.Point, home.Slim]


def test_methods_are_called_on_objects_as_they_are(worker, home):
    point = home.Point(1)
    for by in range(3):
        point.x = by
        assert worker.submit(point.moved, 10).result(PATIENCE) == home.Point(10 + by)


def shared_of(point):
    return type(point).shared


def bump(point):
    type(point).shared += 1
    return type(point).shared


def test_a_class_that_has_changed_is_told_of_again(worker, home):
    for n in range(4):
        home.Point.shared = n
        assert worker.submit(shared_of, home.Point(1)).result(PATIENCE) == n
    home.Point.moved = lambda _self, by: -by
    assert worker.submit(home.Point(1).moved, 3).result(PATIENCE) == -3


def test_what_calls_set_on_a_class_stays_with_their_worker(worker, home):
    assert [worker.submit(bump, home.Point(1)).result(PATIENCE) for _ in range(3)] == [1, 2, 3]
    assert home.Point.shared == 0


def test_a_class_that_was_changed_for_a_while_is_as_before_afterwards(worker, home):
    point = home.Point(1)

    def by_function():
        return home.Point.shared

    assert worker.submit(by_function).result(PATIENCE) == worker.submit(shared_of, point).result(PATIENCE) == 0
    home.Point.shared = 9
    assert worker.submit(shared_of, point).result(PATIENCE) == 9
    home.Point.shared = 0
    assert worker.submit(by_function).result(PATIENCE) == worker.submit(shared_of, point).result(PATIENCE) == 0


def make_a_pair(n):
    return typing.NamedTuple("Two", [("a", int), ("b", int)])(n, n + 1)


def test_objects_of_classes_that_calls_have_made_come_back_though_nobody_else_has_them(home):
    import gc

    with pointsman.Executor(2, backend="processes", max_tasks_per_child=1) as made:
        for n in range(3):
            made_there = made.submit(make_a_pair, n).result(PATIENCE)
            future = made.submit(same, made_there)
            del made_there
            gc.collect()
            assert tuple(future.result(PATIENCE)) == (n, n + 1)


def test_definitions_leave_shared_memory_to_the_calls(home):
    home.Point.ballast = "x" * 20_000
    with pointsman.Executor(1, backend="processes", shared_memory=5_000_000) as one:
        for n in range(150):
            home.Point.shared = n
            assert one.submit(shared_of, home.Point(1)).result(PATIENCE) == n
        assert one.submit(len, b"x" * 500_000).result(PATIENCE) == 500_000


def test_a_class_that_replaces_another_of_its_name_is_not_taken_for_it(worker, home):
    old = home.Point(1)
    assert worker.submit(same, old).result(PATIENCE) == old
    exec(SOURCE.replace("shared = 0", "shared = 7"), vars(home))  # noqa: S102
    new = home.Point(1)

    assert worker.submit(shared_of, new).result(PATIENCE) == 7
    assert worker.submit(shared_of, old).result(PATIENCE) == 0
    back = worker.submit(same, [old, new]).result(PATIENCE)
    assert [type(one) for one in back] == [type(old), home.Point]


def die(_point):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_takes_another_s_place_is_told_too(home):
    with pointsman.Executor(1, backend="processes") as one:
        assert one.submit(same, home.Point(1)).result(PATIENCE) == home.Point(1)
        futures = [one.submit(die, home.Point(1)), one.submit(same, home.Point(2)), one.submit(same, home.Slim(3))]
        assert isinstance(futures[0].exception(PATIENCE), pointsman.WorkerDied)
        assert [future.result(PATIENCE) for future in futures[1:]] == [home.Point(2), home.Slim(3)]


def test_classes_that_change_with_every_call_are_right_however_often(worker, home):
    home.Point.ballast = "x" * 50_000
    for n in range(150):
        home.Point.shared = n
        assert worker.submit(shared_of, home.Point(1)).result(PATIENCE) == n


def test_what_functions_of_theirs_hold_travels_with_them(worker, home):
    table = {"a": 1}

    class Local:
        def __init__(self):
            self.call = lambda: table["a"]

    for n in range(3):
        table["a"] = n
        assert worker.submit(lambda made: made.call(), Local()).result(PATIENCE) == n
    assert type(worker.submit(same, Local()).result(PATIENCE)) is Local


def make_mistake(point):
    raise point.kind("late", 7)


def test_exceptions_of_the_program_s_own_come_back_as_such(worker, home):
    point = home.Point(1)
    point.kind = home.Mistake
    error = worker.submit(make_mistake, point).exception(PATIENCE)

    assert type(error) is home.Mistake
    assert (str(error), error.code) == ("late", 7)


def nested(point):
    with pointsman.Executor(1, backend="processes") as inner:
        return inner.submit(same, point).result(PATIENCE)


def test_workers_of_workers_are_told_as_well(worker, home):
    assert worker.submit(nested, home.Point(5)).result(PATIENCE) == home.Point(5)


def test_two_pools_are_told_each(home):
    with pointsman.Executor(1, backend="processes") as one, pointsman.Executor(1, backend="processes") as other:
        for made in (one, other, one):
            assert made.submit(same, home.Point(1)).result(PATIENCE) == home.Point(1)


TREES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["Colour.RED", "Colour.BLUE"]),
    lambda inner: st.tuples(st.sampled_from(["Pair", "Box", "Square", "Row", "list"]), inner, inner),
    max_leaves=8,
)


def built(tree, home):
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return eval(tree, vars(home))  # noqa: S307 - the table above
    name, one, other = tree[0], built(tree[1], home), built(tree[2], home)
    if name == "list":
        return [one, other, one]
    kind = getattr(home, name)
    return kind(one) if name in {"Box", "Square"} else kind(one, other)


def test_whatever_is_made_of_them_comes_back_equal(worker, home):
    @settings(max_examples=80, deadline=None)
    @given(TREES)
    def check(tree):
        value = built(tree, home)
        assert worker.submit(same, value).result(PATIENCE) == value

    check()


@pytest.fixture
def made_module(monkeypatch):
    module = types.ModuleType("_made_for_definitions")
    exec(  # noqa: S102 - a module that no file has
        """
class First:
    value = 1

    def __init__(self, x=0):
        self.x = x

    def get(self):
        return self.value

class Second(First):
    pass
""",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_an_earlier_definition_that_arrives_late_leaves_a_class_as_it_was_defined_last(made_module):
    with pointsman.Executor(1, backend="processes") as executor:
        executor.submit(time.sleep, 0.2)
        late = executor.options(priority=pointsman.TaskPriority.LOW).submit(ask, made_module.Second())
        made_module.First.value = 2
        soon = executor.options(priority=pointsman.TaskPriority.HIGH).submit(ask, made_module.First())
        found = [soon.result(PATIENCE), late.result(PATIENCE) in {1, 2}]

        assert [*found, executor.submit(ask, made_module.First()).result(PATIENCE)] == [2, True, 2]


def ask(one):
    return one.get()


def test_what_a_class_says_of_pickling_later_holds_for_results_too(made_module):
    with pointsman.Executor(1, backend="processes") as executor:
        before = executor.submit(same, made_module.First(1)).result(PATIENCE).x
        made_module.First.__reduce__ = lambda self: (type(self), (self.x + 1,))

        assert (before, executor.submit(same, made_module.First(1)).result(PATIENCE).x) == (1, 3)
