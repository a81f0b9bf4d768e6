"""A view of an executor with terms for its calls, so that every keyword of a call stays the function's own."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pointsman._errors import CannotTravelError
from pointsman._job import awaited, check_async, check_callable, on_terms
from pointsman._learning import may_travel
from pointsman._pool import is_standard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator

    from pointsman._future import Future
    from pointsman._terms import Terms

T = TypeVar("T")


class ExecutorOptions:
    """`submit` and `map` of an executor, on terms."""

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
                return executor.submit(on_terms(fn, terms), *args, **kwargs)  # type: ignore[no-any-return]
            fn = awaited(fn)
        wrapped = terms.wrap(fn)
        native = terms.native and terms.native_for(standard=is_standard())
        if executor._backend == executor._asked == "processes" and native is not None:  # noqa: SLF001 - its view
            return self._submit_away(wrapped, args, kwargs, native)  # type: ignore[return-value]
        if executor._backend == "threads" and terms.needs_process:  # noqa: SLF001 - its view
            # The program's processes are not this executor's where its workers are as somebody said.
            if executor._learns and (terms.kill_on_cancel or may_travel(fn)):  # noqa: SLF001 - its view
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
    def map(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], timeout: float | None = ...
    ) -> Iterator[T]: ...
    @overload
    def map(
        self, fn: Callable[..., T | Awaitable[T]], /, *iterables: Iterable[Any], timeout: float | None = ...
    ) -> Iterator[T]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        """Submit `fn` over the inputs at once and yield the results in order.

        `timeout` is the standard library's: seconds from now within which each result must be there when asked for.
        """
        # The standard method needs nothing of its executor but `submit`.
        return concurrent.futures.Executor.map(self, fn, *iterables, timeout=timeout)  # type: ignore[arg-type]
