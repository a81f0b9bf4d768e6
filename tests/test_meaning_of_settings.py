"""What a program has set in another module is not set where workers import that anew.

What it does not know: what an automatic choice does with such functions otherwise.
"""

import importlib
import json
import sys

import pytest

import pointsman
from pointsman._meaning import judge

SETTINGS = """
import os

DEBUG = False
LIMIT = 5
NAME = None
conf = {}
steps = []
PLACE = "here" if os.sep == "/" else "there"
try:
    import no_such_module
    HAS = True
except ImportError:
    HAS = False
registry = {}


def register(function):
    registry[function.__name__] = function
    return function


@register
def first(n):
    return n


def helper(n):
    return n


def through_helper(n):
    return helper(n)


table = {}
for key in "ab":
    table[key] = key
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "my_settings.py").write_text(SETTINGS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_settings")
    del sys.modules["my_settings"]


def reads(settings):
    def read(n):
        found = settings.DEBUG, settings.LIMIT, settings.NAME, settings.conf.get("k"), len(settings.steps)
        return found, settings.PLACE, settings.HAS, settings.registry["first"](n), settings.table, settings.first(n)

    return read


def calls(settings):
    return lambda n: settings.through_helper(n)


SETS = {
    "a switch": lambda s: setattr(s, "DEBUG", True),
    "a number": lambda s: setattr(s, "LIMIT", 6),
    "what was None": lambda s: setattr(s, "NAME", "me"),
    "an entry": lambda s: s.conf.update(k=1),
    "an item": lambda s: s.steps.append(1),
}


def test_what_a_module_makes_itself_is_no_reason(settings):
    assert judge(reads(settings), (1,)).reasons == ()
    assert judge(calls(settings), (1,)).reasons == ()


@pytest.mark.parametrize("what", SETS)
def test_what_the_program_has_set_keeps_calls_here(settings, what):
    before = judge(reads(settings), (1,)).reasons
    SETS[what](settings)

    assert before == ()
    assert "which the program has set" in judge(reads(settings), (1,)).reasons[0]


def test_a_function_in_the_place_of_another_keeps_calls_here_until_it_is_back(settings):
    original = settings.helper
    settings.helper = lambda n: -n
    replaced = judge(calls(settings), (1,)).reasons
    settings.helper = original

    assert "reads `my_settings.helper`" in replaced[0]
    assert judge(calls(settings), (1,)).reasons == ()


def test_a_name_that_the_module_does_not_have_keeps_calls_here(settings):
    settings.added = 5

    assert "my_settings.added" in judge(lambda n: settings.added + n, (1,)).reasons[0]


def test_a_function_of_the_program_in_a_library_keeps_calls_here(monkeypatch):
    def said(x):
        return json.dumps(x)

    before = judge(said, (1,)).reasons
    monkeypatch.setattr(json, "dumps", lambda _: "mine")

    assert before == ()
    assert "reads `json.dumps`" in judge(said, (1,)).reasons[0]


def test_an_automatic_choice_sees_what_the_program_has_set(settings):
    settings.DEBUG = True

    def work(n):
        return sum(i * i % 7 for i in range(n)) and settings.DEBUG

    assert set(pointsman.execute(work, [20_000] * 150)) == {True}
