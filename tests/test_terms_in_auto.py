"""Calls that shall be stopped if need be, where nobody said on which backend.

What it does not know: how a worker is killed (`test_terms`), or how a function is read (`test_meaning`).

Invariants:
    A1. No call is sent where what it writes would be lost, unless the user asked for processes.
"""

import os
import time
from types import SimpleNamespace

import pytest

import functions
import pointsman
from pointsman.backends import processes

pytestmark = pytest.mark.timeout(60)

LONG = 20.0


class Account:
    def __init__(self):
        self.seen = []


ACCOUNT = Account()


def add_to_account(n):
    ACCOUNT.seen.append(n)
    return n


def add_to_it_and_wait(n):
    ACCOUNT.seen.append(n)
    time.sleep(1.0)


def wait_a_little(n):
    time.sleep(0.1)
    return n, os.getpid()


def span_of_a_wait(_n):
    began = time.monotonic()
    time.sleep(0.1)
    return began, time.monotonic()


@pytest.fixture(autouse=True)
def empty_account():
    ACCOUNT.seen.clear()


@pytest.mark.parametrize("terms", [{"timeout": LONG}, {"kill_on_cancel": True}])
@pytest.mark.parametrize("data", [range(5), iter(range(5))], ids=["sized", "iterator"])
def test_a_job_of_calls_that_write_here_is_refused_and_told_what_they_write(terms, data):
    with pytest.raises(pointsman.InvalidArgumentError, match=r"add_to_account.*ACCOUNT") as caught:
        pointsman.execute(add_to_account, data, **terms)

    assert next(iter(terms)) in str(caught.value)
    assert "backend='processes'" in str(caught.value)
    assert ACCOUNT.seen == []


def test_a_lazy_map_of_them_is_refused_as_well():
    with pytest.raises(pointsman.InvalidArgumentError, match="ACCOUNT"):
        list(pointsman.map(add_to_account, range(5), timeout=LONG))


def test_what_is_written_to_an_input_is_seen():
    def add(account):
        account.seen.append(1)

    with pytest.raises(pointsman.InvalidArgumentError, match="seen"):
        pointsman.execute(add, [Account(), Account()], timeout=LONG)


@pytest.mark.parametrize("data", [[], range(6), [4, 5]], ids=str)
def test_others_run_as_before(data):
    assert pointsman.execute(functions.square, iter(data), timeout=LONG) == [n * n for n in data]
    assert list(pointsman.map(pow, data, data, timeout=LONG)) == [n**n for n in data]


def test_whoever_asks_for_processes_gets_them():
    assert pointsman.execute(add_to_account, range(5), backend="processes", timeout=LONG) == list(range(5))
    assert ACCOUNT.seen == []


def test_a_single_call_that_writes_has_a_thread_and_goes_on_when_it_is_late():
    view = pointsman.options(timeout=0.1)
    error = view.submit(add_to_it_and_wait, 1).exception(functions.PATIENCE)

    assert type(error) is pointsman.CallTimeoutError
    assert "goes on" in str(error)
    assert ACCOUNT.seen == [1]
    assert pointsman.options(timeout=LONG).run(add_to_account, 2) == 2
    assert ACCOUNT.seen == [1, 2]


def test_a_single_call_that_writes_and_must_be_killed_is_refused():
    with pytest.raises(pointsman.InvalidArgumentError, match="ACCOUNT"):
        pointsman.options(kill_on_cancel=True).submit(add_to_account, 1)
    with pointsman.Executor() as made, pytest.raises(pointsman.InvalidArgumentError, match="ACCOUNT"):
        made.options(kill_on_cancel=True).submit(add_to_account, 1)


def test_calls_that_wait_have_more_workers_than_cores():
    results, plan = pointsman.execute(wait_a_little, range(60), timeout=LONG, return_optimization_result=True)

    assert [n for n, _pid in results] == list(range(60))
    assert len({pid for _n, pid in results}) > 4
    assert plan.max_workers == plan.processes > 4


def test_as_many_calls_run_at_a_time_as_were_asked_for_and_no_more():
    spans = pointsman.execute(span_of_a_wait, range(12), timeout=LONG, max_workers=2)

    assert max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans) == 2


@pytest.mark.parametrize(
    ("calls", "wall", "cpu", "left", "workers"),
    [
        pytest.param(4, 4.0, 0.001, 100, 32, id="waits"),
        pytest.param(4, 4.0, 4.0, 100, 2, id="computes"),
        pytest.param(4, 4.0, 2.5, 100, 2, id="cores that others share"),
        pytest.param(4, 4.0, 1.0, 100, 8, id="a quarter of it computes"),
        pytest.param(1, 1.0, 0.001, 100, 2, id="too early to tell"),
        pytest.param(4, 4.0, 0.001, 9, 10, id="few are left"),
    ],
)
def test_there_are_as_many_workers_as_keep_the_cores_busy(monkeypatch, calls, wall, cpu, left, workers):
    facts = SimpleNamespace(cores=2.0, memory_limit=1 << 40)
    monkeypatch.setattr(processes._machine, "facts", lambda: facts)
    grown = []
    run = object.__new__(processes.ProcessRun)
    run.lanes, run._plan = 2, SimpleNamespace(max_workers=2, processes=2)
    run.native = SimpleNamespace(observed=lambda: (calls, wall, cpu))
    run.pool = SimpleNamespace(grow=grown.append)
    run.source = SimpleNamespace(left=lambda: left)
    run._widen(1)

    assert run.lanes == run._plan.max_workers == run._plan.processes == workers
    assert grown == ([workers] if workers != 2 else [])
