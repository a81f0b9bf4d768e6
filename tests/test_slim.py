"""Functions of modules that workers need not import: they travel with the little that they need.

What it does not know: how anything is packed.
"""

import builtins
import decimal
import importlib
import json
import sys

import pytest

import pointsman

pytestmark = pytest.mark.timeout(60)

MODULE = """
import collections, functools, json, math, re, string
from pathlib import Path

# Who imports this tells: what is kept of a call is no matter.
TOLD = Path({folder!r}, "imported").write_text("x")

SCALE = 3
NAMES = ("a", "b")
WORD = re.compile("[a-z]+")
TABLE = [1, 2, 3]
MARK: int = 4

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

def reads_a_list(x):
    return TABLE[x % 3]

def makes_a_box(x):
    return Box(x)

def knows_its_file(x):
    return __file__

def asks_for_all(x):
    return globals()["SCALE"] + x

def gives_a_function(x):
    return helper

def is_a_name(x):
    return NAMES is x

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
    # As if it had been chosen.
    return pointsman.execute(function, items, plan=pointsman.Plan(backend="processes", max_workers=2, processes=2))


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


def test_where_processes_were_asked_for_the_module_is_imported(module):
    assert pointsman.execute(module.pure, range(2), backend="processes", max_workers=2) == [
        module.pure(0),
        module.pure(1),
    ]
    assert is_imported(module)


def test_so_it_is_for_calls_that_are_submitted(module):
    with pointsman.Executor(2, backend="processes") as executor:
        assert executor.submit(module.pure, 3, more=5).result() == module.pure(3, more=5)
    assert is_imported(module)


@pytest.mark.parametrize("name", ["reads_a_list", "knows_its_file", "asks_for_all", "is_a_name", "imports", "cached"])
def test_one_whose_module_may_matter_finds_it_imported(name, module):
    function = getattr(module, name)

    assert away(function) == [function(x) for x in range(4)]
    assert is_imported(module)


def test_objects_of_the_module_are_of_its_own_class(module):
    boxes = away(module.makes_a_box)

    assert [type(box) for box in boxes] == [module.Box] * 4
    assert is_imported(module)


def test_a_function_of_the_module_is_the_same_in_results(module):
    assert away(module.gives_a_function) == [module.helper] * 4
    assert is_imported(module)


ELSEWHERE = {
    "what its import sets for numbers": ("import decimal\ndecimal.getcontext().prec = 5", "x / 3", [decimal.Decimal(1)]),
    "a name that it gives to all": ("import gettext\ngettext.install('x')", "_('a')", [1]),
    "what it puts in the place of a built-in": ("import builtins\nbuiltins.abs = lambda x: -7", "abs(x)", [1]),
    "an error handler that it registers": (
        "import codecs\ncodecs.register_error('mine', lambda e: ('!', e.end))", "'\\xe4'.encode('ascii', 'mine')", [1],
    ),
    "a class that it registers": (
        "import numbers\nfrom decimal import Decimal\nnumbers.Real.register(Decimal)", "isinstance(x, numbers.Real)",
        [decimal.Decimal(1)],
    ),
    "what it puts into another module": ("import json\njson.JSONEncoder.item_separator = ';'", "json.dumps([1, 2])", [1]),
    "a function of another that it wraps": (
        "import functools, json\njson.dumps = functools.partial(json.dumps, indent=1)", "json.dumps([1])", [1],
    ),
    "what it imports itself": ("import needy_too", "abs(x)", [1]),
    "what a class does while it is made": ("class A:\n    import builtins\n    builtins.abs = len", "abs('xyz')", [1]),
    "what a sibling sets": ("scale = 1\ndef sets():\n    global scale\n    scale = 2", "scale + x", [1]),
}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_module_that_may_matter_elsewhere_is_imported(what, tmp_path, monkeypatch):
    statements, body, items = ELSEWHERE[what]
    monkeypatch.setattr(builtins, "abs", abs)
    monkeypatch.setattr(json, "dumps", json.dumps)
    monkeypatch.setattr(json.JSONEncoder, "item_separator", ", ")
    monkeypatch.setattr(decimal.getcontext(), "prec", 28)
    (tmp_path / "needy_too.py").write_text("import builtins\nbuiltins.abs = lambda x: -8\n")
    told = tmp_path / "imported"
    source = f"import pathlib\nTOLD = pathlib.Path({str(told)!r}).write_text('x')\n{statements}\n\ndef call(x):\n    return {body}\n"
    (tmp_path / "needy_one.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        call = importlib.import_module("needy_one").call
        told.unlink()

        assert away(call, items) == [call(x) for x in items]
        assert told.exists()
    finally:
        vars(builtins).pop("_", None)
        sys.modules.pop("needy_one", None)
        sys.modules.pop("needy_too", None)


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
