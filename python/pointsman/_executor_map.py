"""`Executor.map`: inputs out at once, results in order, whichever way the calls go.

Does not know how calls are queued or carried.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _mapping, _native
from pointsman._errors import CannotTravelError
from pointsman._job import check_callable, check_count, name_of

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
    executor._check_open()  # noqa: SLF001 - its method
    arguments, star, sized = _mapping.arguments_of(iterables)
    if executor._maps_by_submit(fn):  # noqa: SLF001 - its method
        return _by_submit(executor, fn, zip(*iterables, strict=False), size or 1, ahead, timeout, sized=sized)
    whole = ahead is None and sized
    source = iter(arguments)
    native = executor._native_pool(fn)  # noqa: SLF001 - its method
    if isinstance(native, _native.ProcessPool):
        try:
            job = _native.ProcessMap(native, fn, star, executor._max_workers, executor._chunk(size))  # noqa: SLF001 - its method
        except Exception:  # noqa: BLE001 - to pack the function runs code of the user
            # Each call has its own error then.
            return _by_submit(executor, fn, zip(*iterables, strict=False), 1, ahead, timeout, sized=sized)

        def explain(why: BaseException, index: int) -> BaseException:
            error = CannotTravelError(f"item {index} of the inputs of {name_of(fn)}: {why}")
            error.__cause__ = why.__cause__
            return error if isinstance(why, CannotTravelError) else why

        job.push(list(source) if whole else list(islice(source, ahead or _mapping.DEFAULT_BUFFER)), explain)

        def push_next() -> None:
            if more := list(islice(source, 1)):
                job.push(more, explain)

        return _results(job, None if whole else push_next, _mapping.countdown(timeout))
    from contextvars import copy_context

    threads = _native.MapJob(native, fn, star, copy_context())
    if whole:
        threads.push(list(source))
        return threads.results(timeout)
    return _mapping.fed(threads, source, ahead or _mapping.DEFAULT_BUFFER, timeout)


def _by_submit(
    executor: Executor,
    fn: Callable[..., T],
    arguments: Iterator[tuple[Any, ...]],
    size: int,
    ahead: int | None,
    timeout: float | None,
    *,
    sized: bool,
) -> Iterator[T]:
    """Start a map whose calls, or chunks of them, are submitted one by one."""
    deadline = _mapping.countdown(timeout)
    if size > 1 and executor._backend != "threads":  # noqa: SLF001 - its map
        chunks = zip(_mapping.chunks(arguments, size), strict=False)
        most = -(-ahead // size) if ahead else _most(sized=sized)
        return _mapping.unchunk(_mapping.windowed(executor.submit, _mapping.Chunked(fn), chunks, most, deadline))
    return _mapping.windowed(executor.submit, fn, arguments, ahead or _most(sized=sized), deadline)


def _most(*, sized: bool) -> int:
    return _mapping.WHOLE if sized else _mapping.DEFAULT_BUFFER


def _results(
    job: _native.ProcessMap,
    push_next: Callable[[], None] | None,
    deadline: Callable[[], float | None],
) -> Iterator[Any]:
    try:
        while True:
            values, raised = job.take()
            while values:
                if push_next is not None:
                    push_next()
                # The consumer's is the only reference from now on.
                yield values.pop()
            if raised is not None:
                try:
                    raise raised
                finally:
                    del raised
            if not job.left():
                return
            if not job.wait(deadline()):
                raise TimeoutError
    finally:
        job.stop()
