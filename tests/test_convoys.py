"""Threads that pass the GIL to and fro are left for something better; others that share the cores are not.

What it does not know: how fast anything is here. The clock and the count of switches are made up.
"""

import sqlite3
from types import SimpleNamespace

import pytest

import pointsman
from pointsman import _convoy, _switching

pytestmark = pytest.mark.timeout(60)


def reviewed(monkeypatch, *, calls, mean, elapsed, switches):
    """What a look at a run says after so many seconds, and why."""
    now, count, struck = [0.0], [0], {}
    monkeypatch.setattr(_convoy, "perf_counter", lambda: now[0])
    monkeypatch.setattr(_switching, "of_process", lambda: count[0])
    convoy = _convoy.Convoy(SimpleNamespace(observed=lambda: (calls, 0.0, 0.0)), mean, struck)
    now[0], count[0] = elapsed, switches
    return convoy.review(), struck


def test_threads_that_gain_nothing_and_switch_all_the_time_are_a_convoy(monkeypatch):
    answer, struck = reviewed(monkeypatch, calls=50, mean=4e-4, elapsed=0.04, switches=2000)

    assert answer is True
    assert "0.5 times as fast" in struck["threads"]


@pytest.mark.parametrize(
    "run",
    [
        {"calls": 50, "mean": 4e-4, "elapsed": 0.0105, "switches": 2000},
        {"calls": 3, "mean": 4e-4, "elapsed": 0.04, "switches": 2000},
        {"calls": 180, "mean": 4e-4, "elapsed": 0.04, "switches": 2000},
        {"calls": 50, "mean": 4e-4, "elapsed": 0.04, "switches": 100},
    ],
    ids=["too early", "too few", "they gain", "others have the cores"],
)
def test_until_that_is_seen_they_go_on(monkeypatch, run):
    assert reviewed(monkeypatch, **run) == (None, {})


def test_nobody_asks_for_ever(monkeypatch):
    assert reviewed(monkeypatch, calls=900, mean=4e-4, elapsed=0.3, switches=100) == (False, {})


def sums(k):
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a, b)")
    connection.executemany("insert into t values (?, ?)", [(i, i * k) for i in range(300)])
    (found,) = connection.execute("select sum(a * b) from t").fetchone()
    connection.close()
    return found


def test_each_call_is_made_once_and_in_order_wherever_the_rest_goes():
    expected = [k * sum(i * i for i in range(300)) for k in range(400)]

    assert pointsman.execute(sums, range(400)) == expected
