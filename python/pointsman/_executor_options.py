"""A view of an executor with terms for its calls, so that every keyword of a call stays the function's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pointsman import _mapping
from pointsman._errors import CannotTravelError, InvalidArgumentError
from pointsman._executor_checks import check_patience
from pointsman._job import (
    awaited,
    check_async,
    check_callable,
    check_count,
    check_iterable,
    check_iterables,
    is_async,
    on_terms,
)
from pointsman._learning import can_be_stopped
from pointsman._pool import is_standard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from pointsman._future import Future
    from pointsman._terms import Terms

S = TypeVar("S")
T = TypeVar("T")


class ExecutorOptions:
    """`run`, `submit`, `map` and `execute` of an executor, on terms."""

    def __init__(self, executor: Any, terms: Terms, priority: int = 2, *, run_on_caller: bool = False) -> None:
        self._executor = executor
        self._terms = terms
        self._priority = int(priority)
        self._run_on_caller = run_on_caller

    @overload
    def submit(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call on these terms and return its future; raises what `Executor.submit` does."""
        executor, terms = self._executor, self._terms
        check_callable(fn)
        if check_async(fn, executor._asked):  # noqa: SLF001 - its view
            if executor._asked in ("auto", "asyncio"):  # noqa: SLF001 - its view
                return self._submit(on_terms(fn, terms), args, kwargs)
            fn = awaited(fn)
        wrapped = terms.wrap(fn)
        native = terms.native and terms.native_for(standard=is_standard())
        if executor._backend == executor._asked == "processes" and native is not None:  # noqa: SLF001 - its view
            return self._submit_away(wrapped, args, kwargs, native)  # type: ignore[return-value]
        if executor._backend == "threads" and terms.needs_process:  # noqa: SLF001 - its view
            # The program's processes are not this executor's where its workers are as somebody said.
            if executor._learns and can_be_stopped(terms, fn):  # noqa: SLF001 - its view
                sent = self._submit_away(wrapped, args, kwargs, terms.native)
                if sent is not None:
                    return sent
            from pointsman._deadlines import Timed

            timed = Timed(wrapped, terms.timeout or 0.0)
            return timed.of(self._submit(timed, args, kwargs))
        return self._submit(wrapped, args, kwargs)

    def _submit_away(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], terms: Any
    ) -> Future[T] | None:
        """Send a call to worker processes; None if it cannot travel, and might run on a thread as well."""
        executor, rank = self._executor, self._priority
        executor._check_open()  # noqa: SLF001 - its view
        apart = executor._backend == "processes"  # noqa: SLF001 - its view
        try:
            if apart:
                return executor._native_pool(fn).submit(fn, args, kwargs, rank, terms)  # type: ignore[no-any-return]  # noqa: SLF001 - its view
            return executor._submit_to_process(fn, args, kwargs, terms, rank=rank)  # type: ignore[no-any-return]  # noqa: SLF001 - its view
        except Exception as why:  # noqa: BLE001 - what cannot travel is an error in the future
            stays = isinstance(why, CannotTravelError) and not (apart or self._terms.kill_on_cancel)
            return None if stays else executor._not_sent(fn, why)  # noqa: SLF001 - its view

    def _submit(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        more = (self._run_on_caller,) if self._run_on_caller else ()
        return self._executor._submit_with(fn, args, kwargs, self._priority, *more)  # type: ignore[no-any-return]  # noqa: SLF001 - its view

    @overload
    def run(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T: ...
    @overload
    def run(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T: ...
    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `fn` in the executor on these terms and return its value; raises what the call raises."""
        if is_async(fn):
            from pointsman._loopside import refuse_running_loop

            refuse_running_loop(fn)
        return self.submit(fn, *args, **kwargs).result()

    @overload
    def map(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], timeout: float | None = ...,
        chunksize: int | None = ..., buffersize: int | None = ...,
    ) -> Iterator[T]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[..., T | Awaitable[T]], /, *iterables: Iterable[Any], timeout: float | None = ...,
        chunksize: int | None = ..., buffersize: int | None = ...,
    ) -> Iterator[T]: ...  # fmt: skip
    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Submit `fn` over the inputs at once and yield the results in order.

        `timeout` is the standard library's: seconds from now within which each result must be there when asked for.
        At most `buffersize` inputs are ahead of the results taken; if that is None, an input with a length is submitted
        whole, and 1,024 of one without. Each call travels alone, since the terms are of single calls: a `chunksize`
        above 1 is refused.
        """
        size, ahead = check_count("chunksize", chunksize), check_count("buffersize", buffersize)
        check_callable(fn)
        check_patience(timeout)
        check_iterables(iterables)
        if size is not None and size > 1:
            message = (
                f"chunksize={size}: the terms of this view are of single calls, so each travels alone; leave it out, "
                f"or use map of the executor itself"
            )
            raise InvalidArgumentError(message)
        _, _, sized = _mapping.arguments_of(iterables)
        most = ahead or (_mapping.WHOLE if sized else _mapping.DEFAULT_BUFFER)
        deadline = _mapping.countdown(timeout)
        return _mapping.windowed(self.submit, fn, zip(*iterables, strict=False), most, deadline)

    @overload
    def execute(self, func: Callable[[S], Coroutine[Any, Any, T]], data: Iterable[S]) -> list[T]: ...
    @overload
    def execute(self, func: Callable[[S], T | Awaitable[T]], data: Iterable[S]) -> list[T]: ...
    def execute(self, func: Callable[[Any], Any], data: Iterable[Any]) -> list[Any]:
        """Return the list of `func(item)` for every item of `data`, each call on these terms.

        Raises what the first call in order raises that does; what has not begun then is cancelled.
        """
        check_iterable(data, None)
        return list(self.map(func, data))
