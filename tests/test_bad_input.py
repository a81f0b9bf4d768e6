"""Bad input: a clear error at once, which names what was wrong and what to do, and nobody else is touched.

What it does not know: workers that die (faults/).
"""

import asyncio
import pickle
import threading

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)

ENTRIES = {
    "execute": lambda func, data, **options: pointsman.execute(func, data, **options),
    "map": lambda func, data, **options: list(pointsman.map(func, data, **options)),
    "optimize": lambda func, data, **options: pointsman.optimize(func, data, **options),
}


@pytest.fixture(params=ENTRIES)
def entry(request):
    return ENTRIES[request.param]


def caught(kind, call, *args, **kwargs) -> str:
    """Check that the error is ours and the built-in one that users catch today; give its message."""
    with pytest.raises(kind) as info:
        call(*args, **kwargs)
    assert isinstance(info.value, pointsman.PointsmanError)
    return str(info.value)


# ----------------------------------------------------------------------------------- the function, the data


@pytest.mark.parametrize("thing", [None, 5, "square", [functions.square], functions.square(3)])
def test_a_function_that_is_not_callable_is_a_type_error_that_shows_it(entry, thing):
    message = caught(TypeError, entry, thing, [1, 2, 3])

    assert "callable" in message
    assert repr(thing) in message


@pytest.mark.parametrize(
    "way", [pointsman.run, pointsman.submit, pointsman.Executor(1).submit], ids=["run", "submit", "executor"]
)
def test_run_and_submit_refuse_what_is_not_callable(way):
    message = caught(TypeError, way, 5)

    assert "callable" in message


@pytest.mark.parametrize("data", [None, 5, 1.5, functions.square])
def test_data_that_cannot_be_iterated_is_a_type_error_that_shows_it_and_the_fix(entry, data):
    message = caught(TypeError, entry, functions.square, data)

    assert "iterable" in message
    assert repr(data) in message
    assert "run()" in message


def test_the_iterable_at_fault_is_named_when_there_are_several():
    message = caught(TypeError, lambda: list(pointsman.map(functions.add, [1], 5)))

    assert "iterable 1" in message


def test_map_without_an_iterable_is_a_type_error():
    assert "iterable" in caught(TypeError, lambda: list(pointsman.map(functions.square)))


def test_bad_arguments_of_map_are_told_when_it_is_called_not_when_it_is_read():
    caught(TypeError, pointsman.map, functions.square, 5)
    caught(TypeError, pointsman.map, 5, [1])
    caught(ValueError, pointsman.map, functions.square, [1], max_workers=0)


# --------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("option", ["max_workers", "chunksize"])
@pytest.mark.parametrize("value", [0, -1, -(10**30)])
def test_a_count_that_is_not_positive_is_a_value_error_that_names_it(entry, option, value):
    message = caught(ValueError, entry, functions.square, [1, 2], **{option: value})

    assert option in message
    assert str(value) in message


@pytest.mark.parametrize("option", ["max_workers", "chunksize"])
@pytest.mark.parametrize("value", ["2", 2.0, [2]])
def test_a_count_that_is_no_whole_number_is_a_type_error_that_names_it(entry, option, value):
    message = caught(TypeError, entry, functions.square, [1, 2], **{option: value})

    assert option in message
    assert repr(value) in message


@pytest.mark.parametrize(("option", "value"), [("buffersize", 0), ("buffersize", -3)])
def test_a_buffer_that_holds_nothing_is_a_value_error(option, value):
    assert option in caught(ValueError, pointsman.map, functions.square, [1], **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sample_size", 0),
        ("target_chunk_duration", 0),
        ("target_chunk_duration", -1.0),
        ("target_chunk_duration", float("nan")),
    ],
)
def test_figures_of_execute_must_make_sense(option, value):
    assert option in caught(ValueError, pointsman.execute, functions.square, [1, 2], **{option: value})


def test_a_duration_that_is_no_number_is_a_type_error():
    assert "target_chunk_duration" in caught(
        TypeError, pointsman.execute, functions.square, [1], target_chunk_duration="long"
    )


def test_more_worker_processes_than_a_pool_can_have_are_a_value_error(entry):
    message = caught(ValueError, entry, functions.square, [1, 2], backend="processes", max_workers=10**9)

    assert "at most 1024" in message
    assert "1000000000" in message


def test_an_executor_of_more_processes_than_a_pool_can_have_is_a_value_error():
    assert "at most 1024" in caught(ValueError, pointsman.Executor, 10**30, backend="processes")


def test_an_unknown_backend_is_a_value_error_that_lists_the_known_ones(entry):
    message = caught(ValueError, entry, functions.square, [1, 2], backend="thread")

    assert "'thread'" in message
    assert all(repr(name) in message for name in ("auto", "inline", "threads", "processes"))


@pytest.mark.parametrize("backend", [None, 5, ["threads"]])
def test_a_backend_that_is_no_name_is_told_the_same_way(entry, backend):
    assert repr(backend) in caught(ValueError, entry, functions.square, [1, 2], backend=backend)


def test_an_unknown_way_to_treat_errors_is_a_value_error():
    assert "on_error" in caught(ValueError, pointsman.execute, functions.square, [1], on_error="ignore")


@pytest.mark.parametrize("make", [pointsman.Executor, pointsman.options], ids=["Executor", "options"])
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -2}, ValueError),
        ({"max_workers": "two"}, TypeError),
        ({"backend": "nowhere"}, ValueError),
    ],
)
def test_executors_and_views_check_their_options_when_made(make, arguments, kind):
    message = caught(kind, make, **arguments)

    assert next(iter(arguments)) in message


def test_an_initializer_that_is_not_callable_is_a_type_error():
    assert "initializer" in caught(TypeError, pointsman.Executor, initializer=5)


def test_no_input_is_taken_and_nothing_is_called_when_an_argument_is_bad(tmp_path):
    path, taken = tmp_path / "calls", []

    def data():
        taken.append(1)
        yield 1

    for options in ({"max_workers": 0}, {"backend": "nowhere"}, {"chunksize": -1}, {"on_error": "?"}):
        caught(ValueError, pointsman.execute, lambda x: functions.note(str(path), x), data(), **options)

    assert taken == []
    assert not path.exists()


# ------------------------------------------------------------------------------------- async functions


def test_the_event_loop_refuses_a_plain_function_with_a_way_out(entry):
    message = caught(TypeError, entry, functions.square, [1, 2], backend="asyncio")

    assert "square" in message
    assert "async def" in message
    assert "backend='threads'" in message


def test_an_async_generator_function_is_refused(entry):
    async def numbers(n):
        for x in range(n):
            yield x

    assert "numbers" in caught(TypeError, entry, numbers, [1, 2])


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_plain_function_that_returns_a_coroutine_is_an_error_by_name(place):
    with pytest.raises(TypeError, match="give_coroutine.*coroutine"):
        pointsman.execute(functions.give_coroutine, [1, 2], backend=place, max_workers=2)


def test_run_runs_a_coroutine_function_to_its_end():
    assert pointsman.run(functions.a_coroutine_function, 5) == 5


def test_run_refuses_a_coroutine_function_where_a_loop_is_running_and_says_await():
    async def main():
        return pointsman.run(functions.a_coroutine_function, 5)

    message = caught(RuntimeError, lambda: asyncio.run(main()))

    assert "a_coroutine_function" in message
    assert "await" in message


# ------------------------------------------------------------------------- what cannot be pickled, and where


def after(call):
    """Check that the pool lives on after `call`."""
    result = call()
    assert pointsman.execute(functions.square, range(50), backend="processes") == [x * x for x in range(50)]
    return result


def test_a_function_that_cannot_be_pickled_is_named_with_the_reason_and_a_way_out():
    lock = threading.Lock()

    def holds_a_lock(x):
        with lock:
            return x

    message = after(lambda: caught(pickle.PicklingError, pointsman.execute, holds_a_lock, [1, 2], backend="processes"))

    assert "holds_a_lock" in message
    assert "lock" in message.replace("holds_a_lock", "")
    assert "threads" in message


def test_an_argument_that_cannot_be_pickled_is_named_with_its_place_and_a_way_out():
    data = [1, 2, 3, threading.Lock(), 5]

    message = after(lambda: caught(pickle.PicklingError, pointsman.execute, functions.same, data, backend="processes"))

    assert "same" in message
    assert "item 3" in message
    assert "lock" in message
    assert "threads" in message


def test_the_place_of_an_argument_counts_from_the_start_of_the_input_not_of_its_chunk():
    data = [*range(100), threading.Lock(), *range(20)]

    message = after(
        lambda: caught(pickle.PicklingError, pointsman.execute, functions.same, data, backend="processes", chunksize=7)
    )

    assert "item 100" in message


def test_results_before_an_argument_that_cannot_be_pickled_arrive():
    data = [*range(20), threading.Lock()]
    got = []

    def read():
        for result in pointsman.map(functions.same, data, backend="processes", max_workers=2):
            got.append(result)

    after(lambda: caught(pickle.PicklingError, read))

    assert got == list(range(20))


def test_an_argument_that_cannot_be_pickled_can_be_a_result_of_its_own():
    data = [1, threading.Lock(), 3]

    results = pointsman.execute(functions.same, data, backend="processes", on_error="return")

    assert [results[0], results[2]] == [1, 3]
    assert isinstance(results[1], pickle.PicklingError)


def test_an_argument_of_submit_that_cannot_be_pickled_is_named_in_the_future():
    with pointsman.Executor(1, backend="processes") as executor:
        bad = executor.submit(functions.takes, 1, lock=threading.Lock())
        good = executor.submit(functions.square, 3)
        message = caught(pickle.PicklingError, bad.result, functions.PATIENCE)

        assert good.result() == 9
    assert "takes" in message
    assert "lock" in message


@pytest.mark.parametrize("call", [functions.give_lock, functions.give_generator])
def test_a_result_that_cannot_be_pickled_is_named_with_its_function_and_place(call):
    message = after(lambda: caught(pickle.PicklingError, pointsman.execute, call, [0, 1], backend="processes"))

    assert call.__name__ in message
    assert "item 0" in message
    assert "result" in message


def test_a_result_that_cannot_be_unpickled_is_named_with_its_function_and_place():
    message = after(
        lambda: caught(
            pickle.UnpicklingError, pointsman.execute, functions.give_bad_loader, [0, 1], backend="processes"
        )
    )

    assert "give_bad_loader" in message
    assert "item 0" in message
    assert "stays at home" in message


def test_an_argument_that_cannot_be_unpickled_fails_only_its_own_call():
    data = [1, functions.LoadsBadly(0), 3]

    results = pointsman.execute(functions.same, data, backend="processes", chunksize=1, on_error="return")

    assert [results[0], results[2]] == [1, 3]
    assert isinstance(results[1], Exception)
    assert "stays at home" in str(results[1])


@pytest.mark.parametrize("call", [functions.raise_two, functions.raise_lock])
def test_an_exception_that_cannot_travel_is_told_with_its_type_text_and_traceback(call):
    import traceback

    with pytest.raises(pointsman.PointsmanError) as info:
        pointsman.execute(call, [0, 1], backend="processes")
    text = "".join(traceback.format_exception(info.value))

    assert call.__name__ in str(info.value)
    assert "item 0" in str(info.value)
    assert {"raise_two": "NeedsTwo: one and two", "raise_lock": "HoldsLock: holds a lock"}[call.__name__] in str(
        info.value
    )
    assert f"in {call.__name__}" in text
    assert pointsman.execute(functions.square, [3], backend="processes") == [9]


@pytest.mark.parametrize("call", [functions.raise_two, functions.raise_lock])
def test_an_exception_that_cannot_travel_fails_no_other_call(call):
    def sometimes(x):
        return call() if x % 5 == 2 else x

    results = pointsman.execute(sometimes, range(50), backend="processes", on_error="return")

    assert [x for n, x in enumerate(results) if n % 5 != 2] == [x for x in range(50) if x % 5 != 2]
    assert all(isinstance(x, pointsman.PointsmanError) for x in results[2::5])


def test_what_cannot_travel_runs_on_threads_and_inline_as_it_is():
    data = [threading.Lock() for _ in range(10)]

    for place in ("inline", "threads", "auto"):
        assert all(a is b for a, b in zip(pointsman.execute(functions.same, data, backend=place), data, strict=True))


def test_pickles_that_call_pointsman_do_not_deadlock():
    assert pointsman.execute(functions.same, [Restless(n) for n in range(5)], backend="processes") == [
        Restless(n) for n in range(5)
    ]


class Restless:
    """Runs a job of its own while it is pickled."""

    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return isinstance(other, Restless) and self.n == other.n

    __hash__ = None

    def __reduce__(self):
        [n] = pointsman.execute(functions.same, [self.n], backend="processes")
        return Restless, (n,)


# ----------------------------------------------------------------------------------- switches, plans, callbacks


@pytest.mark.parametrize("option", ["verbose", "progress", "return_optimization_result", "profile", "ordered"])
def test_a_word_where_a_switch_belongs_is_an_error_that_names_it(option):
    message = caught(TypeError, pointsman.execute, functions.square, [1], **{option: "no"})

    assert option in message


@pytest.mark.parametrize("option", ["plan", "progress_callback"])
def test_what_is_no_plan_or_no_callback_is_an_error_before_any_call_is_made(option):
    made = []
    message = caught(TypeError, pointsman.execute, made.append, [1], **{option: "x"})

    assert option in message
    assert "'x' is a str" in message
    assert made == []


@pytest.mark.parametrize("entry", ["execute", "map"])
def test_a_timeout_of_a_job_on_threads_is_refused_since_it_could_not_be_kept(entry):
    message = caught(ValueError, ENTRIES[entry], functions.square, [1], backend="threads", timeout=1.0)

    assert "processes" in message


def test_a_timeout_of_coroutines_on_threads_is_kept():
    async def sleep(seconds):
        await asyncio.sleep(seconds)

    with pytest.raises(pointsman.CallTimeoutError):
        pointsman.execute(sleep, [0.0, 60.0], backend="threads", timeout=0.2)


def test_a_large_value_in_the_place_of_a_function_is_shown_in_part():
    message = caught(TypeError, pointsman.execute, list(range(100_000)), [1])

    assert len(message) < 300


# ----------------------------------------------------------------------------------- what users read


def test_errors_are_named_as_users_import_them():
    for name in pointsman.__all__:
        kind = getattr(pointsman, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert f"{kind.__module__}.{kind.__qualname__}" == f"pointsman.{name}"
            assert pickle.loads(pickle.dumps(kind)) is kind


def test_advice_about_arguments_is_not_given_for_results():
    message = caught(pickle.PicklingError, pointsman.execute, lambda _n: threading.Lock(), [1, 2], backend="processes")

    assert message.count("cannot be pickled") == 1
    assert "inside the function" not in message
    assert "return plain data" in message


def test_an_executor_says_what_it_is():
    with pointsman.Executor(2, backend="threads") as executor:
        assert repr(executor) == "<Executor backend='threads' max_workers=2>"
    assert repr(executor) == "<Executor backend='threads' max_workers=2, shut down>"


def test_a_view_with_options_says_what_they_are():
    view = pointsman.options(backend="processes", timeout=2)

    assert repr(view) == "<Options backend='processes' timeout=2.0>"
