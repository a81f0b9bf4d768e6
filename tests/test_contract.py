"""What every backend promises, run on all of them: the same results, whatever runs the calls.

What it does not know: how a backend works, or which one `auto` takes.
"""

import contextvars
import itertools
import os
import sys
import threading
import traceback
from collections import Counter
from functools import partial

import pytest

import functions
import pointsman
from functions import Boom, Colour, Label, Pair

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


# ------------------------------------------------------------------------------- functions that travel


def test_a_lambda_runs(backend):
    assert pointsman.execute(lambda x: x + 1, range(40), backend=backend) == list(range(1, 41))


def test_a_closure_runs_with_what_it_captured(backend):
    factor, table = 3, {"offset": [10]}

    def scaled(x):
        return factor * x + table["offset"][0]

    assert pointsman.execute(scaled, range(40), backend=backend) == [3 * x + 10 for x in range(40)]


def test_two_closures_of_one_function_are_not_mistaken_for_each_other(backend):
    def times(factor):
        return lambda x: factor * x

    results = [pointsman.execute(times(factor), range(5), backend=backend) for factor in range(4)]

    assert results == [[factor * x for x in range(5)] for factor in range(4)]


def test_a_function_sees_what_changed_in_its_closure_between_two_jobs(backend):
    offset = 1

    def shifted(x):
        return x + offset

    before = pointsman.execute(shifted, range(5), backend=backend)
    offset = 100
    after = pointsman.execute(shifted, range(5), backend=backend)

    assert before == [1, 2, 3, 4, 5]
    assert after == [100, 101, 102, 103, 104]


def test_a_recursive_nested_function_runs(backend):
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert pointsman.execute(fib, range(12), backend=backend) == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]


def test_a_nested_class_and_its_methods_run(backend):
    class Adder:
        def __init__(self, step):
            self.step = step

        def __call__(self, x):
            return x + self.step

        def method(self, x):
            return x - self.step

        @staticmethod
        def static(x):
            return -x

        @classmethod
        def named(cls, x):
            return cls.__name__, x

    for call, expected in [
        (Adder(5), [5, 6, 7]),
        (Adder(5).method, [-5, -4, -3]),
        (Adder.static, [0, -1, -2]),
        (Adder.named, [("Adder", 0), ("Adder", 1), ("Adder", 2)]),
    ]:
        assert pointsman.execute(call, range(3), backend=backend) == expected


@pytest.mark.parametrize(
    ("call", "data"),
    [
        pytest.param(abs, [-1, 2], id="builtin"),
        pytest.param(str.upper, ["a", "b"], id="method descriptor"),
        pytest.param("a{}".format, [1, 2], id="bound builtin"),
        pytest.param(int, ["1", "2"], id="class"),
        pytest.param(partial(int, base=2), ["10", "11"], id="partial"),
    ],
)
def test_any_callable_runs(backend, call, data):
    assert pointsman.execute(call, data, backend=backend) == [call(item) for item in data]


def test_a_default_argument_travels(backend):
    def scaled(x, factor=7):
        return x * factor

    assert pointsman.execute(scaled, range(5), backend=backend) == [0, 7, 14, 21, 28]


# ----------------------------------------------------------------------------------- values that travel


def deep_tuple(depth: int) -> tuple:
    return (depth, deep_tuple(depth - 1)) if depth else ()


VALUES = {
    "none": None,
    "bools": [True, False],
    "huge int": 10**400,
    "edges of 64 bits": [2**63 - 1, 2**63, -(2**63), -(2**63) - 1],
    "floats": (0.1, float("inf"), -0.0, 5e-324),
    "empty": ("", b"", (), [], {}, set()),
    "lone surrogates": "a\udc80b\ud800",
    "odd text": "null \0 and \U0001f686 and __main__",
    "nested tuples": deep_tuple(12),
    "tuple in list in dict": {"a": [(1, 2), (3,)], ("k", 1): {frozenset({1})}},
    "enum": Colour.BLUE,
    "str by inheritance": Label("x"),
    "named tuple": Pair(1, [2]),
    "bytearray": bytearray(b"abc"),
    "ellipsis": ...,
    "type": dict,
    "complex": 1 + 2j,
    "slice": range(1, 9, 2),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(backend, name):
    value = VALUES[name]

    [back] = pointsman.execute(functions.same, [value], backend=backend)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_a_large_bytes_goes_there_and_back(backend):
    value = os.urandom(5_000_000)

    results = pointsman.execute(functions.same, [value, value[:-1], value[1:]], backend=backend)

    assert results == [value, value[:-1], value[1:]]


@pytest.mark.parametrize("size", [32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20])
def test_buffers_of_any_size_go_there_and_back(backend, size):
    data = [b"x" * size, "y" * size, bytearray(b"z" * size), (b"x" * size, "y" * size)]

    assert pointsman.execute(functions.same, data, backend=backend) == data


def test_many_large_results_do_not_fill_the_memory_for_good(backend):
    for _ in range(3):
        sizes = pointsman.map(functions.same, (bytes([x]) * 1_000_000 for x in range(60)), backend=backend)

        assert [(len(result), result[0]) for result in sizes] == [(1_000_000, x) for x in range(60)]


def test_large_results_may_all_be_kept(backend):
    kept = pointsman.execute(functions.same, [bytes([x]) * 2_000_000 for x in range(60)], backend=backend)

    assert [(len(result), result[0], result[-1]) for result in kept] == [(2_000_000, x, x) for x in range(60)]


def test_a_long_list_as_an_item_goes_there_and_back(backend):
    value = [(n, str(n), n / 7) for n in range(10_000)]

    assert pointsman.execute(functions.same, [value] * 5, backend=backend) == [value] * 5


def test_ten_thousand_items_come_back(backend):
    assert pointsman.execute(functions.same, list(range(10_000)), backend=backend) == list(range(10_000))


def test_an_object_that_an_item_holds_twice_is_still_one(backend):
    def one_object(item):
        return item[0] is item[1]

    inner = ["shared"]

    assert pointsman.execute(one_object, [(inner, inner)] * 4, backend=backend) == [True] * 4


def test_numpy_arrays_come_back_equal_and_writable(backend):
    np = pytest.importorskip("numpy")
    data = [np.arange(n, dtype="float32").reshape(2, -1) for n in (0, 2, 100, 200_000)]

    results = pointsman.execute(functions.same, data, backend=backend)

    for result, array in zip(results, data, strict=True):
        assert result.dtype == array.dtype
        assert np.array_equal(result, array)
        result += 1


def test_a_call_may_write_into_the_array_that_it_was_given(backend):
    np = pytest.importorskip("numpy")

    def add_one(array):
        array += 1
        return array

    results = pointsman.execute(add_one, [np.zeros(n) for n in (3, 100_000)], backend=backend)

    assert [(float(result.min()), float(result.max()), result.size) for result in results] == [
        (1, 1, 3),
        (1, 1, 100_000),
    ]


def test_a_read_only_array_stays_read_only(backend):
    np = pytest.importorskip("numpy")
    array = np.arange(100_000)
    array.flags.writeable = False

    [result] = pointsman.execute(functions.same, [array], backend=backend)

    assert not result.flags.writeable
    assert np.array_equal(result, array)


def test_an_array_outlives_the_jobs_that_come_after_it(backend):
    np = pytest.importorskip("numpy")
    arrays = pointsman.execute(partial(np.full, 50_000), range(8), backend=backend)

    pointsman.execute(partial(np.full, 50_000), range(100, 130), backend=backend)

    assert [(int(array.min()), int(array.max())) for array in arrays] == [(n, n) for n in range(8)]


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


# ------------------------------------------------------------------------------------ where calls run


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("place", ["threads", "processes"])
def test_as_many_calls_run_at_a_time_as_workers_were_asked_for(place, workers, tmp_path):
    met = pointsman.execute(
        partial(functions.meet, str(tmp_path), workers), range(workers), backend=place, max_workers=workers, chunksize=1
    )

    assert met == [True] * workers


def most_at_a_time(spans) -> int:
    changes = sorted([(span.began, 1) for span in spans] + [(span.ended, -1) for span in spans])
    return max(itertools.accumulate(change for _, change in changes))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_calls_run_at_a_time_than_workers_were_asked_for(backend, workers, tmp_path):
    # A wider job first, so that more workers are there than the second may use.
    pointsman.execute(functions.span, [0.001] * 20, backend=backend, max_workers=5)

    spans = pointsman.execute(functions.span, [0.01] * 24, backend=backend, max_workers=workers)

    assert most_at_a_time(spans) <= workers


def test_inline_calls_run_on_the_callers_thread():
    spans = pointsman.execute(functions.span, [0] * 20, backend="inline")

    assert {(span.process, span.thread) for span in spans} == {(os.getpid(), threading.get_ident())}


def test_calls_on_threads_run_in_this_process():
    spans = pointsman.execute(functions.span, [0.001] * 20, backend="threads", max_workers=3)

    assert {span.process for span in spans} == {os.getpid()}


def test_calls_on_processes_run_in_no_other_place():
    pids = set(pointsman.execute(functions.process, range(200), backend="processes", max_workers=2))

    assert os.getpid() not in pids


def test_workers_are_kept_from_one_job_to_the_next():
    wide = {"backend": "processes", "max_workers": 2}
    before = set(pointsman.execute(functions.process, range(100), **wide))
    after = set(pointsman.execute(functions.process, range(100), **wide))

    assert before & after


def test_with_one_thread_per_process_calls_run_on_the_main_thread_of_the_worker():
    def on_main_thread(_):
        return threading.current_thread() is threading.main_thread()

    assert all(pointsman.execute(on_main_thread, range(20), backend="processes", max_workers=2))


def test_threads_are_ordinary_threads_that_the_threading_module_knows():
    def known(_):
        thread = threading.current_thread()
        return isinstance(thread, threading.Thread) and thread in threading.enumerate() and thread.name != ""

    assert all(pointsman.execute(known, range(50), backend="threads", max_workers=3))


def test_a_trace_function_set_for_all_threads_sees_the_calls():
    names = set()

    def tracer(frame, _event, _argument):
        names.add(frame.f_code.co_name)

    threading.settrace(tracer)
    try:
        with pointsman.Executor(1, backend="threads") as executor:
            executor.submit(functions.square, 2).result()
    finally:
        threading.settrace(sys.gettrace())

    assert "square" in names


@pytest.mark.parametrize("place", ["inline", "threads", "auto"])
def test_context_variables_of_the_caller_are_seen_by_its_calls(place):
    token = functions.WHO.set("the caller")
    try:
        answers = pointsman.execute(functions.who_asked, range(200), backend=place)
    finally:
        functions.WHO.reset(token)

    assert set(answers) == {"the caller"}


def test_context_variables_of_the_caller_are_seen_on_every_thread(tmp_path):
    def meet_and_tell(who):
        functions.meet(str(tmp_path), 3, who)
        return functions.WHO.get()

    def job():
        functions.WHO.set("the caller")
        return pointsman.execute(meet_and_tell, range(3), backend="threads", max_workers=3)

    assert contextvars.copy_context().run(job) == ["the caller"] * 3


def test_each_submitted_call_sees_the_context_that_it_was_submitted_in():
    with pointsman.Executor(2, backend="threads") as executor:
        futures = []
        for name in ("a", "b", "c", "d"):
            context = contextvars.copy_context()
            context.run(functions.WHO.set, name)
            futures.append(context.run(executor.submit, functions.who_asked))

        assert [future.result() for future in futures] == ["a", "b", "c", "d"]


def test_a_context_variable_that_a_call_sets_does_not_leak_into_the_next_call_of_its_thread():
    with pointsman.Executor(1, backend="threads") as executor:
        executor.submit(functions.WHO.set, "left behind").result()

        assert executor.submit(functions.who_asked).result() == "nobody"


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
