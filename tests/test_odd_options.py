"""Options that make no sense: the error names the one that was given, its value and what is allowed, at once.

What it does not know: the functions and inputs of jobs (test_bad_input).
"""

import multiprocessing
import sys

import pytest

import functions
import pointsman
from pointsman import TaskPriority

pytestmark = pytest.mark.timeout(60)


def caught(kind, call, *args, **kwargs) -> str:
    """Check that the error is ours and the built-in one that users catch today; give its message."""
    with pytest.raises(kind) as info:
        call(*args, **kwargs)
    assert isinstance(info.value, pointsman.PointsmanError)
    return str(info.value)


# ------------------------------------------------------------------------------------- of executors


def test_the_second_argument_of_an_executor_is_a_prefix_or_a_context():
    message = caught(TypeError, pointsman.Executor, 1, 5)

    assert "thread_name_prefix" in message
    assert "string" in message
    assert "context of multiprocessing" in message
    assert "not 5" in message


def test_a_context_of_multiprocessing_may_come_second_as_in_a_process_pool():
    with pointsman.Executor(1, multiprocessing.get_context("spawn")) as executor:
        assert "processes" in repr(executor)
        assert executor.submit(functions.square, 3).result() == 9


def test_a_context_is_not_lost_beside_a_prefix_that_is_none():
    executor = pointsman.Executor(1, None, mp_context=multiprocessing.get_context("spawn"))

    assert "processes" in repr(executor)
    executor.shutdown()


def test_what_is_no_context_is_told_how_one_is_made():
    message = caught(TypeError, pointsman.Executor, 1, mp_context="spawn")

    assert "mp_context" in message
    assert "get_context('spawn')" in message


@pytest.mark.parametrize("arguments", [5, None])
def test_arguments_of_an_initializer_that_are_no_tuple_are_a_type_error(arguments):
    message = caught(TypeError, pointsman.Executor, 1, initializer=functions.takes, initargs=arguments)

    assert "initargs" in message
    assert repr(arguments) in message


@pytest.mark.parametrize("option", ["max_tasks_per_child", "memory_limit", "shared_memory"])
def test_a_limit_of_worker_processes_is_named_alone_if_it_was_given_alone(option):
    message = caught(ValueError, pointsman.Executor, 1, **{option: 1 << 30})

    assert message.startswith(f"{option} is of worker processes")


def test_limits_of_worker_processes_are_named_together_if_they_were_given_together():
    message = caught(ValueError, pointsman.Executor, 1, max_tasks_per_child=1, shared_memory=1 << 30)

    assert message.startswith("max_tasks_per_child and shared_memory are of worker processes")


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("option", ["queue_capacity", "max_tasks_per_child", "memory_limit", "thread_stack_size"])
def test_a_count_that_nothing_can_count_to_is_a_value_error_when_the_executor_is_made(option, backend):
    message = caught(ValueError, pointsman.Executor, 1, backend=backend, **{option: 10**30})

    assert option in message
    assert f"at most {sys.maxsize}" in message


@pytest.mark.parametrize("option", ["chunksize", "buffersize"])
def test_a_count_that_nothing_can_count_to_is_a_value_error_of_a_map(option):
    with pointsman.Executor(1) as executor:
        assert option in caught(ValueError, executor.map, functions.square, [1], **{option: 10**30})
    assert option in caught(ValueError, pointsman.map, functions.square, [1], **{option: 10**30})


@pytest.mark.parametrize("workers", [1 << 32, sys.maxsize, 10**30])
def test_more_workers_than_are_counted_are_a_value_error(workers):
    for make in (pointsman.Executor, pointsman.options):
        assert "max_workers must be at most" in caught(ValueError, make, max_workers=workers)
    for call in (pointsman.execute, pointsman.map, pointsman.optimize, pointsman.amap):
        assert "max_workers must be at most" in caught(
            ValueError, call, functions.square, range(20_000), max_workers=workers
        )


@pytest.mark.parametrize("value", [True, False])
def test_a_switch_where_a_count_belongs_is_a_type_error(value):
    for make in (pointsman.Executor, pointsman.options):
        assert f"max_workers must be a whole number, not {value}" in caught(TypeError, make, max_workers=value)
    for option in ("max_workers", "chunksize", "sample_size", "retries"):
        message = caught(TypeError, pointsman.execute, functions.square, [1], **{option: value})

        assert f"{option} must be a whole number, not {value}" in message


# ------------------------------------------------------------------------------------- of views


@pytest.mark.parametrize("value", ["high", 99, -1, True, [1]])
def test_a_priority_that_is_none_is_a_value_error_that_names_those_there_are(value):
    with pointsman.Executor(1) as executor:
        for make in (pointsman.options, executor.options):
            message = caught(ValueError, make, priority=value)

            assert all(priority.name in message for priority in TaskPriority)
            assert repr(value) in message


def test_a_priority_may_be_given_as_its_number():
    assert pointsman.options(priority=1).submit(functions.square, 3).result() == 9


def test_a_name_that_is_no_string_is_a_type_error():
    message = caught(TypeError, pointsman.options, name=5)

    assert "name must be a string" in message
    assert "5" in message


@pytest.mark.parametrize("option", ["kill_on_cancel", "run_on_caller"])
def test_a_word_where_a_switch_of_a_view_belongs_is_a_type_error(option):
    with pointsman.Executor(1) as executor:
        for make in (pointsman.options, executor.options):
            assert f"{option} must be True or False, not 'no'" in caught(TypeError, make, **{option: "no"})


# ------------------------------------------------------------------------------------- of their methods


@pytest.mark.parametrize("backend", ["auto", "threads", "processes"])
def test_what_a_map_cannot_iterate_is_a_type_error_that_shows_it(backend):
    with pointsman.Executor(1, backend=backend) as executor:
        for view in (executor, executor.options()):
            assert "but 5 is an int" in caught(TypeError, view.map, functions.square, 5)
            assert "iterable 1" in caught(TypeError, view.map, functions.add, [1], 5)


def test_a_timeout_that_is_no_number_is_a_type_error():
    with pointsman.Executor(1) as executor:
        for view in (executor, executor.options()):
            assert "timeout must be a number of seconds or None, not 'x'" in caught(
                TypeError, view.map, functions.square, [1], timeout="x"
            )
        for wait in (executor.wait, executor.as_completed):
            assert "timeout must be a number of seconds or None, not 'x'" in caught(TypeError, wait, [], timeout="x")


def test_what_cannot_be_waited_for_is_a_type_error_that_shows_it_and_its_place():
    with pointsman.Executor(1) as executor:
        future = executor.submit(functions.square, 3)
        for wait in (executor.wait, executor.as_completed):
            assert "but 5 is an int" in caught(TypeError, wait, 5)
            message = caught(TypeError, wait, [future, 5])

            assert "item 1 of futures" in message
            assert "but 5 is an int" in message


def test_futures_to_wait_for_may_come_from_a_generator():
    with pointsman.Executor(1) as executor:
        assert len(executor.wait(executor.submit(functions.square, x) for x in range(3))) == 3
        assert len([*executor.as_completed(executor.submit(functions.square, x) for x in range(3))]) == 3
