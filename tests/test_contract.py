"""What every backend promises, run on all of them: the same results, whatever runs the calls.

What it does not know: how a backend works, or which one `auto` takes.
"""

import itertools
import threading
import traceback
from collections import Counter
from functools import partial

import pytest

import functions
import pointsman
from functions import Boom

pytestmark = pytest.mark.timeout(60)

CALLS = 60


def lines(path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# ------------------------------------------------------------------------------------------- results


def test_results_come_in_the_order_of_the_inputs(backend):
    results = pointsman.execute(functions.early_is_slow, range(30), backend=backend)

    assert results == list(range(30))


def test_map_yields_in_the_order_of_the_inputs(backend):
    results = list(pointsman.map(functions.early_is_slow, range(30), backend=backend))

    assert results == list(range(30))


@pytest.mark.parametrize("entry", [pointsman.map, pointsman.execute])
@pytest.mark.parametrize(
    "call", [functions.early_is_slow, functions.square, functions.nap], ids=lambda call: call.__name__
)
def test_every_input_has_its_result_where_order_is_not_asked_for(backend, entry, call):
    results = entry(call, range(CALLS), backend=backend, ordered=False)

    assert sorted(results) == sorted(map(call, range(CALLS)))


@pytest.mark.parametrize("inputs", [range, lambda count: iter(range(count))], ids=["range", "iterator"])
def test_a_call_that_lasts_holds_nobody_up_where_order_is_not_asked_for(backend, inputs, tmp_path):
    if backend == "inline":
        pytest.skip("a plain loop knows no other order than that of its inputs")
    gate = tmp_path / "gate"
    call = partial(functions.wait_at, str(gate), 10)

    results = pointsman.map(call, inputs(40), backend=backend, ordered=False)
    before = [next(results) for _ in range(20)]
    gate.touch()

    assert 10 not in before
    assert sorted([*before, *results]) == list(range(40))


def test_exceptions_come_as_they_are_ready_where_order_is_not_asked_for(backend):
    options = {"backend": backend, "ordered": False}

    results = pointsman.execute(functions.fail_if_odd, range(40), on_error="return", **options)
    error = failure(pointsman.execute, functions.fail_late_or_at_once, range(12), **options)
    raised = failure(list, pointsman.map(functions.fail_late_or_at_once, range(12), **options))

    assert sorted(x if isinstance(x, int) else x.code for x in results) == list(range(40))
    assert error.args[0] == raised.args[0] == "failed"


def test_results_before_an_error_of_the_inputs_are_delivered_in_any_order(backend):
    def data():
        yield from range(CALLS)
        raise LookupError("no more of them")

    got = []
    with pytest.raises(LookupError, match="no more of them"):
        for result in pointsman.map(functions.nap, data(), backend=backend, ordered=False):
            got.append(result)

    assert sorted(got) == list(range(CALLS))


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_few_items_give_as_many_results(backend, size):
    assert pointsman.execute(functions.square, list(range(size)), backend=backend) == [x * x for x in range(size)]


@pytest.mark.parametrize("size", [0, 1])
def test_few_items_of_a_generator_give_as_many_results(backend, size):
    assert pointsman.execute(functions.square, (x for x in range(size)), backend=backend) == list(range(size))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([3, 1, 2], id="list"),
        pytest.param((3, 1, 2), id="tuple"),
        pytest.param(range(3), id="range"),
        pytest.param("abc", id="str"),
        pytest.param(b"abc", id="bytes"),
        pytest.param({3: "c", 1: "a"}, id="dict"),
        pytest.param(frozenset({3, 1, 2}), id="frozenset"),
    ],
)
def test_any_iterable_will_do(backend, data):
    assert pointsman.execute(functions.same, data, backend=backend) == list(data)


def test_an_old_sequence_with_only_getitem_will_do(backend):
    class Old:
        def __getitem__(self, index):
            if index >= 5:
                raise IndexError(index)
            return index

    assert pointsman.execute(functions.square, Old(), backend=backend) == [0, 1, 4, 9, 16]


def test_map_takes_one_item_of_each_iterable_and_ends_with_the_shortest(backend):
    results = list(pointsman.map(functions.add, range(20), itertools.count(100), backend=backend))

    assert results == [100 + 2 * x for x in range(20)]


def test_a_tuple_as_an_item_is_one_argument(backend):
    assert pointsman.execute(functions.takes, [(1, 2), ()], backend=backend) == [(((1, 2),), {}), (((),), {})]


# --------------------------------------------------------------------------------------- exactly once

CONTAINERS = {
    "list": lambda: list(range(CALLS)),
    "range": lambda: range(CALLS),
    "generator": lambda: (x for x in range(CALLS)),
    "iterator": lambda: iter(list(range(CALLS))),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("call", [functions.note, functions.note_and_nap], ids=["quick", "slow"])
def test_execute_computes_each_input_exactly_once(backend, container, call, tmp_path):
    path = tmp_path / "calls"

    pointsman.execute(partial(call, str(path)), CONTAINERS[container](), backend=backend)

    assert Counter(lines(path)) == Counter(map(str, range(CALLS)))


@pytest.mark.parametrize("container", CONTAINERS)
def test_map_computes_each_input_exactly_once(backend, container, tmp_path):
    path = tmp_path / "calls"

    results = list(pointsman.map(partial(functions.note_and_nap, str(path)), CONTAINERS[container](), backend=backend))

    assert results == list(range(CALLS))
    assert Counter(lines(path)) == Counter(map(str, range(CALLS)))


def test_many_quick_calls_are_each_computed_exactly_once(backend, tmp_path):
    path = tmp_path / "calls"

    results = pointsman.execute(partial(functions.note, str(path)), range(5000), backend=backend)

    assert results == list(range(5000))
    assert Counter(lines(path)) == Counter(map(str, range(5000)))


def test_a_generator_is_iterated_once_on_the_callers_thread(backend):
    seen = []

    def data():
        for x in range(CALLS):
            seen.append((x, threading.get_ident()))
            yield x

    pointsman.execute(functions.nap, data(), backend=backend)

    assert seen == [(x, threading.get_ident()) for x in range(CALLS)]


def test_results_before_an_error_of_the_inputs_are_delivered(backend):
    def data():
        yield from range(CALLS)
        raise LookupError("no more of them")

    got = []
    with pytest.raises(LookupError, match="no more of them"):
        for result in pointsman.map(functions.nap, data(), backend=backend):
            got.append(result)

    assert got == list(range(CALLS))


@pytest.mark.parametrize("count", [2, CALLS])
def test_a_plain_function_that_returns_coroutines_is_refused(backend, count):
    with pytest.raises(
        pointsman.InvalidTypeError, match=r"returned a coroutine, which a worker cannot await: .* asyncio\.run"
    ):
        pointsman.execute(functions.give_coroutine, range(count), backend=backend)


# ------------------------------------------------------------------------------------------- failures


def failure(call, *args, **kwargs) -> BaseException:
    with pytest.raises(Exception) as caught:
        call(*args, **kwargs)
    return caught.value


def test_an_exception_keeps_its_type_its_arguments_and_its_attributes(backend):
    error = failure(pointsman.execute, functions.fail, range(20), backend=backend)

    assert type(error) is Boom
    assert error.args == ("no luck with 0", 7)
    assert error.code == 7


def test_an_exception_keeps_its_notes_and_its_cause(backend):
    error = failure(pointsman.execute, functions.fail_with_cause_and_notes, ["k", "l"], backend=backend)

    assert error.__notes__ == ["a note of the call"]
    assert type(error.__cause__) is KeyError
    assert error.__cause__.args == ("k",)


def test_a_printed_exception_shows_where_the_call_raised_it(backend):
    error = failure(pointsman.execute, functions.fail, range(20), backend=backend)

    text = "".join(traceback.format_exception(error))

    assert "in deep_inside" in text
    assert "functions.py" in text


def test_a_printed_exception_shows_where_its_cause_was_raised(backend):
    error = failure(pointsman.execute, functions.fail_with_cause_and_notes, ["k"], backend=backend)

    text = "".join(traceback.format_exception(error))

    assert "{}[x]" in text
    assert "direct cause" in text


@pytest.mark.parametrize("kind", [ValueError, OSError, AssertionError, UnicodeError, RecursionError])
def test_built_in_exceptions_arrive_as_they_are(backend, kind):
    error = failure(pointsman.execute, functions.raise_kind, [kind], backend=backend)

    assert type(error) is kind
    assert error.args == ("this kind",)


@pytest.mark.parametrize("entry", [pointsman.execute, pointsman.map], ids=["execute", "map"])
@pytest.mark.parametrize(
    "call", [functions.stop_at_thirty, partial(functions.stop_at_thirty)], ids=["function", "partial"]
)
def test_a_call_that_raises_stop_iteration_does_not_end_the_job_in_silence(backend, entry, call):
    # Generators may turn it into a RuntimeError; what counts is that it is told.
    error = failure(lambda: list(entry(call, range(60), backend=backend)))

    assert isinstance(error, (StopIteration, RuntimeError))


def test_a_group_of_exceptions_arrives_whole(backend):
    def call(_x):
        raise ExceptionGroup("several", [ValueError("a"), Boom("b", 2)])

    error = failure(pointsman.execute, call, [1, 2], backend=backend)

    assert error.message == "several"
    assert [type(part) for part in error.exceptions] == [ValueError, Boom]


def test_the_first_failing_item_in_order_is_the_one_raised(backend):
    error = failure(pointsman.execute, functions.fail_late_or_at_once, range(12), backend=backend)

    assert error.args == ("failed", 3)


def test_map_yields_the_results_before_the_failing_item_then_raises_its_exception(backend):
    results = pointsman.map(functions.fail_late_or_at_once, range(12), backend=backend)
    before = [next(results) for _ in range(3)]

    error = failure(next, results)

    assert before == [0, 1, 2]
    assert error.args == ("failed", 3)


def test_after_its_exception_a_map_is_at_its_end(backend):
    results = pointsman.map(functions.fail, range(12), backend=backend)
    failure(next, results)

    assert list(results) == []


def test_the_remaining_calls_are_not_run_after_an_exception(backend, tmp_path):
    path = tmp_path / "calls"
    calls = 1000

    error = failure(pointsman.execute, partial(functions.note_and_fail_at, str(path), 5), range(calls), backend=backend)
    pointsman.execute(functions.square, range(10), backend=backend)

    assert error.args == ("this is the one", 5)
    assert len(lines(path)) < calls / 2


def test_exceptions_can_be_asked_for_as_results(backend):
    results = pointsman.execute(functions.fail_if_odd, range(40), backend=backend, on_error="return")

    assert results[::2] == list(range(0, 40, 2))
    assert [(type(error), error.args) for error in results[1::2]] == [(Boom, ("odd", x)) for x in range(1, 40, 2)]


def test_map_can_give_exceptions_as_results(backend):
    results = list(pointsman.map(functions.fail_if_odd, range(20), backend=backend, on_error="return"))

    assert [x if isinstance(x, int) else x.code for x in results] == list(range(20))


@pytest.mark.parametrize("place", ["inline", "threads"])
def test_a_call_that_wants_to_end_the_program_is_no_result(place):
    with pytest.raises(SystemExit) as caught:
        pointsman.execute(functions.leave, [3, 4], backend=place, max_workers=2, on_error="return")

    assert caught.value.code == 3


def test_an_exception_of_the_input_reaches_the_caller_and_the_next_job_runs(backend):
    def data():
        yield from range(20)
        raise LookupError("the input has a hole")

    error = failure(pointsman.execute, functions.nap, data(), backend=backend)

    assert type(error) is LookupError
    assert pointsman.execute(functions.square, range(20), backend=backend) == [x * x for x in range(20)]


def test_a_failed_job_does_not_disturb_the_next(backend):
    for _ in range(5):
        failure(pointsman.execute, functions.fail, range(50), backend=backend)

        assert pointsman.execute(functions.square, range(50), backend=backend) == [x * x for x in range(50)]


# ----------------------------------------------------------------------------- keywords and run, submit


VIEWS = {
    "run": lambda backend: pointsman.options(backend=backend).run,
    "submit": lambda backend: lambda *a, **k: pointsman.options(backend=backend).submit(*a, **k).result(),
    "executor": lambda backend: lambda *a, **k: pointsman.Executor(1, backend=backend).submit(*a, **k).result(),
}


@pytest.mark.parametrize("way", VIEWS)
@pytest.mark.parametrize("place", ["auto", "threads", "processes"])
def test_every_keyword_belongs_to_the_function(way, place):
    keywords = dict.fromkeys(
        ["self", "fn", "func", "function", "args", "kwargs", "backend", "timeout", "priority", "max_workers", "name"], 1
    )

    assert VIEWS[way](place)(functions.takes, 1, 2, **keywords) == ((1, 2), keywords)


def test_run_and_submit_take_any_keyword():
    assert pointsman.run(functions.takes, self=1, fn=2) == ((), {"self": 1, "fn": 2})
    assert pointsman.submit(functions.takes, self=1, fn=2).result() == ((), {"self": 1, "fn": 2})


# -------------------------------------------------------------------------------------------- nesting


def test_a_call_may_run_a_job_of_its_own(backend):
    def sum_of_squares(n):
        return sum(pointsman.execute(functions.square, range(n), backend=backend))

    results = pointsman.execute(sum_of_squares, range(12), backend=backend)

    assert results == [sum(x * x for x in range(n)) for n in range(12)]


def test_jobs_on_threads_nested_three_deep_do_not_wait_for_each_other_for_ever():
    def nested(depth):
        if depth == 0:
            return 1
        return sum(pointsman.execute(nested, [depth - 1] * 4, backend="threads", max_workers=2))

    assert pointsman.execute(nested, [3, 3], backend="threads", max_workers=2) == [64, 64]


def test_jobs_of_several_threads_at_a_time_do_not_mix(backend):
    results = {}

    def job(start):
        results[start] = pointsman.execute(functions.nap, range(start, start + 40), backend=backend)

    callers = [threading.Thread(target=job, args=(start,)) for start in range(0, 400, 100)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert results == {start: list(range(start, start + 40)) for start in range(0, 400, 100)}


def test_two_maps_may_be_read_in_turn(backend):
    left = pointsman.map(functions.square, range(100), backend=backend)
    right = pointsman.map(functions.same, range(100), backend=backend)

    assert list(zip(left, right, strict=True)) == [(x * x, x) for x in range(100)]
