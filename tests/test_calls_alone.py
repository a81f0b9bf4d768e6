"""Calls that would get in each other's way on threads are made one after another, unless threads were asked for.

What it does not know: how code is read.
"""

import array
import contextlib
import contextvars
import hashlib
import io
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import warnings
from functools import partial

import pytest

import pointsman
from pointsman._meaning import judge
from pointsman._meaning._decode import READABLE

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not READABLE, reason="the bytecode of this Python is not known"),
]

SECONDS = 0.005
DATABASE = sqlite3.connect(":memory:")
DATABASE.execute("create table numbers (n)")
LOCK, GATE = threading.RLock(), threading.Condition()
LOCAL = threading.local()
SEEN: list[int] = []
NULL = open(os.devnull, "w")  # noqa: SIM115 - one that is open while the tests run
LINES = (line for line in ["a", "b"])
total = count = 0


def slow(n):
    time.sleep(SECONDS)
    return n


class Sums:
    def __init__(self):
        self.total = 0
        self.lock = threading.Lock()

    def add(self, n):
        self.total += slow(n)

    def add_afterwards(self, n):
        n = slow(n)
        self.total += n

    def add_under_a_lock(self, n):
        with self.lock:
            self.total += slow(n)


def stores(n):
    slow(n)
    DATABASE.execute("insert into numbers values (?)", (n,))
    return n


def takes_a_lock(n):
    with LOCK:
        return slow(n)


def takes_a_condition(n):
    with GATE:
        return slow(n)


def sets_a_handler(n):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    slow(n)
    signal.signal(signal.SIGUSR1, before)
    return n


def adds_slowly(n):
    global total
    before = total
    slow(n)
    total = before + n
    return total


def counts(n):
    global count
    slow(n)
    count += len(str(n)) > 0
    return n


def goes_to(folder):
    os.chdir(folder)
    slow(0)
    return os.getcwd()


def says_in_the_environment(n):
    os.environ["POINTSMAN_TESTS"] = str(n)
    slow(n)
    return os.environ["POINTSMAN_TESTS"]


def takes_what_is_printed(n):
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        print(slow(n))  # noqa: T201 - what is tested
    return stream.getvalue()


def takes_what_is_warned_of(n):
    with warnings.catch_warnings():
        return slow(n)


def writes_a_line(n):
    NULL.write(str(slow(n)))


def takes_a_line(n):
    return next(LINES), slow(n)


def reads_its_own(n):
    return LOCAL.value + slow(n)


def sets_the_arguments(n):
    sys.argv = [str(n)]
    return slow(n)


def captured():
    largest = 0

    def keeps_the_largest(n):
        nonlocal largest
        before = largest
        largest = max(slow(n), before)
        return n

    return keeps_the_largest


STOCK = {"apples": 60}
CONFIG = {"level": 1}
SEEN_IN: dict[int, int] = {}
VARIABLE = contextvars.ContextVar("variable", default=0)


class Parser:
    def parse(self, text):
        self.text, self.place = str(text), 0
        while self.place < len(self.text):
            self.take()
        return self.text

    def take(self):
        slow(0)
        self.place += 1


def sells(n):
    if STOCK["apples"] > 0:
        slow(n)
        STOCK["apples"] -= 1
    return n


def counts_and_tells(n):
    global count
    count += 1
    slow(n)
    return count


@contextlib.contextmanager
def level(n):
    before = CONFIG["level"]
    CONFIG["level"] = n
    try:
        yield
    finally:
        CONFIG["level"] = before


def sets_and_restores(n):
    with level(n):
        return slow(CONFIG["level"])


def sets_a_context_variable(n):
    VARIABLE.set(VARIABLE.get() + slow(1))
    return n


def remembers(n):
    if n not in SEEN_IN:
        value = slow(n)
        SEEN_IN[n] = value
    return SEEN_IN[n]


def tallies(n):
    slow(n)
    STOCK["pears"] = STOCK.get("pears", 0) + 1


class Session:
    """What one method leaves, another reads."""

    def login(self, user):
        self.user = user

    def fetch(self):
        return slow(self.user)

    def use(self, user):
        self.login(user)
        return self.fetch()


class Lazy:
    """Makes something once, and uses it."""

    made = None

    def load(self):
        self.made = slow(1)

    def get(self, n):
        if self.made is None:
            self.load()
        return self.made, n


class Telling:
    """What is set is nobody's to read."""

    def ask(self, n):
        self.last = n
        return slow(n)


class Own:
    def set_to(self, n):
        self.n = n

    def told(self):
        return slow(self.n)


def of_its_own(n):
    own = Own()
    own.set_to(n)
    return own.told()


current = 0


def who():
    return current


def leaves_a_global(n):
    global current
    current = n
    return slow(who())


def sells_one_of_a_kind(n):
    count = STOCK["plums"]
    slow(n)
    STOCK["plums"] = count + 1


def sells_one_that_may_be_new(n):
    count = STOCK.get("plums", 0)
    slow(n)
    STOCK["plums"] = count + 1


def begins_anew(n):
    random.seed(n)
    slow(n)
    return random.random()  # noqa: S311 - no secret


GENERATOR = random.Random(1)  # noqa: S311 - no secret


def begins_its_own_anew(n):
    GENERATOR.seed(n)
    slow(n)
    return GENERATOR.random()


def adds_to_an_entry(n):
    STOCK["cherries"] += slow(n)


def adds_to_an_element(n):
    COLUMN[n % 3] += slow(n)


def adds_to_what_it_was_given(stock, n):
    stock["cherries"] += slow(n)


class Shelves:
    """Counts in a dictionary of its own."""

    def __init__(self):
        self.stock = {"cherries": 0}

    def fill(self, n):
        self.stock["cherries"] += slow(n)


adds_to_what_is_bound = partial(adds_to_what_it_was_given, STOCK)
adds_to_what_is_bound.__name__ = "adds_to_what_it_was_given"
COLUMN = array.array("l", [0, 0, 0])
CURRENT = {}


def reads_the_current_one():
    return CURRENT["name"]


def leaves_an_entry(n):
    CURRENT["name"] = n
    slow(n)
    return reads_the_current_one()


SCRATCH = []


def uses_a_scratch_list(n):
    SCRATCH.clear()
    SCRATCH.append(slow(n))
    return SCRATCH[0]


ALONE = [
    Session().use, leaves_a_global, sells_one_of_a_kind, sells_one_that_may_be_new, begins_anew, begins_its_own_anew,
    uses_a_scratch_list, adds_to_an_entry, adds_to_an_element, adds_to_what_is_bound, Shelves().fill, leaves_an_entry,
    Parser().parse, sells, counts_and_tells, sets_a_context_variable,
    stores, sets_a_handler, adds_slowly, goes_to, says_in_the_environment, takes_what_is_printed, takes_what_is_warned_of,
    writes_a_line, takes_a_line, reads_its_own, sets_the_arguments, captured(), Sums().add,
]  # fmt: skip
BESIDE = [
    Lazy().get, Telling().ask, of_its_own,
    remembers, tallies,
    slow, takes_a_lock, takes_a_condition, counts, Sums().add_afterwards, Sums().add_under_a_lock, SEEN.append,
    lambda n: SEEN.append(slow(n)), lambda n: sys.stderr.write(str(slow(n))), hashlib.sha256, time.sleep,
    partial(slow, 1), lambda n: sqlite3.connect(":memory:").execute("select ?", (n,)).fetchall(),
    lambda n: open(os.devnull).read(n),  # noqa: SIM115 - what is tested
    lambda n: threading.Thread(target=slow, args=(n,)).start(),
]  # fmt: skip


@pytest.mark.parametrize("function", ALONE, ids=lambda function: function.__name__)
def test_what_others_would_disturb_is_told_with_the_reason(function):
    verdict = judge(function, (1,))

    assert verdict.alone
    assert all(function.__name__ in reason for reason in verdict.alone)


def test_what_is_set_and_restored_around_a_call_is_kept_alone():
    assert "`level` reads and sets what the global dict `CONFIG` holds" in judge(sets_and_restores, (1,)).alone[0]


@pytest.mark.parametrize("function", BESIDE, ids=range(len(BESIDE)))
def test_what_threads_may_share_is_not_kept_alone(function):
    assert judge(function, (1,)).alone_for(threading.get_ident()) == ()


def test_a_connection_that_serves_one_thread_is_used_on_that():
    DATABASE.execute("delete from numbers")

    results, plan = pointsman.execute(stores, range(60), return_optimization_result=True)

    assert results == list(range(60))
    assert DATABASE.execute("select n from numbers").fetchall() == [(n,) for n in range(60)]
    assert plan.backend == "inline"
    assert any("threads are struck out" in reason and "DATABASE" in reason for reason in plan.reasons)


@pytest.mark.parametrize(("function", "lock"), [(takes_a_lock, LOCK), (takes_a_condition, GATE)])
def test_a_lock_that_the_caller_holds_is_taken_on_its_own_thread(function, lock):
    with lock:
        assert pointsman.execute(function, range(60)) == list(range(60))
    # Nobody holds it now.
    plan = pointsman.execute(function, range(60), return_optimization_result=True)[1]
    assert not any("threads are struck out" in reason for reason in plan.reasons)


def test_sums_that_take_a_while_are_those_of_a_loop():
    global total
    total = 0
    pointsman.execute(adds_slowly, range(60))
    sums = Sums()
    list(pointsman.map(sums.add, range(60)))

    assert (total, sums.total) == (sum(range(60)),) * 2


def test_each_call_has_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / str(n) for n in range(60)]
    for folder in folders:
        folder.mkdir()

    assert pointsman.execute(goes_to, folders) == list(map(str, folders))


def test_a_handler_of_signals_can_be_set_by_calls_that_wait():
    assert pointsman.execute(sets_a_handler, range(60)) == list(range(60))


def test_who_asks_for_threads_gets_them():
    plan = pointsman.execute(writes_a_line, range(60), backend="threads", return_optimization_result=True)[1]

    assert plan.backend == "threads"
