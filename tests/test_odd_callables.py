"""Callables that answer to every name, or are marked as what their code is not: they are called as plain code does.

What it does not know: functions whose meaning has to be read (test_meaning).
"""

import asyncio
import functools
import inspect
import sys
import threading
from unittest.mock import AsyncMock, MagicMock, Mock
from xmlrpc.client import ServerProxy
from xmlrpc.server import SimpleXMLRPCServer

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)


class Obliging:
    """Has every attribute, and each is another of its kind; the dunder names, too, which a Mock has not."""

    def __getattr__(self, name):
        return Obliging()

    def __call__(self, x=0):
        return x + 1


class Reducible(Obliging):
    """Finds its way to other processes all the same."""

    def __reduce_ex__(self, protocol):
        return Reducible, ()


# ------------------------------------------------------------------------------------- every attribute


@pytest.mark.parametrize("kind", [Mock, MagicMock])
@pytest.mark.parametrize("backend", ["auto", "inline", "threads"])
def test_a_mock_is_called_once_for_each_input(kind, backend):
    mock = kind(return_value=3)

    assert pointsman.execute(mock, range(5), backend=backend) == [3] * 5
    assert mock.call_count == 5
    assert list(pointsman.map(mock, range(5), backend=backend)) == [3] * 5


def test_a_mock_of_a_partial_is_no_partial():
    assert pointsman.execute(Mock(spec=functools.partial, return_value=3), range(5)) == [3] * 5


def test_a_mock_as_a_single_call_is_no_coroutine_function():
    with pointsman.Executor(1) as executor:
        results = [
            pointsman.run(Mock(return_value=3), 1),
            pointsman.submit(Mock(return_value=3), 1).result(),
            executor.submit(Mock(return_value=3), 1).result(),
            *executor.map(Mock(return_value=3), [1]),
            pointsman.options(backend="threads").run(Mock(return_value=3), 1),
        ]

    assert results == [3] * 5


def test_a_mock_travels_as_a_copy():
    mock = Mock(return_value=3)

    assert pointsman.execute(mock, range(5), backend="processes") == [3] * 5
    assert mock.call_count == 0


def test_an_async_mock_is_a_coroutine_function():
    assert pointsman.run(AsyncMock(return_value=3), 1) == 3
    assert pointsman.execute(AsyncMock(return_value=3), range(3)) == [3] * 3


@pytest.mark.parametrize("backend", ["auto", "inline", "threads"])
def test_an_object_with_every_attribute_is_called(backend):
    assert pointsman.execute(Obliging(), range(5), backend=backend) == [1, 2, 3, 4, 5]


def test_an_object_with_every_attribute_is_called_by_executors_and_retried():
    with pointsman.Executor(1) as executor:
        assert executor.submit(Obliging(), 1).result() == 2
        assert executor.options(timeout=60).submit(Obliging(), 1).result() == 2
    assert pointsman.run(Obliging(), 1) == pointsman.submit(Obliging(), 1).result() == 2
    assert pointsman.execute(Obliging(), [1], retries=1, retry_on=ValueError) == [2]


def test_an_object_with_every_attribute_travels_if_it_can():
    assert pointsman.execute(Reducible(), range(5), backend="processes") == [1, 2, 3, 4, 5]


def test_an_object_with_every_attribute_is_tried_out_for_interpreters():
    from pointsman._interpreter_worker import imports_of

    assert imports_of(Obliging(), sys.modules) == []


def test_the_method_of_a_remote_server_is_called():
    with SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
        server.register_function(lambda x: x + 1, "inc")
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with ServerProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
                assert pointsman.execute(proxy.inc, range(5), backend="inline") == [1, 2, 3, 4, 5]
                assert pointsman.run(proxy.inc, 1) == 2
        finally:
            server.shutdown()
            serving.join()


def test_an_object_with_every_attribute_is_no_iterable():
    with pytest.raises(pointsman.InvalidTypeError, match="iterable"):
        pointsman.execute(functions.square, Obliging())
    with pytest.raises(pointsman.InvalidTypeError, match="iterable"):
        pointsman.amap(functions.square, Obliging())


def test_a_class_is_no_iterable_though_its_objects_are():
    with pytest.raises(pointsman.InvalidTypeError, match="iterable"):
        pointsman.execute(functions.square, list)


def test_an_enumeration_is_an_iterable_though_it_is_a_class():
    assert pointsman.execute(int, functions.Colour) == [1, 2]


# ------------------------------------------------------------------------------------- marks


def give(x):
    return functions.a_coroutine_function(x)


def marked(function):
    """What `asgiref` does before 3.12, and `inspect.markcoroutinefunction` after."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine
    return function


@pytest.mark.parametrize("wrap", [lambda function: function, functools.partial], ids=["function", "partial"])
def test_a_function_that_is_marked_gives_coroutines(wrap):
    function = wrap(marked(functools.wraps(give)(lambda x: give(x))))

    assert pointsman.run(function, 5) == 5
    assert pointsman.execute(function, [5, 6]) == [5, 6]


@pytest.mark.parametrize("name", ["_is_coroutine_marker", "_is_coroutine"])
def test_an_attribute_that_is_called_as_a_mark_is_none(name):
    def double(x):
        return 2 * x

    setattr(double, name, True)

    assert pointsman.run(double, 5) == 10
    assert pointsman.execute(double, [5, 6]) == [10, 12]
