"""The iterators that `Executor.map` gives out.

Does not know threads or processes: it is given what submits calls.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman._naming import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pointsman._native import MapJob, MapResults

T = TypeVar("T")

# Inputs ahead of the results taken, when the input has no length and nothing else is said. Arbitrary: enough to keep
# any number of workers busy, little enough for an endless input.
DEFAULT_BUFFER = 1024
# All inputs ahead of the results.
WHOLE = 1 << 60


def arguments_of(iterables: tuple[Iterable[Any], ...]) -> tuple[Iterable[Any], bool, bool]:
    """The inputs of a map, whether each holds several arguments, and whether they can be taken whole."""
    sized = bool(iterables) and any(hasattr(type(iterable), "__len__") for iterable in iterables)
    if len(iterables) == 1:
        return iterables[0], False, sized
    return zip(*iterables, strict=False), True, sized


def fed(job: MapJob, source: Iterator[Any], buffersize: int, timeout: float | None) -> Iterator[Any]:
    """Start a map whose inputs are taken as its results are."""
    job.push(list(islice(source, buffersize)))
    return _feed(job, source, job.results(timeout))


def _feed(job: MapJob, source: Iterator[Any], results: MapResults) -> Iterator[Any]:
    feed = Feed(lambda: job.push(list(islice(source, 1))))
    try:
        for result in results:
            feed()
            yield result
            # The consumer's is the only reference from now on.
            del result
    finally:
        results.close()
    feed.finish()


class Feed:
    """Hands on one more input for each result that is taken, as long as that can be done.

    What keeps it from that (an input that raises, an executor that was shut down) comes after the results left.
    """

    def __init__(self, push: Callable[[], object]) -> None:
        self._push = push
        self._raised: Exception | None = None

    def __call__(self) -> None:
        if self._raised is None:
            try:
                self._push()
            except Exception as why:  # noqa: BLE001 - it takes its turn behind the results
                self._raised = why

    def finish(self) -> None:
        """Raise what kept it from going on, if anything did."""
        if self._raised is not None:
            raise self._raised


class Chunked:
    """Calls a function on each of a chunk's argument tuples."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.__qualname__ = name_of(fn)

    def __call__(self, chunk: list[tuple[Any, ...]]) -> list[Any]:
        return [self.fn(*args) for args in chunk]


def chunks(arguments: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Cut inputs into lists of `size`."""
    iterator = iter(arguments)
    while chunk := list(islice(iterator, size)):
        yield chunk


def unchunk(chunked: Iterator[list[T]]) -> Iterator[T]:
    """Yield the results of all chunks, keeping none that has been given out."""
    for chunk in chunked:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def windowed(
    submit: Callable[..., Any],
    fn: Callable[..., T],
    arguments: Iterator[tuple[Any, ...]],
    buffersize: int,
    deadline: Callable[[], float | None],
) -> Iterator[T]:
    """Submit at most `buffersize` calls ahead of the results taken; the first ones at once."""
    from collections import deque

    futures = deque(submit(fn, *args) for args in islice(arguments, buffersize))
    return _window(submit, fn, arguments, futures, deadline)


def _window(
    submit: Callable[..., Any],
    fn: Callable[..., T],
    arguments: Iterator[tuple[Any, ...]],
    futures: Any,
    deadline: Callable[[], float | None],
) -> Iterator[T]:
    feed = Feed(lambda: futures.extend(submit(fn, *args) for args in islice(arguments, 1)))
    try:
        while futures:
            result = [futures.popleft().result(deadline())]
            feed()
            yield result.pop()
    finally:
        for future in futures:
            future.cancel()
    feed.finish()


def countdown(timeout: float | None) -> Callable[[], float | None]:
    """What says how many of the `timeout` seconds from now are left."""
    from time import monotonic

    if timeout is None:
        return lambda: None
    until = monotonic() + timeout
    return lambda: max(0.0, until - monotonic())
