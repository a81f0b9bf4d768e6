"""A view of an executor with terms for its calls, so that every keyword of a call stays the function's own."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman._job import awaited, check_async, check_callable, on_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pointsman._future import Future
    from pointsman._terms import Terms

T = TypeVar("T")


class ExecutorOptions:
    """`submit` and `map` of an executor, on terms."""

    def __init__(self, executor: Any, terms: Terms) -> None:
        self._executor = executor
        self._terms = terms

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call and return its future."""
        executor, terms = self._executor, self._terms
        check_callable(fn)
        if check_async(fn, executor._asked):  # noqa: SLF001 - its view
            if executor._asked in ("auto", "asyncio"):  # noqa: SLF001 - its view
                return executor.submit(on_terms(fn, terms), *args, **kwargs)  # type: ignore[no-any-return]
            fn = awaited(fn)
        wrapped = terms.wrap(fn)
        if terms.native is None or (executor._backend == "threads" and not terms.needs_process):  # noqa: SLF001 - its view
            return executor.submit(wrapped, *args, **kwargs)  # type: ignore[no-any-return]
        return executor._submit_on(terms.native, wrapped, args, kwargs)  # type: ignore[no-any-return]  # noqa: SLF001 - its view

    def map(self, fn: Callable[..., T], /, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[T]:
        """Submit `fn` over the inputs at once and yield the results in order.

        `timeout` is the standard library's: seconds from now within which each result must be there when asked for.
        """
        # The standard method needs nothing of its executor but `submit`.
        return concurrent.futures.Executor.map(self, fn, *iterables, timeout=timeout)  # type: ignore[arg-type]
