"""What classes of the program do when their objects are called, compared, added and set. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import collections
import dataclasses
import enum
import functools
import itertools
import re
from typing import NamedTuple

from meaning_corpus_marks import marks

CASES, T, S = marks()


SEEN = []


# Decorators that are classes.


class Counted:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        return self.func(*args)


class Passed:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func

    def __call__(self, *args):
        return self.func(*args)


class Noted(Passed):
    @staticmethod
    def __call__(x):
        SEEN.append(x)


def square(x):
    return x * x


def remember(x):
    SEEN.append(x)


def numbers(n):
    yield from range(n)


S(Counted(square))
S(functools.partial(Counted(square), 1))
S(Noted(square))
S(Passed(remember))
S(Passed(numbers))
T(Passed(square))
T(functools.partial(Passed(square), 1))
T(functools.lru_cache(Passed(square)))
T(Passed(functools.lru_cache(square)))


# Operators and statements on objects that the function has made itself.


def telling(*names):
    """Make a class that appends to a global list in the methods of these names."""

    def tell(self, *_args):
        SEEN.append(1)
        return self

    return type("Telling", (), dict.fromkeys(names, tell))


Less, Equal, Plus, Item = telling("__lt__"), telling("__eq__"), telling("__add__"), telling("__getitem__")
Stored, Deleted, Added, Following = (
    telling("__setitem__"),
    telling("__delattr__"),
    telling("__iadd__"),
    telling("__next__", "__iter__"),
)


@S
def compares(x):
    return sorted([Less(), Less()]), x


@S
def asks_whether_equal(x):
    return Equal() == x


@S
def adds(x):
    return Plus() + x


@S
def takes_an_item(x):
    return Item()[x]


@S
def stores_an_item(x):
    Stored()[x] = 1


@S
def deletes_an_attribute():
    thing = Deleted()
    del thing.x


@S
def adds_in_place(x):
    thing = Added()
    thing += x
    return x


@S
def goes_through(x):
    for _each in Following():
        x += 1
    return x


class Watched:
    """Tells of every attribute that is set."""

    def __setattr__(self, name, value):
        SEEN.append(name)
        object.__setattr__(self, name, value)


class Guessing:
    """Tells of attributes that it has not."""

    def __getattr__(self, name):
        SEEN.append(name)
        return 1


class Checked:
    """Has a descriptor that tells of its use, and a property that does when it is set."""

    class Field:
        def __get__(self, owner, cls):
            SEEN.append(owner)
            return 1

        def __set__(self, owner, value):
            SEEN.append(value)

    field = Field()

    @property
    def size(self):
        return 1

    @size.setter
    def size(self, value):
        SEEN.append(value)

    @functools.cached_property
    def told(self):
        SEEN.append(1)
        return 1


class Meta(type):
    def __call__(cls, *args):
        SEEN.append(args)
        return super().__call__(*args)


class Made(metaclass=Meta):
    """Tells of every object that is made of it, by its metaclass."""


class Last:
    """Tells of its end."""

    def __del__(self):
        SEEN.append(1)


@S
def sets_what_is_watched(x):
    Watched().x = x


@S
def guesses(x):
    return Guessing().anything + x


@S
def sets_a_property(x):
    Checked().size = x


@S
def sets_a_field(x):
    Checked().field = x


@S
def reads_a_field(x):
    return Checked().field + x


@S
def reads_what_tells_once(x):
    return Checked().told + x


@S
def makes_by_a_metaclass(x):
    return Made() and x


@S
def lets_go(x):
    Last()
    return x


@T
def reads_and_deletes_nothing(x):
    return Checked().size + x


class Vector:
    """Has operators that make new objects, and sets only itself."""

    dimensions = 2

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.parts = {}

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __iadd__(self, other):
        self.x += other.x
        return self

    def __lt__(self, other):
        return self.x < other.x

    def __getitem__(self, place):
        return self.parts.setdefault(place, self.x)

    def __setitem__(self, place, value):
        self.parts[place] = value

    def __setattr__(self, name, value):
        super().__setattr__(name, value)

    def __getattr__(self, name):
        return self.parts[name]

    def __iter__(self):
        yield self.x
        yield self.y

    @property
    def length(self):
        return self.x

    @length.setter
    def length(self, value):
        self.x = value

    @functools.cached_property
    def squared(self):
        return self.x**2


@T
def computes_with_vectors(n):
    total = Vector(0, 0)
    for i in range(n):
        total = total + Vector(i, i)
        total += Vector(1, 1)
    total[0] = 1
    total.length = 5
    return sorted([total, Vector(1, 2)])[0][0], list(total), total.squared


# Objects that are handed to somebody who calls them.


class Registered:
    """Counts its objects."""

    made = []

    def __init__(self, x):
        Registered.made.append(x)


class Telling:
    def __call__(self, x):
        SEEN.append(x)


class Doubling:
    def __init__(self, x=0):
        self.x = x

    def __call__(self, x):
        self.x = x
        return x * 2


@functools.lru_cache
def remembered_once(x):
    SEEN.append(x)


append = SEEN.append
append_partly = functools.partial(SEEN.append)


@S
def makes_of_each(xs):
    return list(map(Registered, xs))


@S
def tells_of_each(xs):
    return list(map(Telling(), xs))


@S
def appends_each(xs):
    return list(map(append, xs))


@S
def appends_each_partly(xs):
    return list(map(append_partly, xs))


@S
def remembers_each(xs):
    return list(map(remembered_once, xs))


@S
def sorts_by_telling(xs):
    return sorted(xs, key=Telling())


@T
def asks_for_the_class(x):
    return isinstance(x, Registered) or issubclass(type(x), Telling)


@T
def maps_with_its_own(xs):
    return list(map(Doubling, xs)), sorted(xs, key=Doubling()), list(map(functools.partial(pow, 2), xs))


# What all objects of a class have in common, reached through one that was made here.


class Numbered:
    """Numbers its objects, and keeps them."""

    numbers = itertools.count()
    last = collections.deque(maxlen=3)
    rates = {"a": 1}
    words = re.compile("a+")

    def number(self):
        return next(self.numbers)

    def keep(self, x):
        self.last.append(x)

    def read(self, text):
        return self.words.findall(text), self.rates["a"], len(self.last)


@S
def numbers_its_own(x):
    return Numbered().number() + x


@S
def keeps_in_its_own(x):
    Numbered().keep(x)


@T
def reads_its_own(text):
    return Numbered().read(text)


# Classes that a call makes.


class Size(enum.Enum):
    SMALL = 1


@T
def makes_a_record(x):
    @dataclasses.dataclass
    class Record:
        number: int
        size: Size = Size.SMALL

    return Record(x).number


@T
def makes_a_named_tuple(x):
    class Pair(NamedTuple):
        first: int
        second: int = 0

    return Pair(x).first + sum(Pair(x))


@S
def remembers_in_the_body_of_a_class(x):
    class Record:
        seen = SEEN
        seen.append(x)

    return Record


class Plugin:
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        SEEN.append(cls.__name__)


class Registering(type):
    def __init__(cls, name, bases, inside):
        super().__init__(name, bases, inside)
        SEEN.append(name)


class Listed(metaclass=Registering):
    pass


class Base:
    def total(self):
        return self.number + 1


@S
def makes_a_plugin(_x):
    class Own(Plugin):
        pass

    return Own.__name__


@S
def makes_one_that_is_registered(_x):
    class Own(Listed):
        pass

    return Own.__name__


@T
def derives_from_a_class_of_the_program(x):
    class Own(Base):
        number = x

    return Own().total()


@T
def makes_an_enumeration(x):
    class Color(enum.Enum):
        RED = 1
        BLUE = 2

    return Color(1 + x % 2).name
