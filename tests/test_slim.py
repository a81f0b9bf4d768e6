"""Functions of modules that workers need not import: they travel with the little that they need.

What it does not know: how anything is packed.
"""

import importlib
import sys

import pytest

import pointsman

pytestmark = pytest.mark.timeout(60)

MODULE = """
import collections, csv, decimal, functools, json, math, os, re, string
from pathlib import Path

# Who imports this tells.
with Path({folder!r}, "imported").open("a") as told:
    print(os.getpid(), file=told)

csv.register_dialect("odd", delimiter="|")
SCALE = 3
NAMES = ("a", "b")
WORD = re.compile("[a-z]+")
TABLE = [1, 2, 3]
STATE = {{}}
count = 0

class Box:
    def __init__(self, value):
        self.value = value

def helper(x):
    return math.sqrt(x * x) * SCALE

def pure(x, *, more=2):
    inner = lambda y: helper(y) + more
    return inner(x), NAMES, WORD.findall("ab 1 cd"), string.ascii_lowercase[:x], collections.Counter("aa")["a"]

def recursive(x):
    return 1 if x < 2 else x * recursive(x - 1)

def raises(x):
    return helper("no number")

def dialect(x):
    return next(csv.reader(["1|2"], "odd"))

def reads_a_list(x):
    return TABLE[x % 3]

def makes_a_box(x):
    return Box(x)

def knows_its_file(x):
    return __file__

def asks_for_all(x):
    return globals()["SCALE"] + x

def counts(x):
    global count
    count += 1
    return count > 0

def imports(x):
    import json
    return json.dumps(x)

def dumps(x):
    return json.dumps({{1, 2}})

@functools.lru_cache
def cached(x):
    return x * SCALE
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text(MODULE.format(folder=str(tmp_path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = importlib.import_module("needy")
    (tmp_path / "imported").unlink()
    yield loaded
    del sys.modules["needy"]


def away(function, items=range(4)):
    return pointsman.execute(function, items, backend="processes", max_workers=2)


def is_imported(module):
    """Whether a worker has imported the module."""
    folder = module.__file__.removesuffix("needy.py")
    try:
        with open(folder + "imported") as told:
            return bool(told.read())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", ["pure", "recursive", "helper"])
def test_a_function_that_needs_nothing_of_its_module_goes_without_it(name, module):
    function = getattr(module, name)

    assert away(function) == [function(x) for x in range(4)]
    assert not is_imported(module)


def test_so_does_one_that_is_submitted(module):
    with pointsman.Executor(2, backend="processes") as executor:
        assert executor.submit(module.pure, 3, more=5).result() == module.pure(3, more=5)
    assert not is_imported(module)


@pytest.mark.parametrize(
    "name", ["dialect", "reads_a_list", "knows_its_file", "asks_for_all", "counts", "imports", "cached"]
)
def test_one_whose_module_may_matter_finds_it_imported(name, module):
    function = getattr(module, name)

    assert away(function) == [function(x) for x in range(4)]
    assert is_imported(module)


def test_objects_of_the_module_are_of_its_own_class(module):
    boxes = away(module.makes_a_box)

    assert [type(box) for box in boxes] == [module.Box] * 4
    assert is_imported(module)


def test_what_the_module_has_put_into_another_is_there(module, monkeypatch):
    import json

    # As the module might have done when it was imported: workers learn it by that only.
    with open(module.__file__, "a") as source:
        source.write("\njson.JSONEncoder.default = lambda self, value: sorted(value)\n")
    monkeypatch.setattr(json.JSONEncoder, "default", lambda _self, value: sorted(value))

    assert away(module.dumps) == ["[1, 2]"] * 4
    assert is_imported(module)


def test_a_value_that_was_replaced_is_seen_from_then_on(module, monkeypatch):
    before = away(module.helper, [1])
    monkeypatch.setattr(module, "SCALE", 10)

    assert (before, away(module.helper, [1])) == ([3.0], [10.0])


def import_and_set(value):
    importlib.import_module("needy").SCALE = value


def test_what_an_initializer_sets_in_the_module_is_seen(module):
    with pointsman.Executor(2, backend="processes", initializer=import_and_set, initargs=(7,)) as executor:
        assert executor.submit(module.helper, 1).result() == 7.0


def test_an_error_has_the_lines_of_the_module(module):
    with pytest.raises(TypeError) as caught:
        away(module.raises)

    assert "needy.py" in str(caught.value.__cause__)
    assert "return helper(" in str(caught.value.__cause__)
