"""`executor.options(...)`: a view with `run`, `submit`, `map` and `execute` whose calls run on its terms.

What it does not know: the terms themselves (test_terms.py, test_executor_options.py).
"""

import asyncio
import itertools
import threading
from functools import partial

import pytest

import functions
import pointsman
from fixtures import wait_until
from pointsman import TaskPriority

pytestmark = pytest.mark.timeout(60)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])


async def later(number):
    await asyncio.sleep(0.001)
    return number + 1


def test_a_call_on_a_thread_that_took_too_long_is_counted_as_failed():
    gate = threading.Event()
    with pointsman.Executor(1) as executor:
        future = executor.options(timeout=0.05).submit(gate.wait, functions.PATIENCE)
        with pytest.raises(pointsman.CallTimeoutError):
            future.result(functions.PATIENCE)
        gate.set()
        wait_until(lambda: executor.get_stats().running_tasks == 0)
        stats = executor.get_stats()

    assert (stats.completed_tasks, stats.failed_tasks) == (0, 1)


def test_a_view_runs_maps_and_executes_on_its_terms(tmp_path):
    with pointsman.Executor(2, backend="processes") as executor:
        view = executor.options(retries=1)

        assert view.run(functions.die_once, str(tmp_path / "run"), 5) == 5
        assert list(view.map(functions.die_once, [str(tmp_path / "map")], [6])) == [6]
        assert view.execute(partial(functions.die_once, str(tmp_path / "execute")), [7, 8]) == [7, 8]


@BOTH
def test_a_view_takes_functions_of_every_kind(place):
    with pointsman.Executor(2, backend=place) as executor:
        view = executor.options(priority=TaskPriority.LOW)

        assert view.run(later, 1) == 2
        assert view.execute(later, range(3)) == [1, 2, 3]
        assert view.execute(functions.square, iter(range(3))) == [0, 1, 4]
        assert list(view.map(pow, range(4), [2] * 4, chunksize=1)) == [0, 1, 4, 9]
        with pytest.raises(ZeroDivisionError):
            view.execute(partial(divmod, 1), [1, 0])


def test_a_view_stops_what_lasts_too_long():
    with pointsman.Executor(1, backend="processes") as executor:
        view = executor.options(timeout=0.3)

        with pytest.raises(pointsman.CallTimeoutError):
            view.execute(functions.sleep_long, [1])
        with pytest.raises(pointsman.CallTimeoutError):
            view.run(functions.sleep_long, 1)


@BOTH
@pytest.mark.parametrize(("options", "ahead"), [({}, 1024), ({"buffersize": 3}, 3)])
def test_a_map_of_a_view_takes_so_many_inputs_without_length_ahead(place, options, ahead):
    taken = itertools.count()
    with pointsman.Executor(2, backend=place) as executor:
        results = executor.options(priority=TaskPriority.LOW).map(functions.square, taken, **options)
        first = [next(results) for _ in range(3)]
        results.close()

    assert first == [0, 1, 4]
    assert next(taken) <= 3 + ahead


def test_a_map_of_a_view_refuses_chunks_with_the_reason():
    with pointsman.Executor(1) as executor:
        view = executor.options(priority=TaskPriority.LOW)
        with pytest.raises(pointsman.InvalidArgumentError, match="chunksize=4.*single calls"):
            view.map(functions.square, range(9), chunksize=4)
        with pytest.raises(pointsman.InvalidArgumentError, match="buffersize"):
            view.map(functions.square, range(9), buffersize=0)
        with pytest.raises(pointsman.InvalidTypeError, match="callable"):
            view.map(None, [])
        with pytest.raises(pointsman.InvalidTypeError, match="data must be an iterable"):
            view.execute(functions.square, 5)


def test_a_view_refuses_to_wait_for_a_coroutine_in_the_thread_of_a_loop():
    async def wait(view):
        return view.run(later, 1)

    with pointsman.Executor(1) as executor, pytest.raises(pointsman.RunningLoopError, match="await"):
        asyncio.run(wait(executor.options(priority=TaskPriority.LOW)))
