"""Methods and functions of libraries outside of the standard one that write to what others see are told by their names.

What it does not know: how code is read.
"""

import ast
import sys

import numpy as np
import pytest

from pointsman._meaning import judge
from pointsman._meaning._decode import READABLE

pytestmark = pytest.mark.skipif(not READABLE, reason="the bytecode of this Python is not known")

ARRAY = np.zeros(9)
MASKED = np.ma.masked_array([1.0])
TREE = ast.parse("1")


def through_views(x):
    for part in np.array_split(x, 3):
        part[0] = 1


def through_an_iterator(x):
    for value in np.nditer(x, op_flags=["readwrite"]):
        value[...] = 1


def as_type(x):
    same = x.astype(float, copy=False)
    same[0] = 1


def generated(x):
    np.random.default_rng(1).standard_normal(9, float, x)


@pytest.mark.parametrize(
    "function",
    [
        through_views, through_an_iterator, as_type, generated,
        lambda i: np.array_split(ARRAY, 9)[i].fill(1), lambda x: x.clip(0, 1, x), lambda x: np.exp(x, out=(x,)),
        lambda x: np.require(x, float).fill(1), lambda _: MASKED.set_fill_value(3),
        lambda x: np.lib.stride_tricks.as_strided(x).fill(1), lambda _: ast.fix_missing_locations(TREE),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_writes_to_an_array_or_a_tree_stays(function):
    assert not judge(function, (np.ones(9),)).may_travel


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.astype(float).sum(), lambda x: x.clip(0, 1), lambda x: np.exp(x), lambda x: np.array_split(x, 3)[0].sum(),
        lambda x: np.linalg.norm(x), lambda _: ARRAY.round(2), lambda x: x.sum(axis=0), lambda x: np.require(x, float).sum(),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_only_computes_with_arrays_may_go(function):
    assert judge(function, (np.ones(9),)).may_travel


SOURCE = """
class Graph:
    def __init__(self):
        self._nodes = {}

    def add_node(self, node):
        self._nodes[node] = 1

    def neighbors(self, node):
        return self._nodes.get(node)

    def _replace(self, **changes):
        return Graph()

def set_attributes(graph, value):
    graph._nodes.update(value)

def relabelled(graph, copy=True):
    return graph

def shortest_path(graph):
    return list(graph._nodes)
"""


@pytest.fixture
def graphs(tmp_path, monkeypatch):
    """A library that nobody knows, where libraries are installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "graphs_of_tests.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    import graphs_of_tests

    yield graphs_of_tests
    del sys.modules["graphs_of_tests"]


def test_the_names_of_an_unknown_library_are_taken_at_their_word(graphs):
    graph = graphs.Graph()

    class Mine(graphs.Graph):
        def take(self, i):
            self.add_node(i)

    for writes in (
        lambda i: graph.add_node(i),
        Mine().take,
        graph.add_node,
        lambda i: graphs.set_attributes(graph, {i: 1}),
        lambda _: graphs.relabelled(graph, copy=False),
    ):
        assert not judge(writes, (1,)).may_travel
    for reads in (
        lambda i: graph.neighbors(i),
        lambda _: graphs.shortest_path(graph),
        lambda _: graphs.relabelled(graph, copy=True),
        lambda i: graph._replace(a=i),
        lambda i: graphs.Graph().add_node(i),
    ):
        assert judge(reads, (1,)).may_travel


def test_estimators_that_learn_stay_and_those_that_predict_go():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = preprocessing.StandardScaler()

    for writes in (lambda x: scaler.partial_fit(x), scaler.fit, lambda x: preprocessing.scale(x, copy=False)):
        assert not judge(writes, (np.ones((3, 3)),)).may_travel
    for reads in (lambda x: scaler.transform(x), lambda x: preprocessing.scale(x)):
        assert judge(reads, (np.ones((3, 3)),)).may_travel
    assert judge(lambda x: preprocessing.StandardScaler().fit(x).transform(x), (np.ones((3, 3)),)).may_travel
