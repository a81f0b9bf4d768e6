"""The plain loop, in batches, so that somebody can look at the clock in between.

Does not know other backends. A batch is one list comprehension or one C call: what the plain loop would be.
"""

from __future__ import annotations

from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any

from pointsman._naming import name_of
from pointsman._outcome import refuse_coroutine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pointsman._job import Job
    from pointsman._source import InTurn

# Seconds of work between two looks at the clock: long enough that looking costs nothing, short enough to change course.
_BATCH_SECONDS = 0.01
# A batch that lasts this long (seconds) holds a call that is not like those before it.
LATE = 5 * _BATCH_SECONDS
# Seconds of work in a batch of a lazy map, whose consumer may stop at any result.
_LAZY_BATCH_SECONDS = 0.001
# Results are touched twice, when they are made and when they are handed on: the second time they should still be in the
# core's cache. Each batch costs some 20 us. Between 30,000 and 130,000 benches/decision.py shows no difference (tiny).
_MOST_PER_BATCH = 32768
# Calls that a lazy map runs at a time, if nothing else is said: each is one that its consumer may never ask for.
MOST_LAZY = 64
# The same for calls that take microseconds, so that a batch of them is over in a millisecond: each batch costs as
# much as a hundred calls of the identity.
_MOST_LAZY_AND_SHORT = 1024


def run_batch(
    function: Callable[..., Any],
    items: list[Any] | range | InTurn,
    iterator: Iterator[Any],
    results: list[Any],
    *,
    star: bool,
    keep_going: bool,
    whole: bool = False,
) -> list[Any]:
    """Append the results of calling `function` on each item to `results`, and return it.

    `iterator` is one over `items`, which another thread may cut short meanwhile. When a call raises, the results before
    it are there; with `whole` a new list is returned instead, which is faster.
    """
    __tracebackhide__ = True
    try:
        if keep_going:
            _go_on(function, iterator, results, star=star)
        elif star:
            if whole:
                results = [function(*item) for item in iterator]
            else:
                results.extend(function(*item) for item in iterator)
        elif whole and type(function) is FunctionType:
            # The interpreter inlines Python calls here, but not those that come from C.
            results = [function(item) for item in iterator]
        else:
            if whole:
                results = list(map(function, iterator))
            else:
                # `extend` keeps what came before an exception.
                results.extend(map(function, iterator))
            if len(results) < len(items):
                # To `map` a StopIteration is the end of its input; in a plain loop it is an exception like any other.
                raise RuntimeError(_stopped(function)) from StopIteration()
    except StopIteration as why:
        # In the generators that this passes through on its way it would lose its name.
        raise RuntimeError(_stopped(function)) from why
    if results and type(results[0]) is CoroutineType:
        _refuse(function, results)
    return results


def _refuse(function: Callable[..., Any], results: list[Any]) -> None:
    """Raise for coroutines as results, as all workers do: where calls run shall make no difference."""
    value, rest = results[0], results[1:]
    results.clear()
    for other in rest:
        if type(other) is CoroutineType:
            other.close()
    refuse_coroutine(value, function)


def _go_on(function: Callable[..., Any], iterator: Iterator[Any], results: list[Any], *, star: bool) -> None:
    """Append the results, and exceptions as such."""
    for item in iterator:
        try:
            value = function(*item) if star else function(item)
            if type(value) is CoroutineType:
                refuse_coroutine(value, function)
            results.append(value)
        except Exception as error:  # noqa: BLE001 - the caller asked for exceptions as results
            results.append(error)


def _stopped(function: Callable[..., Any]) -> str:
    return f"{name_of(function)!r} raised StopIteration"


def goes_through_anything(job: Job) -> bool:
    """Whether `run_batch` makes no difference between a list and a range that may be cut short."""
    return (
        type(job.function) is FunctionType and job.here is None and not (job.lazy or job.keep_going or job.source.star)
    )


def first_count(job: Job, mean: float | None) -> int:
    """Calls in the first batch, if a call takes `mean` seconds; one if nothing is known."""
    if mean is None:
        return 1
    return bounded(job, int(aim(job) / max(mean, 1e-9)))


def next_count(job: Job, count: int, took: float) -> int:
    """Calls in the next batch, after one of `count` calls took `took` seconds."""
    return bounded(job, min(int(count * aim(job) / max(took, 1e-9)), count * 4))


def aim(job: Job) -> float:
    """Seconds of work in a batch."""
    return _LAZY_BATCH_SECONDS if job.lazy else _BATCH_SECONDS


def bounded(job: Job, count: int) -> int:
    """Calls in a batch for which `count` would be best."""
    most = (job.buffersize or _MOST_LAZY_AND_SHORT) if job.lazy else _MOST_PER_BATCH
    return max(1, min(count, most))
