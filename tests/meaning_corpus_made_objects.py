"""What objects that a call makes are given to keep: things of the program, or of the call. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

from meaning_corpus_marks import marks

CASES, T, S = marks()

SEEN = []
SETTINGS = {"scale": 3}


def remember(x):
    SEEN.append(x)


def square(x):
    return x * x


class Repository:
    def __init__(self, rows):
        self._rows = rows

    def add(self, row):
        self._rows.append(row)
        return self

    def first(self):
        return self._rows[0]


class Service:
    def __init__(self, repository):
        self.repository = repository

    def take(self, row):
        self.repository.add(row)


class Derived(Repository):
    def __init__(self, rows):
        super().__init__(rows)
        self.count = 0


class Holder:
    def __init__(self, log=None):
        self.log = SEEN if log is None else log


class Context:
    def __init__(self):
        self.out = SEEN

    def __enter__(self):
        return self.out

    def __exit__(self, *_error):
        pass


class Telling:
    def __init__(self, tell):
        self.tell = tell
        self.told = 0

    def fire(self, x):
        self.told += 1
        return self.tell(x)


@dataclasses.dataclass
class Basket:
    things: list
    shared: list = dataclasses.field(default_factory=lambda: SEEN)

    def put(self, thing):
        self.things.append(thing)


class Pair(NamedTuple):
    name: str
    things: list


class OfOneMind:
    state = {"calls": 0}  # noqa: RUF012 - what all objects have in common

    def __init__(self):
        self.__dict__ = OfOneMind.state


class Scaled:
    def __init__(self, settings):
        self.settings, self.values = settings, []

    def add(self, x):
        self.values.append(x * self.settings["scale"])
        return self.values


class Node:
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right

    def total(self):
        return self.value + sum(node.total() for node in (self.left, self.right) if node is not None)


@S
def adds_to_a_repository_of_the_program(x):
    Repository(SEEN).add(x)


@S
def adds_to_one_in_a_variable(x):
    repository = Repository(SEEN)
    repository.add(x)


@S
def adds_by_way_of_a_service(x):
    Service(Repository(SEEN)).take(x)


@S
def adds_by_way_of_a_base(x):
    Derived(SEEN).add(x)


@S
def adds_to_a_default(x):
    Holder().log.append(x)


@S
def adds_to_what_a_context_gives(x):
    with Context() as out:
        out.append(x)


@S
def tells_another(x):
    Telling(remember).fire(x)


@S
def puts_into_a_basket(x):
    Basket(SEEN).put(x)


@S
def puts_into_what_a_factory_gives(x):
    Basket([]).shared.append(x)


@S
def adds_to_a_field(x):
    Pair("x", SEEN).things.append(x)


@S
def sets_the_attributes_of_all(x):
    OfOneMind().last = x


@S
def adds_to_what_was_set_here(x):
    holder = Holder([])
    holder.log = SEEN
    holder.log.append(x)


@T
def adds_to_a_repository_of_its_own(x):
    return Repository([]).add(x).first()


@T
def reads_settings_that_it_keeps(x):
    return Scaled(SETTINGS).add(x)


@T
def tells_one_that_only_computes(x):
    return Telling(square).fire(x)


@T
def builds_a_tree(x):
    def build(depth):
        return Node(depth, build(depth - 1), build(depth - 1)) if depth else Node(x)

    return build(3).total()


@T
def builds_a_chain(x):
    node = None
    for value in range(x):
        node = Node(value, node)
    return node and node.total()


@T
def puts_into_a_basket_of_its_own(x):
    basket = Basket([])
    basket.put(x)
    return basket.things


# Calls that go another way.


class Register:
    def __init__(self):
        self.rows = []

    def _note(self, kind, row):
        self.rows.append((kind, row))

    note_sale = functools.partialmethod(_note, "sale")

    def _scaled(self, factor, x):
        return factor * x + len(self.rows)

    doubled = functools.partialmethod(_scaled, 2)


class Floored:
    def __init__(self):
        self.asked = 0

    def __floor__(self):
        self.asked += 1
        return self.asked


REGISTER, FLOORED = Register(), Floored()


@S
def notes_a_sale(x):
    REGISTER.note_sale(x)


@T
def doubles(x):
    return REGISTER.doubled(x)


@S
def remembers_by_its_call(x):
    remember.__call__(x)


@T
def computes_by_its_call(x):
    return square.__call__(x)


@S
def rounds_what_counts(_x):
    return math.floor(FLOORED)
