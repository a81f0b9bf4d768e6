"""`Executor.map`: inputs out at once, results in order, whichever way the calls go.

Does not know how calls are queued or carried.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _mapping, _native
from pointsman._errors import CannotTravelError
from pointsman._executor_checks import check_patience
from pointsman._job import awaited, check_async, check_callable, check_count, check_iterables, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pointsman._executor import Executor

T = TypeVar("T")


def start(
    executor: Executor,
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int | None,
    buffersize: int | None,
) -> Iterator[T]:
    """Start a map; see `Executor.map`."""
    size = check_count("chunksize", chunksize)
    ahead = check_count("buffersize", buffersize)
    check_callable(fn)
    check_patience(timeout)
    check_iterables(iterables)
    executor._check_open()  # noqa: SLF001 - its method
    if check_async(fn, executor._asked):  # noqa: SLF001 - its executor
        if executor._asked in ("auto", "asyncio"):  # noqa: SLF001 - its executor
            return _by_submit(executor, fn, iterables, 1, ahead, timeout)
        fn = awaited(fn)
    native = None if executor._maps_by_submit() else executor._native_pool(fn)  # noqa: SLF001 - its executor
    if isinstance(native, _native.ProcessPool):
        return _in_processes(executor, native, fn, iterables, size, ahead, timeout)
    if isinstance(native, _native.ThreadPool):
        return _on_threads(native, fn, iterables, ahead, timeout)
    return _by_submit(executor, fn, iterables, size or 1, ahead, timeout)


def _in_processes(
    executor: Executor,
    pool: _native.ProcessPool,
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    size: int | None,
    ahead: int | None,
    timeout: float | None,
) -> Iterator[T]:
    arguments, star, sized = _mapping.arguments_of(iterables)
    try:
        job = _native.ProcessMap(pool, fn, star, executor._max_workers, executor._chunk(size))  # noqa: SLF001 - its executor
    except Exception:  # noqa: BLE001 - to pack the function runs code of the user
        # Each call has its own error then.
        return _by_submit(executor, fn, iterables, 1, ahead, timeout)

    def explain(why: BaseException, index: int) -> BaseException:
        if not isinstance(why, CannotTravelError):
            return why
        error = CannotTravelError(f"item {index} of the inputs of {name_of(fn)}: {why}")
        error.__cause__ = why.__cause__
        return error

    source = iter(arguments)
    if sized and ahead is None:
        job.push(list(source), explain)
        return job.results(timeout)
    job.push(list(islice(source, ahead or _mapping.DEFAULT_BUFFER)), explain)

    def push_next() -> None:
        if more := list(islice(source, 1)):
            executor._check_open()  # noqa: SLF001 - its executor
            job.push(more, explain)

    return _results(job, push_next, _mapping.countdown(timeout))


def _on_threads(
    pool: _native.ThreadPool,
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    ahead: int | None,
    timeout: float | None,
) -> Iterator[T]:
    from contextvars import copy_context

    arguments, star, sized = _mapping.arguments_of(iterables)
    job = _native.MapJob(pool, fn, star, copy_context())
    if sized and ahead is None:
        job.push(list(arguments))
        return job.results(timeout)
    return _mapping.fed(job, iter(arguments), ahead or _mapping.DEFAULT_BUFFER, timeout)


def _by_submit(
    executor: Executor,
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    size: int,
    ahead: int | None,
    timeout: float | None,
) -> Iterator[T]:
    """Start a map whose calls, or chunks of them, are submitted one by one."""
    deadline = _mapping.countdown(timeout)
    _, _, sized = _mapping.arguments_of(iterables)
    most = _mapping.WHOLE if sized else _mapping.DEFAULT_BUFFER
    arguments = zip(*iterables, strict=False)
    if size > 1 and executor._backend != "threads":  # noqa: SLF001 - its executor
        chunks = zip(_mapping.chunks(arguments, size), strict=False)
        most = -(-ahead // size) if ahead else most
        return _mapping.unchunk(_mapping.windowed(executor.submit, _mapping.Chunked(fn), chunks, most, deadline))
    return _mapping.windowed(executor.submit, fn, arguments, ahead or most, deadline)


def _results(
    job: _native.ProcessMap,
    push_next: Callable[[], None],
    deadline: Callable[[], float | None],
) -> Iterator[Any]:
    feed = _mapping.Feed(push_next)
    try:
        while True:
            values, raised = job.take()
            while values:
                feed()
                # The consumer's is the only reference from now on.
                yield values.pop()
            if raised is not None:
                try:
                    raise raised
                finally:
                    del raised
            if not job.left():
                break
            if not job.wait(deadline()):
                raise TimeoutError
    finally:
        job.stop()
    feed.finish()
