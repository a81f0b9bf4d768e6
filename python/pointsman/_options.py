"""A view of the API with options of ours, so that every keyword of a call stays the function's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _api
from pointsman._errors import InvalidArgumentError
from pointsman._job import check_backend, check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pointsman._executor import Executor
    from pointsman._future import Future

T = TypeVar("T")


class Options:
    """`run`, `submit`, `map` and `execute` with fixed options."""

    def __init__(self, backend: str, max_workers: int | None, name: str | None) -> None:
        self._backend = check_backend(backend)
        self._max_workers = check_count("max_workers", max_workers)
        self._name = name

    def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call `fn` where the options say and return its value."""
        if self._backend in ("auto", "inline"):
            return _api.run(fn, *args, **kwargs)
        return self.submit(fn, *args, **kwargs).result()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call where the options say and return its future."""
        if self._backend == "inline":
            message = "backend='inline' has no background to submit to; use run(), or backend='threads'"
            raise InvalidArgumentError(message)
        return _executor(self._backend, self._max_workers, self._name or "").submit(fn, *args, **kwargs)

    def map(self, fn: Callable[..., T], /, *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """`pointsman.map` with these options."""
        return _api.map(fn, *iterables, **{"backend": self._backend, "max_workers": self._max_workers, **options})

    def execute(self, func: Callable[[Any], T], data: Iterable[Any], **options: Any) -> list[T]:
        """`pointsman.execute` with these options."""
        return _api.execute(func, data, **{"backend": self._backend, "max_workers": self._max_workers, **options})  # type: ignore[no-any-return]


# One executor for each set of options that was used, so that a view costs nothing to make.
_executors: dict[tuple[int, str, int | None, str], Executor] = {}


def _executor(backend: str, max_workers: int | None, name: str) -> Executor:
    # A forked child has none of its parent's workers.
    key = (os.getpid(), backend, max_workers, name)
    if key not in _executors:
        from pointsman._executor import Executor

        _executors[key] = Executor(max_workers, name, backend=backend)
    return _executors[key]


def options(*, backend: str = "auto", max_workers: int | None = None, name: str | None = None) -> Options:
    """Return a view with `run`, `submit`, `map` and `execute` that use these options.

    Parameters
    ----------
    backend
        "auto", "inline", "threads" or "processes".
    max_workers
        Calls that run at a time at most; None leaves it to the planner.
    name
        Prefix of the names of the threads.

    """
    return Options(backend, max_workers, name)
