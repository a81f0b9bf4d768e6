"""What is judged although no name in the code says it: operators of the user's classes, streams, handlers, identities.

What it does not know: how a verdict is kept, or where calls run.
"""

import ast
import builtins
import collections
import contextlib
import functools
import html.parser
import io
import logging
import os
import subprocess
import sys
import types
import warnings

import pytest

import pointsman
from pointsman._meaning import judge

pytestmark = pytest.mark.timeout(60)


def used_by(use):
    """Make a class whose objects are used by operators and built-in functions through `use`."""

    class Thing:  # noqa: PLW1641 - it has the method by another name
        def __init__(self):
            self.uses = 0

        __len__ = __getitem__ = __add__ = __lt__ = __contains__ = __hash__ = use

        def __eq__(self, other):
            return use(self) == other

        def __bool__(self):
            return bool(use(self))

        def __iter__(self):
            return iter([use(self)])

        def __str__(self):
            return str(use(self))

    return Thing


def counted(self, *_):
    self.uses += 1
    return 1


def ignored(_self, *_):
    return 1


Counting, Only = used_by(counted), used_by(ignored)


USES = {
    "len": len,
    "item": lambda it: it[0],
    "plus": lambda it: it + 1,
    "less": lambda it: it < 1,
    "in": lambda it: 1 in it,
    "hash": hash,
    "equal": lambda it: it == 1,
    "truth": lambda it: 1 if it else 0,
    "loop": list,
    "text": lambda it: f"{it}",
    "library": lambda it: sum(it),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_object_that_notes_its_uses_stays_with_whoever_uses_it(use):
    counting, only = Counting(), Only()

    assert not judge(lambda: use(counting)).may_travel
    assert judge(lambda: use(only)).may_travel
    use(counting)
    assert counting.uses


@pytest.mark.parametrize("use", [USES["item"], USES["plus"], USES["text"]], ids=["item", "plus", "text"])
def test_inputs_that_note_their_uses_stay(use):
    assert not judge(use, (Counting(),)).may_travel
    assert judge(use, (Only(),)).may_travel


def test_a_dictionary_that_fills_itself_stays():
    filled, plain = collections.defaultdict(list), collections.defaultdict()

    assert not judge(lambda key: filled[key]).may_travel
    assert judge(lambda key: plain[key]).may_travel


def test_iterators_as_inputs_stay():
    def total(numbers):
        return sum(numbers)

    assert not judge(total, (iter([1]),)).may_travel
    assert not judge(sum, (iter([1]),)).may_travel
    assert judge(total, ([1],)).may_travel


def test_what_is_known_by_its_identity_stays():
    missing = object()

    def found(x):
        return x is not missing

    assert "identity" in judge(found).reasons[0]
    assert not judge(lambda x: x is not None, (object(),)).may_travel


@pytest.mark.parametrize(
    "make",
    [
        lambda n: (i for i in range(n)),
        lambda n: [(i for i in range(n)), 2],
        lambda n: {"them": (i for i in range(n))},
    ],
    ids=["alone", "in a list", "in a dict"],
)
def test_a_function_that_gives_back_a_generator_stays(make):
    assert "returns a generator" in judge(make).reasons[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: sum(i for i in range(n)),
        lambda n: next((i for i in range(n) if i > 3), None),
        lambda n: [*(i for i in range(n))],
        lambda n: min((i for i in range(n)), default=0),
        lambda n: ",".join(str(i) for i in range(n)),
    ],
    ids=["sum", "next", "list", "min", "join"],
)
def test_a_function_that_uses_a_generator_itself_may_travel(make):
    assert judge(make).may_travel


def prints(x):
    print(x)  # noqa: T201 - it is about that


def writes(x):
    sys.stdout.write(str(x))


@pytest.mark.parametrize("function", [prints, writes])
def test_what_is_printed_goes_anywhere_unless_the_program_catches_it(function, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)

    assert judge(function).may_travel
    with contextlib.redirect_stdout(io.StringIO()):
        assert not judge(function).may_travel
    assert judge(function).may_travel


def test_a_print_that_a_library_has_replaced_is_still_one(monkeypatch):
    monkeypatch.setattr(builtins, "print", warnings.warn_explicit)

    with contextlib.redirect_stdout(io.StringIO()):
        assert not judge(prints).may_travel


def test_a_warning_goes_anywhere_unless_the_program_catches_it(monkeypatch):
    # As it is without pytest, which catches them itself.
    monkeypatch.setattr(warnings, "_showwarnmsg_impl", lambda _: None)
    monkeypatch.setattr(warnings._showwarnmsg_impl, "__module__", "warnings")
    monkeypatch.setattr(warnings, "showwarning", warnings._showwarning_orig)

    def warn(x):
        warnings.warn(str(x), stacklevel=1)

    assert judge(warn).may_travel
    with warnings.catch_warnings(record=True):
        assert not judge(warn).may_travel
    assert judge(warn).may_travel


@pytest.fixture
def quiet_root(monkeypatch):
    """The root logger, without what pytest and the libraries that other tests have imported did to the loggers."""
    monkeypatch.setattr(logging.Logger.manager, "loggerDict", {log.name: log})
    monkeypatch.setattr(log, "parent", logging.getLogger())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    return logging.getLogger()


log = logging.getLogger("a.logger.of.the.tests")
adapted = logging.LoggerAdapter(log)


@pytest.mark.parametrize(
    "speak",
    [
        lambda x: log.info(x),
        lambda x: logging.info(x),  # noqa: LOG015 - programs do
        lambda x: logging.getLogger("a.logger.of.the.tests").info(x),
        lambda x: logging.getLogger(__name__).info(x),
        lambda x: adapted.info(x),
    ],
    ids=["logger", "module", "by name", "by its own name", "adapter"],
)
def test_a_log_goes_anywhere_unless_a_handler_of_the_program_would_hear_it(speak, quiet_root, monkeypatch):
    assert judge(speak).may_travel
    quiet_root.addHandler(logging.StreamHandler(io.StringIO()))
    monkeypatch.setattr(quiet_root, "level", logging.DEBUG)
    assert not judge(speak).may_travel


def test_what_no_handler_would_be_given_goes_anywhere(quiet_root, monkeypatch):
    quiet_root.addHandler(logging.StreamHandler(io.StringIO()))
    monkeypatch.setattr(quiet_root, "level", logging.WARNING)

    assert judge(lambda x: log.info(x)).may_travel
    assert not judge(lambda x: log.error(x)).may_travel


def test_a_logger_that_is_asked_for_by_its_name_may_be_any_that_has_a_handler(quiet_root, monkeypatch):
    def speak(x):
        logging.getLogger("a.logger.of.the.tests").info(x)

    monkeypatch.setattr(log, "handlers", [logging.StreamHandler(io.StringIO())])
    monkeypatch.setattr(log, "level", logging.INFO)

    assert not judge(speak).may_travel
    assert judge(lambda x: logging.getLogger("a.logger.of.the.tests").debug(x)).may_travel
    assert judge(lambda x: logging.info(x)).may_travel  # noqa: LOG015 - the root's are others
    assert judge(lambda x: logging.getLogger(__name__).info(x)).may_travel


def test_a_logger_that_is_asked_for_by_a_known_name_has_the_handlers_of_those_above_it(quiet_root, monkeypatch):
    monkeypatch.setattr(logging.getLogger("above"), "handlers", [logging.StreamHandler(io.StringIO())])
    monkeypatch.setattr(logging.getLogger("above"), "level", logging.INFO)

    def speak_as(name):
        return lambda x: logging.getLogger(name).info(x)

    assert [judge(speak_as(name)).may_travel for name in ("above", "above.it", "beside", "abov")] == [
        False,
        False,
        True,
        True,
    ]


# Hashes, which each process seeds by itself.


HASHING = """
import os
if {later!r}:
    os.environ["PYTHONHASHSEED"] = {later!r}
from pointsman._meaning import judge
def work(x): return hash(x)
print(judge(work).may_travel)
"""


@pytest.mark.parametrize(
    ("seed", "later", "may_travel"),
    [
        (None, "", False),
        ("random", "", False),
        ("0", "", True),
        ("123", "", sys.platform == "linux"),
        (None, "0", False),
        (None, "123", False),
        ("123", "124", False),
        ("0", "124", False),
        ("0", "random", False),
    ],
)
def test_what_hashes_a_text_stays_unless_every_process_has_the_seed_of_this_one(seed, later, may_travel):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    environment |= {} if seed is None else {"PYTHONHASHSEED": seed}
    script = HASHING.format(later=later)

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(may_travel)


class Named:
    """Has a hash of its own, as things in sets do."""

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)


NAMED = Named("a")


@pytest.mark.parametrize(
    "work",
    [
        lambda x: hash(x),
        lambda x: hash((x, "a")) % 8,
        lambda x: x.__hash__(),
        lambda xs: list(map(hash, xs)),
        lambda xs: sorted(xs, key=hash),
        lambda x: hash(NAMED) + x,
        hash,
    ],
    ids=["text", "tuple", "method of an argument", "mapped", "key", "own", "itself"],
)
def test_what_hashes_a_text_stays(work, monkeypatch):
    monkeypatch.setattr("pointsman._meaning._hashes.are_fixed", lambda: False)

    assert not judge(work, ("a",)).may_travel


@pytest.mark.parametrize(
    "work",
    [lambda x: hash(x), hash, lambda x: {NAMED: x}[NAMED], lambda x: {Named(x), NAMED} and {x: 1}],
    ids=["number", "itself", "key", "set"],
)
def test_what_hashes_a_number_or_keeps_things_in_a_set_goes_anywhere(work, monkeypatch):
    monkeypatch.setattr("pointsman._meaning._hashes.are_fixed", lambda: False)

    assert judge(work, (5,)).may_travel


DESCRIPTOR = os.open(os.devnull, os.O_RDWR)


@pytest.mark.parametrize(
    "use",
    [lambda x: os.write(DESCRIPTOR, bytes(x)), lambda x: os.pread(DESCRIPTOR, 1, x), lambda x: os.fstat(x).st_size],
    ids=["writes", "reads at a place", "asks about an input"],
)
def test_the_number_of_an_open_file_means_nothing_elsewhere(use):
    verdict = judge(use, (DESCRIPTOR,))

    assert not verdict.may_travel
    assert "the number of a file" in verdict.reasons[0]
    assert verdict.alone


def test_a_call_that_opens_the_file_itself_goes_anywhere():
    def reads_some(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.read(descriptor, 10)
        finally:
            os.close(descriptor)

    assert judge(reads_some, (os.devnull,)).may_travel
    assert judge(lambda x: os.write(2, bytes(x)), (1,)).may_travel


MAIN = """
import sys
def helper(x): return x
def by_name(x): return globals()["helper"](x)
def by_module(x): return sys.modules[__name__].helper(x)
def by_import(x):
    import __main__
    return __main__.helper(x)
def by_function(x): return helper.__globals__["helper"](x)
def plainly(x): return helper(x)
"""


@pytest.mark.parametrize("name", ["by_name", "by_module", "by_import", "by_function", "plainly"])
def test_a_function_that_travels_without_its_module_may_not_look_for_it(name, monkeypatch):
    main = types.ModuleType("__main__")
    exec(MAIN, vars(main))  # noqa: S102 - the text above
    monkeypatch.setitem(sys.modules, "__main__", main)

    verdict = judge(vars(main)[name], (1,))

    assert verdict.may_travel == (name == "plainly")
    assert all("travels without its module" in reason for reason in verdict.reasons)


def test_a_function_of_a_module_finds_it_there():
    assert judge(by_its_module, (1,)).may_travel


def by_its_module(x):
    return globals()["DESCRIPTOR"] * x


LINKS: list[object] = []


class Links(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        LINKS.append((tag, attrs))


class Names(ast.NodeVisitor):
    def visit_Name(self, node):
        LINKS.append(node.id)


class Quiet(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.links.append((tag, attrs))

    def other(self):
        LINKS.clear()


class Keys:
    asked = 0

    def key(self, value):
        self.asked += 1
        return -value


KEYS = Keys()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: Links().feed(f"<a href='{x}'>"),
        lambda x: Names().visit(ast.parse(f"a{x}")),
        lambda x: sorted([x, x + 1], key=KEYS.key),
    ],
    ids=["a parser", "a visitor", "a key"],
)
def test_what_a_library_calls_of_the_programs_classes_is_read(function):
    assert not judge(function, (1,)).may_travel


class Walks:
    def key(self, value):
        return -value

    def walk(self, function, depth):
        return function(depth) + self.walk(self.key, depth - 1) + self.walk(self.key, depth - 2) if depth > 0 else 0


WALKS = Walks()


def test_methods_that_are_handed_on_and_on_are_read_once():
    assert judge(lambda depth: WALKS.walk(WALKS.key, depth), (3,)).reasons == ()


def test_what_a_library_does_not_call_of_them_is_not_read():
    def links(x):
        parser = Quiet()
        parser.feed(f"<a href='{x}'>")
        return parser.links

    assert judge(links, (1,)).reasons == ()


class Part:
    @functools.cached_property
    def large(self):
        return 1


def test_an_input_that_keeps_what_is_read_of_it_stays():
    part = Part()

    assert "fills `large`" in judge(lambda one: one.large, (part,)).reasons[0]
    # The one that is looked at was the first call's, and has it.
    assert part.large
    assert "fills `large`" in judge(lambda one: one.large, (part,)).reasons[0]


def test_functions_as_inputs_are_each_read():
    def harmless():
        return sum(range(20_000))

    def writes():
        LINKS.append(1)
        return sum(range(20_000))

    LINKS.clear()
    pointsman.execute(lambda function: function(), [harmless] * 100 + [writes] * 100)

    assert len(LINKS) == 100


class Added:
    def __init__(self, left, right):
        self.left, self.right = left, right


class Sums:
    def visit(self, node):
        return getattr(self, "visit_" + type(node).__name__)(node)

    def visit_int(self, node):
        return node

    def visit_Added(self, node):  # noqa: N802 - by the name of the class
        return self.visit(node.left) + self.visit(node.right)


class NotedSums(Sums):
    def visit_int(self, node):
        LINKS.append(node)
        return node


def test_methods_that_are_taken_by_the_beginning_of_their_name_are_read():
    assert judge(lambda node: Sums().visit(node), (Added(1, 2),)).reasons == ()
    assert "LINKS" in judge(lambda node: NotedSums().visit(node), (Added(1, 2),)).reasons[0]


def test_what_attrs_writes_itself_is_no_reason():
    attrs = pytest.importorskip("attrs")
    point = attrs.make_class("Point", ["x"])

    assert judge(lambda one: one.x + 1, (point(1),)).reasons == ()
