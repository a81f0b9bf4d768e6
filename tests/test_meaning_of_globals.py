"""What is read of a module may be older in workers, which import it anew, than it is in this program.

What it does not know: functions that write to globals themselves (the corpus has those).
"""

import importlib
import sys

import pytest

from pointsman._meaning import judge

pytestmark = pytest.mark.timeout(60)

SHOP = """
import contextlib
import functools

SCALE = 1
RATE: float = 0.5
CURRENCY = None
PRICES = {"a": 1}
NEVER = 2


def configure(scale):
    global SCALE, CURRENCY
    SCALE = scale
    CURRENCY = "EUR"


class Settings:
    @staticmethod
    def load(rate):
        global RATE
        RATE = rate


@contextlib.contextmanager
def other_prices():
    global PRICES
    before, PRICES = PRICES, {"a": 2}
    yield
    PRICES = before


def price(x):
    return x * SCALE


def taxed(x):
    return x * RATE


def named(x):
    return CURRENCY, x


def listed(x):
    return PRICES[x]


def never(x):
    return x * NEVER


def through_helper(x):
    return price(x) + 1


@functools.lru_cache
def cached(x):
    return x * NEVER
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "shop_of_the_tests.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_of_the_tests")
    del sys.modules["shop_of_the_tests"]


def test_a_global_that_a_function_has_set_keeps_here_what_reads_it(shop):
    assert judge(shop.price).may_travel
    assert judge(shop.named).may_travel

    shop.configure(10)

    assert judge(shop.price).reasons == (
        "`price` reads the global `SCALE`, which `configure` sets: workers would import it anew",
    )
    assert not judge(shop.named).may_travel
    assert not judge(shop.through_helper).may_travel
    assert judge(shop.never).may_travel
    assert judge(shop.cached).may_travel


def test_a_global_that_is_again_as_it_was_imported_keeps_nothing_here(shop):
    shop.configure(10)
    assert not judge(shop.price).may_travel
    shop.configure(1)

    assert judge(shop.price).may_travel


def test_a_global_that_a_method_has_set_keeps_here_what_reads_it(shop):
    assert judge(shop.taxed).may_travel
    shop.Settings.load(0.25)

    assert not judge(shop.taxed).may_travel


def test_a_global_that_a_function_may_set_to_what_is_no_constant_is_in_doubt(shop):
    assert not judge(shop.listed).may_travel


def test_a_global_of_another_module_is_seen_through_its_name(shop):
    def reads(x):
        return shop.SCALE * x

    def calls(x):
        return shop.price(x)

    assert judge(calls).may_travel
    shop.configure(10)

    assert not judge(reads).may_travel
    assert not judge(calls).may_travel


def test_a_module_without_a_source_is_in_doubt(shop, monkeypatch):
    monkeypatch.setattr(shop, "__spec__", None)

    assert not judge(shop.price).may_travel
    assert judge(shop.never).may_travel
