"""What is one object here is two in another process: calls that would notice stay, and no others."""

import collections
import dataclasses
import enum

import pytest

import pointsman
from pointsman._meaning import judge


class Node:
    def __init__(self, number=0, parent=None):
        self.number = number
        self.parent = parent


@dataclasses.dataclass(frozen=True)
class Point:
    x: int = 0


class Color(enum.Enum):
    RED = 1


class OneOfAKind:
    def __reduce__(self):
        return "THE_ONE"


THE_ONE = OneOfAKind()
ROOT = Node()
NODES = [Node(number) for number in range(5)]
WEIGHTS = {node: node.number for node in NODES}
PAIRS = {(one, two): 1 for one in NODES for two in NODES}
CHOSEN = set(NODES[:2])
COUNTED = collections.Counter(NODES)
POINTS = [Point(1), Point(2)]
SIZES = {Point(1): 1}
BY_ID = {id(node): node.number for node in NODES}
BY_NUMBER = {node.number: node for node in NODES}


def neighbours(node):
    return [other.number for other in NODES if other is not node]


def is_listed(node):
    return any(other == node for other in NODES)


class Graph:
    def __init__(self):
        self.weights = dict(WEIGHTS)

    def weight(self, node):
        return self.weights[node]

    def has(self, node):
        return node in self.weights


def captures():
    seen = list(NODES)
    return lambda node: seen.index(node)


def by_default(node, nothing=ROOT):
    return 0 if node is nothing else 1


def depth(node, seen=None):
    """As what walks over a graph does, which may have cycles."""
    seen = {} if seen is None else seen
    if node is None or id(node) in seen:
        return 0
    seen[id(node)] = True
    return 1 + depth(node.parent, seen)


def calls_another(node):
    return neighbours(node.parent or node)


TELLING_APART = {
    "a loop over all": neighbours,
    "a generator": is_listed,
    "another function": calls_another,
    "a default": by_default,
    "a captured list": captures(),
    "a method": Graph().weight,
    "a method that asks": Graph().has,
    "an item of a dict": lambda node: WEIGHTS[node],
    "get": lambda node: WEIGHTS.get(node, 0),
    "a counter": lambda node: COUNTED[node],
    "a set": lambda node: node in CHOSEN,
    "a part of the input": lambda node: node.parent in NODES,
    "a pair": lambda node: PAIRS[node, node.parent],
    "index": lambda node: NODES.index(node),
    "equal to a global": lambda node: node == ROOT,
    "is a global": lambda node: ROOT is node,
    "values": lambda node: node in BY_NUMBER.values(),
    "id": lambda node: BY_ID[id(node)],
    "id, with get": lambda node: BY_ID.get(id(node.parent)),
    "a comprehension": lambda node: [other.number for other in NODES if other != node],
}


@pytest.mark.parametrize("function", TELLING_APART.values(), ids=TELLING_APART)
def test_a_call_that_knows_an_input_by_its_identity_stays(function):
    verdict = judge(function, (Node(3, parent=Node(4)),))

    assert not verdict.may_travel
    assert "which a copy is not" in verdict.reasons[0]


LOOKING = {
    "is None": (lambda node: node is None, Node()),
    "a part is None": (lambda node: node.parent is None, Node()),
    "its class": (lambda node: type(node) is Node, Node()),
    "isinstance": (lambda node: isinstance(node, Node) and node.number == ROOT.number, Node()),
    "a number in it, as an index": (lambda node: BY_NUMBER[node.number].number, Node()),
    "a number in it, in a dict": (lambda node: node.number in BY_NUMBER, Node()),
    "numbers of others": (lambda node: [other.number for other in NODES if other.number != node.number], Node()),
    "a list made here": (lambda node: node in [node, node.parent], Node()),
    "two parts of an input": (lambda pair: pair[0] is pair[1], (Node(), Node())),
    "two inputs": (lambda node, other: node == other, Node()),
    "ids of its parts": (lambda node: depth(node), Node()),
    "an enumeration": (lambda color: color is Color.RED, Color.RED),
    "one of a kind": (lambda one: one is THE_ONE, THE_ONE),
    "equal keys": (lambda point: point in SIZES, Point()),
    "get of equal keys": (lambda point: SIZES.get(point), Point()),
    "index of equals": (lambda point: POINTS.index(point) if point in POINTS else -1, Point()),
    "another class": (lambda text: WEIGHTS.get(text), "text"),
    "lists": (lambda numbers: numbers == [1], [1]),
}


@pytest.mark.parametrize(("function", "sample"), LOOKING.values(), ids=LOOKING)
def test_a_call_that_looks_at_what_an_input_is_like_goes_anywhere(function, sample):
    assert judge(function, (sample,)).reasons == ()


def weigh(node):
    total = 0
    for number in range(20_000):
        total += number
    return WEIGHTS.get(node)


def test_an_automatic_choice_gives_what_a_loop_would():
    results, plan = pointsman.execute(weigh, NODES * 60, return_optimization_result=True)

    assert results == [weigh(node) for node in NODES * 60]
    assert any("as one and the same object" in (way.struck_out or "") for way in plan.candidates)


CENTRES = [Node(1), Node(5)]
MODEL = Graph()


def local_functions():
    def handler():
        pass

    names = {handler: 1}
    return handler, lambda function: names[function]


def test_a_function_that_travels_by_value_is_no_key_elsewhere():
    handler, named = local_functions()
    names = {neighbours: 1}

    assert not judge(named, (handler,)).may_travel
    assert judge(lambda function: names[function], (neighbours,)).may_travel


class Walker:
    def walk(self, steps):
        return self if steps else None


@pytest.mark.parametrize(
    "function",
    [
        lambda node: node if node.number else None,
        lambda node: (node.number, node),
        lambda node: [node.parent, node.number],
        lambda node: min(CENTRES, key=lambda centre: abs(centre.number - node.number)),
        lambda node: BY_NUMBER.get(node.number),
        lambda node: {"nodes": CENTRES, "of": node.number},
        lambda node: MODEL if node.number else None,
        lambda node: (node.number, id(node)),
    ],
    ids=["the input", "in a tuple", "a part", "one of a list", "one of a dict", "in a dict", "a global", "an id"],
)
def test_a_call_that_gives_back_what_is_equal_to_itself_only_stays(function):
    verdict = judge(function, (Node(3, parent=Node(4)),))

    assert not verdict.may_travel
    assert "comes a copy" in verdict.reasons[0]


def test_the_same_of_a_method_that_gives_back_its_object():
    assert "comes a copy" in judge(Walker().walk, (1,)).reasons[0]


@pytest.mark.parametrize(
    ("function", "sample"),
    [
        (lambda node: Node(node.number), Node()),
        (lambda node: node.number, Node()),
        (lambda point: point, Point()),
        (lambda point: (point, POINTS), Point()),
        (lambda numbers: numbers, [1, 2]),
        (lambda node: type(node), Node()),
        (lambda node: neighbours if node else captures, Node()),
        (lambda color: color, Color.RED),
    ],
    ids=["a new one", "a number", "an equal one", "equal ones", "a list", "a class", "a function", "an enumeration"],
)
def test_a_call_that_gives_back_what_its_copy_is_equal_to_goes_anywhere(function, sample):
    assert judge(function, (sample,)).reasons == ()
