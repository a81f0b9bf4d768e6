"""The plain loop, in batches, so that somebody can look at the clock in between.

Does not know other backends. A batch is one list comprehension or one C call: what the plain loop would be.
"""

from __future__ import annotations

from types import CoroutineType, FunctionType, MethodType

from pointsman._naming import name_of
from pointsman._outcome import refuse_coroutine
from pointsman._source import InTurn, Stretch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pointsman._job import Job

# Seconds of work between two looks at the clock: long enough that looking costs nothing, short enough to change course.
_BATCH_SECONDS = 0.01
# A batch that lasts this long (seconds) holds a call that is not like those before it. Arbitrary from 2 to 5 batches: a
# look costs little, and what it finds late is run here until then.
LATE = 2.5 * _BATCH_SECONDS
# Seconds of work in a batch of a lazy map, whose consumer may stop at any result.
_LAZY_BATCH_SECONDS = 0.001
# Calls in a batch: until it is over nobody looks whether calls still cost what they did. Each batch costs some 20 us.
_MOST_PER_BATCH = 131072
# Calls that a lazy map runs at a time, if nothing else is said: each is one that its consumer may never ask for.
MOST_LAZY = 64
# The same for calls that take microseconds, so that a batch of them is over in a millisecond: each batch costs as
# much as a hundred calls of the identity.
_MOST_LAZY_AND_SHORT = 1024


def run_batch(
    function: Callable[..., Any],
    items: list[Any] | range | Stretch | InTurn,
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
        elif whole:
            results = _run_whole(function, items, iterator, star=star)
        elif star:
            results.extend(function(*item) for item in iterator)
        else:
            # `extend` keeps what came before an exception.
            results.extend(map(function, iterator))
            _check_all(results, items, function)
    except StopIteration as why:
        # In the generators that this passes through on its way it would lose its name.
        raise RuntimeError(_stopped(function)) from why
    if results and type(results[0]) is CoroutineType:
        _refuse(function, results)
    return results


def _run_whole(
    function: Callable[..., Any], items: list[Any] | range | Stretch | InTurn, iterator: Iterator[Any], *, star: bool
) -> list[Any]:
    __tracebackhide__ = True
    if isinstance(items, InTurn):
        results: list[Any] = []
        for part in items.parts(results):
            results += [function(*item) for item in part] if star else [function(item) for item in part]
        return results
    if star:
        return [function(*item) for item in iterator]
    if _is_inlined(function):
        return [function(item) for item in iterator]
    results = list(map(function, iterator))
    _check_all(results, items, function)
    return results


def _check_all(results: list[Any], items: list[Any] | range | Stretch | InTurn, function: Callable[..., Any]) -> None:
    if len(results) < len(items):
        # To `map` a StopIteration is the end of its input; in a plain loop it is an exception like any other.
        raise RuntimeError(_stopped(function)) from StopIteration()


def _is_inlined(function: object) -> bool:
    """Whether the interpreter has a faster way to call it from a comprehension than `map` has, which calls from C."""
    return type(function) in (FunctionType, MethodType) or function is str


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
    return _is_inlined(job.function) and job.here is None and not (job.lazy or job.keep_going or job.source.star)


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
