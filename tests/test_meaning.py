"""A function that would mean something else in another process is told from one that would not.

What it does not know: how bytecode is read. The corpus holds functions as users write them.

Invariants:
    T1. No harmful function of the corpus may travel; at most one harmless function in twenty is held back.
"""

import base64
import contextlib
import functools
import gc
import hashlib
import json
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types
import weakref
from pathlib import Path

import pytest

from meaning_corpus import CASES
from pointsman import _meaning
from pointsman._meaning import Verdict, judge
from pointsman._meaning._decode import READABLE
from pointsman._meaning._instructions import SPECIAL
from pointsman._meaning._read import Reader

pytestmark = pytest.mark.skipif(not READABLE, reason="the bytecode of this Python is not known, so everything stays")

HARMLESS = [(func, samples) for func, may_travel, samples in CASES if may_travel]
HARMFUL = [(func, samples) for func, may_travel, samples in CASES if not may_travel]


def test_a_known_library_is_one_wherever_it_lies(tmp_path, monkeypatch):
    # As `pip install --target` leaves it, an archive, or a cloud function.
    source = "SEEN = []\n\ndef norm(x):\n    SEEN.append(x)\n    return x\n"
    for name in ("cv2", "no_library"):
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import cv2
    import no_library

    assert judge(lambda x: cv2.norm(x), (1,)).may_travel
    assert not judge(lambda x: no_library.norm(x), (1,)).may_travel


def names(cases):
    return [getattr(func, "__qualname__", repr(func)) for func, _ in cases]


# The corpus, and the rate of both errors.


def test_no_harmful_function_of_the_corpus_may_travel(record_property):
    wrong = [(func, samples) for func, samples in HARMFUL if judge(func, samples).may_travel]
    record_property("harmful functions let go", f"{len(wrong)} of {len(HARMFUL)}")

    assert names(wrong) == [], f"{len(wrong)} of {len(HARMFUL)} harmful functions would be let go"


def test_at_most_one_harmless_function_in_twenty_is_held_back(record_property):
    wrong = [(func, samples) for func, samples in HARMLESS if not judge(func, samples).may_travel]
    record_property("harmless functions held back", f"{len(wrong)} of {len(HARMLESS)}")

    assert len(wrong) <= len(HARMLESS) / 20, names(wrong)


def test_the_corpus_is_large_and_balanced():
    assert len(CASES) >= 70
    assert 0.4 <= len(HARMLESS) / len(CASES) <= 0.6


@pytest.mark.parametrize(
    "func",
    [
        base64.b64encode, base64.b85decode, hashlib.md5, json.dumps, textwrap.fill, subprocess.run, socket.getaddrinfo,
        random.gauss, time.strftime, functools.reduce, contextlib.closing, types.SimpleNamespace, bytes.fromhex,
    ],
)  # fmt: skip
def test_functions_of_the_standard_library_are_taken_at_their_name(func):
    assert judge(func).may_travel


# Reasons.


def test_a_reason_names_the_function_the_variable_and_what_is_done():
    seen = []

    def count(item):
        seen.append(item)

    assert judge(count).reasons == ("`count` appends to the captured list `seen`",)


def test_a_reason_names_the_helper_that_does_it_and_the_argument_it_is_done_to():
    def mark(row):
        row["seen"] = True

    def work(rows):
        for row in rows:
            mark(row)

    assert judge(work).reasons == ("`mark` stores into its argument `rows[...]`",)


def test_a_reason_names_the_attribute():
    class Account:
        def deposit(self, amount):
            self.balance += amount

    assert judge(Account().deposit).reasons == ("`Account.deposit` sets `balance` of its bound `self`",)


def test_a_reason_says_what_cannot_be_shared():
    lock = threading.Lock()

    def guarded(x):
        with lock:
            return x

    (first, *_) = judge(guarded).reasons
    assert first == "`guarded` uses the captured lock `lock`: a lock cannot be shared with another process"


def test_a_generator_function_is_kept_because_its_result_cannot_travel():
    def numbers():
        yield 1

    assert judge(numbers).reasons == ("`numbers` is a generator function, and a generator cannot travel",)


# Samples of the arguments.


def add_one(x):
    x += 1
    return x


@pytest.mark.parametrize(("sample", "may_travel"), [(1, True), (1.5, True), ("a", True), ([], False), ({1}, True)])
def test_a_sample_tells_a_number_from_a_thing_that_is_changed_in_place(sample, may_travel):
    # A set has no `+=`, so the call raises there as here.
    assert judge(add_one, (sample,)).may_travel is may_travel


def test_without_a_sample_a_change_in_place_is_in_doubt_and_stays():
    assert judge(add_one).reasons == ("`add_one` may change its argument `x` in place",)


def test_a_sample_lets_the_methods_of_an_argument_be_followed():
    class Counter:
        def step(self):
            self.n = 1

        def peek(self):
            return 0

    def steps(counter):
        return counter.step()

    def peeks(counter):
        return counter.peek()

    assert not judge(steps, (Counter(),)).may_travel
    assert judge(peeks, (Counter(),)).may_travel


# Hints.


def test_hints_say_what_the_names_in_the_code_promise():
    def work(host, data):
        time.sleep(0.1)
        socket.create_connection((host, 80)).close()
        subprocess.run(["true"], check=True)
        return hashlib.sha256(data).hexdigest()

    assert set(judge(work).hints) == {"sleeps", "sockets", "subprocess", "hashlib"}


def test_reading_the_clock_is_no_hint_of_sleep():
    def work():
        return time.perf_counter()

    assert judge(work).hints == ()


def test_a_coroutine_function_is_flagged():
    async def work():
        return 1

    assert judge(work) == Verdict((), ("coroutine",))


# What a verdict rests on.


def test_closures_of_the_same_code_are_judged_by_what_they_captured():
    def make(sink):
        return lambda item: sink.append(item) if sink is not None else item

    assert not judge(make([])).may_travel
    assert judge(make("text")).may_travel


def test_a_verdict_is_forgotten_when_a_captured_variable_changes():
    target = "text"

    def work(item):
        return target.update(item)

    assert judge(work).may_travel
    target = {}
    assert not judge(work).may_travel


def test_a_verdict_is_forgotten_when_a_helper_is_replaced():
    module = types.ModuleType("some_program")
    exec("def helper(x): return x\ndef work(x): return helper(x)\nseen = []", module.__dict__)  # noqa: S102
    assert judge(module.work).may_travel

    exec("def helper(x): seen.append(x)", module.__dict__)  # noqa: S102

    assert not judge(module.work).may_travel


def test_a_verdict_is_forgotten_when_the_code_of_a_helper_is_replaced():
    seen = []

    def helper(x):
        return (x, seen)

    def other(x):
        seen.append(x)

    def work(x):
        return helper(x)

    assert judge(work).may_travel
    helper.__code__ = other.__code__
    assert not judge(work).may_travel


def shadowed(kind, thing, told):
    thing.take = told.append


def overridden(kind, thing, told):
    kind.take = lambda _self, x: told.append(x)


def inherited(kind, thing, told):
    kind.__base__.take = lambda _self, x: told.append(x)


def computed(kind, thing, told):
    kind.size = property(lambda self: told.append(self))


def constructed(kind, thing, told):
    kind.__init__ = lambda self: told.append(self)


@pytest.mark.parametrize("change", [shadowed, overridden, inherited, computed, constructed])
@pytest.mark.parametrize("slots", [False, True])
def test_a_verdict_is_forgotten_when_an_object_behaves_otherwise(change, slots):
    if slots and change is shadowed:
        pytest.skip("an object with slots has the methods of its class")
    told = []

    class Base:
        __slots__ = () if slots else ("__dict__", "__weakref__")

        def take(self, x):
            return x

        @property
        def size(self):
            return 5

    class Thing(Base):
        __slots__ = ()

    thing = Thing()

    def work(x):
        return thing.take(x), thing.size, Thing()

    assert judge(work).may_travel
    change(Thing, thing, told)
    work(0)
    assert told

    assert not judge(work).may_travel


def test_a_verdict_is_forgotten_when_a_registry_gets_another_function():
    seen = []
    handlers = {"a": len}

    def work(name, x):
        return handlers[name](x)

    handlers["b"] = lambda x: x
    assert judge(work).may_travel
    handlers["b"] = seen.append
    assert not judge(work).may_travel


def test_a_second_look_reads_nothing_again(monkeypatch):
    def work(x):
        return [json.dumps(y) for y in x]

    first = judge(work)
    monkeypatch.setattr(_meaning, "_look", lambda *_: pytest.fail("read again"))

    assert judge(work) is first


def test_a_kept_verdict_keeps_nothing_alive():
    gc.collect()

    class Owner:
        def read(self):
            return self.value

    def make():
        big = Owner()

        def recursive(n):
            return big and recursive(n - 1)

        return recursive, weakref.ref(big)

    owner = Owner()
    owner.value = 1
    func, big = make()
    judge(owner.read)
    judge(func)
    kept = len(_meaning._kept)
    watched = [weakref.ref(owner), weakref.ref(func), big]

    del owner, func
    gc.collect()

    assert [ref() for ref in watched] == [None, None, None]
    assert len(_meaning._kept) == kept - 2


# What judging does not do.


def test_judging_runs_no_code_of_the_users():
    def explode(*_args):
        raise AssertionError("the user's code was run")

    class Touchy:
        value = property(explode)
        __getattr__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __call__ = __repr__ = explode

        def method(self, x):
            return self.value + self.other + x

    touchy = Touchy()

    def work(x):
        return touchy.value, touchy.other, touchy(x), touchy == x, list(touchy)

    judge(work)
    judge(touchy.method)
    judge(touchy)
    judge(work, (touchy,))


@pytest.mark.parametrize("thing", [None, 3, object(), [], "text", types.SimpleNamespace()])
def test_judging_something_that_is_no_function_does_not_raise(thing):
    assert isinstance(judge(thing), Verdict)


def test_what_cannot_be_read_stays(monkeypatch):
    def work(x):
        return x

    monkeypatch.setattr("pointsman._meaning._follow.read", lambda _code: (_ for _ in ()).throw(ValueError("odd")))

    assert judge(work).reasons == ("`work` cannot be read: odd",)


def test_an_unknown_instruction_makes_the_function_stay(monkeypatch):
    def work(x):
        return [x] if x else None

    monkeypatch.delitem(SPECIAL, "BUILD_LIST")

    (reason,) = judge(work).reasons
    assert "the instruction BUILD_LIST" in reason


def test_a_callable_of_an_unknown_kind_stays():
    # A proxy from C without a Python `__call__`, as extension modules make them.
    proxy = type("Proxy", (), {"__module__": "some_extension", "__call__": len})()

    (reason,) = judge(proxy).reasons
    assert "cannot be read" in reason


def test_a_recursion_that_never_comes_to_the_same_arguments_ends():
    def grow(node, path):
        return [grow(child, [path, node, child]) for child in node.children]

    assert judge(grow).may_travel


def test_judging_loads_no_dear_module():
    script = "import sys\nfrom pointsman._meaning import judge\nx = []\ndef f(a): x.append(a)\n"
    script += "assert not judge(f).may_travel\n"
    script += "print([m for m in ('ast', 'dis', 'inspect', 'dataclasses', 'cloudpickle') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_function_of_main_stays_when_a_thing_it_reads_holds_a_lock():
    # It travels by value, and would have to take the lock with it.
    script = "import threading\nfrom pointsman._meaning import judge\nbox = {'lock': threading.Lock(), 'n': 1}\n"
    script += "def f(a): return box['n'] + a\nprint(judge(f).may_travel)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


# Reading bytecode.


def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.parametrize(
    "module", ["argparse", "asyncio.tasks", "contextlib", "dataclasses", "enum", "pickle", "typing"]
)
def test_every_function_of_a_module_is_read_with_the_stack_in_step(module):
    source = __import__(module, fromlist=["x"]).__file__
    top = compile(Path(source).read_bytes(), source, "exec", dont_inherit=True)
    for code in codes(top):
        # Raises when the stack is not one deep at a return, or of two depths where paths meet.
        reader = Reader(code)
        reader.run()

        assert all(len(stack) <= code.co_stacksize for stack, _ in reader.states.values())


def test_a_verdict_does_not_change():
    verdict = Verdict(("because",), ())

    with pytest.raises(AttributeError, match="does not change"):
        verdict.may_travel = True
    with pytest.raises(AttributeError, match="does not change"):
        del verdict.reasons
    assert verdict == Verdict(("because",), ())
    assert hash(verdict) == hash(Verdict(("because",), ()))
    assert not verdict.may_travel


class Asked:
    """Notes what it is asked for, as the proxies of web frameworks load what they stand for."""

    def __getattribute__(self, name):
        ASKED_FOR.append(name)
        return object.__getattribute__(self, name)


ASKED, ASKED_FOR = Asked(), []


def test_an_object_is_not_asked_what_it_is():
    def uses(x):
        return isinstance(ASKED, dict), [ASKED], ASKED.name, x == ASKED, x

    ASKED_FOR.clear()
    judge(uses, (ASKED,))

    assert ASKED_FOR == []
