"""`auto` never changes what a program means: calls that write what others read stay in this process.

What it does not know: how a function is judged (its own corpus and tests).
"""

import asyncio
import itertools
import os
import sqlite3
import threading

import pytest

import functions
import pointsman
from pointsman import _learning, _machine

pytestmark = pytest.mark.timeout(60)

CALLS = 60
# Calls of a job that goes to processes wherever there are two cores.
MANY = 200
SEEN: list[int] = []
COUNT = 0


def spin() -> None:
    """Hold the GIL for long enough that other processes would pay."""
    functions.spin(0)


def spin_and_give_back(x):
    functions.spin(0)
    return x


@pytest.fixture(autouse=True)
def usual_starts(monkeypatch):
    """Let workers start as they do as a rule: on a busy machine none would be considered, and so nothing be read."""
    monkeypatch.setattr(_machine, "constants", dict)


def run(call, data=None):
    return pointsman.execute(call, range(CALLS) if data is None else data, return_optimization_result=True)


def struck(plan) -> str:
    return "; ".join({c.struck_out for c in plan.candidates if c.backend == "processes" and c.struck_out})


def test_appends_to_a_captured_list_arrive_in_the_list():
    gathered = []

    def gather(x):
        spin()
        gathered.append(x)

    _results, plan = run(gather)

    assert sorted(gathered) == list(range(CALLS))
    assert plan.backend != "processes"
    assert "gathered" in struck(plan)


def test_writes_to_a_global_arrive_in_the_global():
    SEEN.clear()

    def remember(x):
        spin()
        SEEN.append(x)

    _results, plan = run(remember)

    assert sorted(SEEN) == list(range(CALLS))
    assert "SEEN" in struck(plan)


def test_a_global_counter_that_is_rebound_keeps_every_count_on_one_thread():
    global COUNT
    COUNT = 0

    def count(_x):
        global COUNT
        spin()
        COUNT += 1

    _results, plan = run(count)

    assert COUNT > 0
    assert plan.backend != "processes"
    assert "COUNT" in struck(plan)


def test_a_captured_variable_that_is_rebound_is_the_callers_own():
    best = -1

    def keep_best(x):
        nonlocal best
        spin()
        best = max(best, x)

    _results, plan = run(keep_best)

    assert best >= 0
    assert "best" in struck(plan)


def test_changes_to_the_arguments_are_seen_by_the_caller():
    rows = [{"n": n} for n in range(CALLS)]

    def fill(row):
        spin()
        row["square"] = row["n"] ** 2

    _results, plan = run(fill, rows)

    assert [row["square"] for row in rows] == [n * n for n in range(CALLS)]
    assert "row" in struck(plan)


def test_attributes_of_the_bound_object_are_seen_by_the_caller():
    class Tally:
        def __init__(self):
            self.seen = []

        def see(self, x):
            spin()
            self.seen.append(x)

    tally = Tally()

    _results, plan = run(tally.see)

    assert sorted(tally.seen) == list(range(CALLS))
    assert "self" in struck(plan) or "seen" in struck(plan)


def test_a_write_two_functions_down_is_found():
    gathered = []

    def store(x):
        gathered.append(x)

    def outer(x):
        spin()
        store(x)

    _results, plan = run(outer)

    assert sorted(gathered) == list(range(CALLS))
    assert "gathered" in struck(plan)


def test_a_call_that_takes_a_lock_takes_the_callers_lock():
    lock, gathered = threading.Lock(), []

    def careful(x):
        spin()
        with lock:
            gathered.append(x)

    _results, plan = run(careful)

    assert sorted(gathered) == list(range(CALLS))
    assert struck(plan)


def test_a_call_that_uses_an_open_connection_uses_the_callers():
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table seen (n)")
    lock = threading.Lock()

    def insert(x):
        spin()
        with lock:
            connection.execute("insert into seen values (?)", (x,))

    run(insert)

    assert sorted(n for (n,) in connection.execute("select n from seen")) == list(range(CALLS))
    connection.close()


def test_a_call_that_takes_from_a_captured_iterator_takes_each_item_once():
    numbers = itertools.count()
    lock = threading.Lock()

    def take(_x):
        spin()
        with lock:
            return next(numbers)

    results, _plan = run(take)

    assert sorted(results) == list(range(CALLS))


def test_map_keeps_the_meaning_too():
    gathered = []

    def gather(x):
        spin()
        gathered.append(x)
        return x

    assert list(pointsman.map(gather, range(CALLS))) == list(range(CALLS))
    assert sorted(gathered) == list(range(CALLS))


def test_a_function_that_only_computes_is_not_held_back():
    _results, plan = run(functions.spin)

    assert any(c.backend == "processes" and not c.struck_out for c in plan.candidates)
    assert not struck(plan)


def test_local_lists_reads_of_globals_and_captured_settings_are_harmless():
    factor = 3

    def work(x):
        found = []
        for n in range(20_000):
            found.append(n * factor)
        return len(found) + x + CALLS

    results, plan = run(work)

    assert results == [20_000 + x + CALLS for x in range(CALLS)]
    assert not struck(plan)


def test_asking_for_processes_overrides_the_doubt():
    gathered = []

    def gather(x):
        gathered.append(x)
        return os.getpid()

    pids = pointsman.execute(gather, range(CALLS), backend="processes", max_workers=2)

    assert os.getpid() not in pids
    assert gathered == []


@pytest.mark.parametrize("place", [0, 1, MANY // 2, MANY - 1])
def test_an_item_that_cannot_travel_costs_no_result(place):
    data = list(range(MANY))
    data[place] = threading.Lock()

    results, _plan = run(spin_and_give_back, data)

    assert results == data


def test_calls_before_an_item_that_cannot_travel_are_not_computed_again(tmp_path):
    path = tmp_path / "calls"
    data = [*range(MANY), threading.Lock()]

    def spin_and_note(x):
        functions.spin(0)
        functions.note(str(path), x if isinstance(x, int) else "lock")

    run(spin_and_note, data)

    assert sorted(path.read_text().split()) == sorted([*map(str, range(MANY)), "lock"])


@pytest.mark.parametrize("place", [0, 1, MANY // 2, MANY - 1])
def test_a_result_that_cannot_travel_is_there_or_told_but_never_dropped(place):
    def spin_and_give(x):
        functions.spin(0)
        return threading.Lock() if x == place else x

    try:
        results, _plan = run(spin_and_give, range(MANY))
    except pointsman.CannotTravelError as error:
        # The call was made elsewhere and must not be made twice, so its result cannot be had any more.
        assert "lock" in str(error)
    else:
        assert [x for n, x in enumerate(results) if n != place] == [x for x in range(MANY) if x != place]
        assert results[place].acquire(blocking=False)


def test_a_class_that_cannot_travel_is_run_where_it_is_by_name():
    class Machine:
        def __init__(self):
            self.lock = threading.Lock()

        def work(self, x):
            spin()
            return x

    results, plan = run(Machine().work)

    assert results == list(range(CALLS))
    assert plan.backend != "processes"


def test_a_small_job_stays_though_workers_that_run_would_cost_nothing_to_start():
    """The function of a job that is too small to be read must not go to them unread."""
    pointsman.execute(functions.square, range(8), backend="processes")
    seen = []

    def note(x):
        seen.append(x)
        return sum(range(size))

    # What is left after measuring must be some milliseconds of work: which size that is depends on the machine.
    for size in [round(5000 * 1.1**step) for step in range(40)]:  # noqa: B007 - `note` reads it
        seen.clear()
        pointsman.execute(note, range(50))

        assert sorted(seen) == list(range(50))


class Keeps:
    def take(self, x):
        return x


class Tells:
    def take(self, x):
        SEEN.append(x)
        return x


def handing(to):
    def hand(x):
        # Longer than calls are that stay whatever they do.
        for _ in range(6):
            spin()
        return to.take(x)

    return hand


def test_functions_of_the_same_code_are_read_one_by_one():
    SEEN.clear()
    with pointsman.Executor() as executor:
        for x in range(6):
            assert executor.submit(handing(Keeps()), x).result(functions.PATIENCE) == x
        for x in range(6):
            assert executor.submit(handing(Tells()), x).result(functions.PATIENCE) == x

    assert [*range(6)] == SEEN


def test_a_function_that_comes_to_write_is_read_again():
    SEEN.clear()
    to = Keeps()
    hand = handing(to)
    with pointsman.Executor() as executor:
        for x in range(6):
            assert executor.submit(hand, x).result(functions.PATIENCE) == x
        to.take = SEEN.append
        for x in range(6):
            executor.submit(hand, x).result(functions.PATIENCE)

    assert [*range(6)] == SEEN


def test_a_call_leaves_only_after_its_function_was_read():
    def note(x):
        gathered.append(x)

    gathered = []
    learnt = _learning.lookup(note)
    # As a thread leaves it that is just about to read the function.
    learnt.calls, learnt.held = 3, 0.05
    with pointsman.Executor() as executor:
        executor.submit(note, 5).result(functions.PATIENCE)

    assert gathered == [5]


def test_a_call_from_a_loop_leaves_only_after_its_function_was_read():
    @pointsman.smartasync
    def note(x):
        gathered.append(x)
        return os.getpid()

    async def main():
        return await note(5)

    gathered = []
    learnt = _learning.lookup(note.__wrapped__)
    learnt.calls, learnt.held = 3, 0.05

    assert asyncio.run(main()) == os.getpid()
    assert gathered == [5]


@pytest.mark.parametrize("size", [2_000, 40_000, 600_000])
def test_results_that_cannot_be_pickled_come_back(size):
    def lazily(n):
        sum(i * i for i in range(size))
        return (i for i in range(n % 7))

    def locked(n):
        sum(i * i for i in range(size))
        return threading.Lock() if n >= 0 else n

    for function in (lazily, locked):
        assert len(pointsman.execute(function, range(3_000_000 // size))) == 3_000_000 // size


def test_submitted_calls_whose_results_cannot_be_pickled_stay():
    def locked(n):
        for _ in range(6):
            spin()
        return threading.Lock() if n >= 0 else n

    with pointsman.Executor() as executor:
        for n in range(6):
            assert not executor.submit(locked, n).result(functions.PATIENCE).locked()


class Shape:
    def area(self):
        return sum(k * k for k in range(20_000))


class Counted(Shape):
    seen = 0

    def area(self):
        Counted.seen += 1
        return super().area()


def area_of(shape):
    return shape.area()


def larger(shape, other):
    return max(shape.area(), other.area())


@pytest.mark.parametrize("function", [area_of, larger], ids=["one list", "two lists"])
def test_a_kind_of_input_that_comes_late_is_looked_at_too(function):
    Counted.seen = 0
    shapes = [Shape() for _ in range(40)] + [Counted() for _ in range(80)]
    inputs = (shapes,) if function is area_of else ([Shape()] * 120, shapes)

    results = list(pointsman.map(function, *inputs))

    assert Counted.seen == 80
    assert len(results) == 120
