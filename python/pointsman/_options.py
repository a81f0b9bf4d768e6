"""A view of the API with options of ours, so that every keyword of a call stays the function's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pointsman import _api
from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._job import (
    CLUSTERS,
    check_address,
    check_backend,
    check_callable,
    check_switch,
    check_workers,
    is_async,
    on_terms,
)
from pointsman._lent import lent
from pointsman._terms import Terms

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from typing import Literal, Unpack

    from pointsman._executor import Executor
    from pointsman._future import Future
    from pointsman._keywords import ExecuteKeywords, MapKeywords
    from pointsman._plan import Plan
    from pointsman._scheduling import TaskPriority

S = TypeVar("S")
T = TypeVar("T")


class Options:
    """`run`, `submit`, `map` and `execute` with fixed options."""

    def __init__(
        self,
        backend: str | concurrent.futures.Executor,
        max_workers: int | None,
        name: str | None,
        terms: Terms,
        address: str | None = None,
        *,
        priority: TaskPriority | None = None,
        run_on_caller: bool = False,
    ) -> None:
        self._lent = lent(backend, terms, max_workers)
        self._backend = check_backend(backend) if self._lent is None else self._lent.name
        if self._lent is not None and (priority is not None or name is not None):
            what = "name" if priority is None else "priority"
            message = f"{what}= is not for an executor of yours: say it where the {self._backend} is made or used"
            raise InvalidArgumentError(message)
        # Of single calls; none if nothing was said.
        self._single: dict[str, Any] = {}
        if priority is not None:
            from pointsman._scheduling import check_priority

            self._single["priority"] = check_priority(priority)
        if check_switch("run_on_caller", run_on_caller):
            if self._backend not in ("auto", "threads"):
                message = f"run_on_caller is for threads: the caller's thread is no worker of backend={self._backend!r}"
                raise InvalidArgumentError(message)
            self._single["run_on_caller"] = True
        self._address = check_address(self._backend, address)
        self._max_workers = check_workers(self._backend, max_workers)
        if name is not None and not isinstance(name, str):
            message = f"name must be a string, the prefix of the threads' names, or None, not {name!r}"
            raise InvalidTypeError(message)
        self._name = name
        self._terms = terms
        terms.check(self._backend)

    def __repr__(self) -> str:
        """Return one line with what was asked for."""
        chosen = {"backend": self._backend, "max_workers": self._max_workers, "name": self._name}
        chosen |= {name: getattr(self._terms, name) for name in ("timeout", "retries", "retry_on", "kill_on_cancel")}
        chosen |= self._single
        return f"<Options {' '.join(f'{name}={value!r}' for name, value in chosen.items() if value)}>"

    @overload
    def run(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T: ...
    @overload
    def run(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T: ...
    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `fn` where the options say and return its value; raises what the call raises, or `CallTimeoutError`."""
        if is_async(fn):
            if self._backend in ("auto", "inline"):
                return _api.run(on_terms(fn, self._terms), *args, **kwargs)
            from pointsman._loopside import refuse_running_loop

            refuse_running_loop(fn)
        if self._backend == "inline" or (self._backend == "auto" and not self._terms.needs_process):
            if self._terms.retry_on:
                return _api.run(self._terms.wrap(check_callable(fn)), *args, **kwargs)
            return _api.run(fn, *args, **kwargs)
        return self.submit(fn, *args, **kwargs).result()

    @overload
    def submit(self, fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call where the options say and return its future, which holds what the call raises."""
        if self._backend == "inline":
            message = "backend='inline' has no background to submit to; use run(), or backend='threads'"
            raise InvalidArgumentError(message)
        if self._lent is not None:
            from pointsman.backends.foreign import start

            return start(self._lent, fn, self._terms, args, kwargs)
        backend, terms = self._backend, self._terms
        if backend == "auto" and terms.needs_process and not is_async(check_callable(fn)):
            from pointsman._learning import can_be_stopped

            backend = "processes" if can_be_stopped(terms, fn) else backend
        executor = _executor(backend, self._max_workers, self._name or "", self._address)
        if backend in CLUSTERS:
            on_terms_there = {"retries": terms.retries, "retry_on": terms.retry_on, **self._single}
            return executor.options(**on_terms_there).submit(fn, *args, **kwargs)
        if terms.native is None and not self._single:
            return executor.submit(fn, *args, **kwargs)
        from pointsman._executor_options import ExecutorOptions

        return ExecutorOptions(executor, terms, **self._single).submit(fn, *args, **kwargs)

    @overload
    def map(
        self, fn: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], **options: Unpack[MapKeywords]
    ) -> Iterator[T]: ...
    @overload
    def map(
        self, fn: Callable[..., T | Awaitable[T]], /, *iterables: Iterable[Any], **options: Unpack[MapKeywords]
    ) -> Iterator[T]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], **options: Any) -> Iterator[Any]:
        """`pointsman.map` with these options; its other keywords, or others instead of these, go here."""
        return _api.map(fn, *iterables, **{**self._job_options(), **options})

    @overload
    def execute(
        self,
        func: Callable[[S], Coroutine[Any, Any, T]],
        data: Iterable[S],
        *,
        return_optimization_result: Literal[False] = ...,
        **options: Unpack[ExecuteKeywords],
    ) -> list[T]: ...
    @overload
    def execute(
        self,
        func: Callable[[S], Coroutine[Any, Any, T]],
        data: Iterable[S],
        *,
        return_optimization_result: Literal[True],
        **options: Unpack[ExecuteKeywords],
    ) -> tuple[list[T], Plan]: ...
    @overload
    def execute(
        self,
        func: Callable[[S], T | Awaitable[T]],
        data: Iterable[S],
        *,
        return_optimization_result: Literal[False] = ...,
        **options: Unpack[ExecuteKeywords],
    ) -> list[T]: ...
    @overload
    def execute(
        self,
        func: Callable[[S], T | Awaitable[T]],
        data: Iterable[S],
        *,
        return_optimization_result: Literal[True],
        **options: Unpack[ExecuteKeywords],
    ) -> tuple[list[T], Plan]: ...
    def execute(self, func: Callable[[Any], Any], data: Iterable[Any], **options: Any) -> Any:
        """`pointsman.execute` with these options; its other keywords, or others instead of these, go here."""
        return _api.execute(func, data, **{**self._job_options(), **options})

    def _job_options(self) -> dict[str, Any]:
        if self._single:
            message = f"{' and '.join(self._single)} is said of single calls: use submit() or run() of these options"
            raise InvalidArgumentError(message)
        terms = self._terms
        return {
            "backend": self._backend if self._lent is None else self._lent.executor,
            "address": self._address,
            "max_workers": self._max_workers,
            "timeout": terms.timeout,
            "retries": terms.retries,
            "retry_on": terms.retry_on,
            "kill_on_cancel": terms.kill_on_cancel,
        }


# One executor for each set of options that was used, so that a view costs nothing to make.
_executors: dict[tuple[int, str, int | None, str, str | None], Executor] = {}


def _executor(backend: str, max_workers: int | None, name: str, address: str | None = None) -> Executor:
    # A forked child has none of its parent's workers.
    key = (os.getpid(), backend, max_workers, name, address)
    if key not in _executors:
        from pointsman._executor import Executor

        if backend in CLUSTERS:
            return _on_cluster(backend, max_workers, name, address)
        _executors[key] = Executor(max_workers, name, backend=backend)
    return _executors[key]


def _on_cluster(backend: str, max_workers: int | None, name: str, address: str | None) -> Executor:
    """The executor of the program's cluster, which is not closed but with the program."""
    from pointsman._cluster_executor import shared_executor

    if name:
        message = f"name= is the prefix of threads' names, which those of a {backend} cluster do not take"
        raise InvalidArgumentError(message)
    executor: Executor = shared_executor(backend, max_workers, address)
    return executor


def options(
    *,
    backend: str | concurrent.futures.Executor = "auto",
    max_workers: int | None = None,
    name: str | None = None,
    timeout: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
    kill_on_cancel: bool = False,
    priority: TaskPriority | None = None,
    run_on_caller: bool = False,
    address: str | None = None,
) -> Options:
    """Return a view with `run`, `submit`, `map` and `execute` that use these options.

    Parameters
    ----------
    backend
        "auto", "inline", "threads", "processes", "dask" or "ray"; or an executor of your own, any
        `concurrent.futures.Executor`, which is used and not shut down.
    max_workers
        Calls that run at a time at most; None leaves it to the planner.
    name
        Prefix of the names of the threads.
    timeout
        Seconds that a call may run, from when its worker begins to load it. One that runs longer is stopped with its
        worker process, whatever it does, and fails with `CallTimeoutError`; no other call is touched.
        With "auto" the calls then run in processes. Where they would not mean the same (they write what the program
        reads), `map` and `execute` refuse, and a call of `submit` or `run` has a thread, on which it goes on unheard.
    retries
        How often a call is begun again whose worker process died. A call that was cancelled is not, nor one that
        `timeout` stopped, unless `retry_on` covers it.
    retry_on
        An exception class or a tuple of them: calls that raise one are begun again, too, up to `retries` times in the
        same worker. `TimeoutError` covers calls that `timeout` stopped.
    kill_on_cancel
        `Future.cancel` stops a call that runs, and leaving a `map` early stops those that run for it.
    priority
        How urgent the calls of `submit` and `run` are among those that wait; a `TaskPriority`.
    run_on_caller
        Let a thread that waits for one of the calls run it itself, if it has not begun. On threads only.
    address
        Of the cluster, for `backend="dask"` or "ray"; None starts a local one, which is closed at the program's end.

    Raises
    ------
    InvalidArgumentError
        If the backend cannot do what is asked for.

    """
    return Options(
        backend,
        max_workers,
        name,
        Terms(timeout, retries, retry_on, kill_on_cancel=kill_on_cancel),
        address,
        priority=priority,
        run_on_caller=run_on_caller,
    )
