"""The public functions: the whole way of a job on one screen.

call -> measure -> planner -> Plan -> backend -> results, in order, each input computed once.
"""

from __future__ import annotations

from itertools import chain

from pointsman._engine import Run
from pointsman._errors import InvalidTypeError, _RemoteTraceback
from pointsman._job import Job, check_callable, check_callback, check_switch, is_async, what_it_is
from pointsman._results import Results
from pointsman._terms import NONE, Terms
from pointsman._typing import overload
from pointsman.backends import inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Literal, TypeVar, Unpack

    from pointsman._async_run import AsyncRun
    from pointsman._executor import Executor
    from pointsman._future import Future
    from pointsman._keywords import ExecuteKeywords, MapKeywords
    from pointsman._plan import Plan

    S = TypeVar("S")
    T = TypeVar("T")


@overload
def run(fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T: ...
@overload
def run(fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> T: ...
def run(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `fn` on this thread and return its value. A coroutine function is run to its end.

    Parameters
    ----------
    fn
        The function. A single call gains nothing from a pool, so it runs here; `options(...)` send it elsewhere.
    args, kwargs
        Its arguments, every keyword included.

    Raises
    ------
    Exception
        Whatever `fn` raises.
    InvalidTypeError
        If `fn` is not callable.
    RunningLoopError
        If `fn` is a coroutine function and this thread's event loop is running: `await` it there.

    """
    if is_async(fn):
        return _run_coroutine(fn, args, kwargs)
    check_callable(fn)
    return fn(*args, **kwargs)


@overload
def submit(fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
@overload
def submit(fn: Callable[..., T | Awaitable[T]], /, *args: Any, **kwargs: Any) -> Future[T]: ...
def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Start a call in the background and return its future.

    The first calls of a function run on threads. Those of a function that is then known to hold the GIL for more than
    about 10 ms at a time go to worker processes, if that cannot change what they mean; coroutine functions run on a
    background loop.

    Parameters
    ----------
    fn
        The function.
    args, kwargs
        Its arguments, every keyword included, except `priority=` if its value is a `TaskPriority`.

    Returns
    -------
    A `Future`: wait with `.result(timeout)` (seconds), or `await` it in a running loop of asyncio or trio. It holds
    whatever the call raises, and `CannotTravelError` if the call cannot be sent where it should run.

    Raises
    ------
    InvalidTypeError
        If `fn` is not callable.

    """
    return _default_executor().submit(fn, *args, **kwargs)


@overload
def map(  # noqa: A001 - the standard name
    fn: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], **keywords: Unpack[MapKeywords]
) -> Iterator[T]: ...
@overload
def map(  # noqa: A001 - the standard name
    fn: Callable[..., T | Awaitable[T]], /, *iterables: Iterable[Any], **keywords: Unpack[MapKeywords]
) -> Iterator[T]: ...
def map(  # noqa: A001 - the standard name and the documented options
    fn: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    backend: str | concurrent.futures.Executor = "auto",
    max_workers: int | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    on_error: str = "raise",
    timeout: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
    kill_on_cancel: bool = False,
    prefer_threads_for_io: bool = True,
    auto_adjust_for_nested_parallelism: bool = True,
    progress: bool = False,
    address: str | None = None,
    plan: Plan | None = None,
) -> Iterator[Any]:
    """Yield the results of `fn` over the inputs, in order, lazily.

    Parameters
    ----------
    fn
        Called with one item of each iterable.
    iterables
        The inputs; endless ones are fine, since only a bounded number is looked at ahead of the results taken.
    backend
        "auto" decides by measuring the first calls. By name, whatever the figures say: "inline", "threads",
        "processes", "interpreters" (CPython 3.14), "asyncio" (coroutine functions), "dask" or "ray"; "threads" without
        `max_workers` is as many as help, or the plain loop if none do.
        Or an executor of your own, any `concurrent.futures.Executor`; it is used and not shut down.
    max_workers
        Calls that run at a time at most; None leaves it to the planner.
    chunksize
        Calls that travel together to a worker process; None sizes chunks by measured cost.
    buffersize
        Inputs ahead of the results taken, at most.
    ordered
        Whether results come in the order of the inputs; else as they are ready.
    on_error
        "raise" stops at the first exception, in the order of the results; "return" gives exceptions as results.
    timeout
        Seconds that a call may run, from when its worker begins to load it. One that runs longer is stopped with its
        worker process and fails with `CallTimeoutError`; no other call is touched.
        With "auto" the calls then run in processes, more of them than cores where they wait; calls that write what the
        program reads would lose that, and are refused.
    retries
        How often a call is begun again whose worker process died; with `retry_on`, also one that raised those.
    retry_on
        An exception class or a tuple of them. `TimeoutError` covers calls that `timeout` stopped.
    kill_on_cancel
        Stop the calls that run, too, when the job ends early: by an exception, or because its results are not wanted.
    prefer_threads_for_io
        For calls that wait at least 70 % of their time, take threads when they are predicted to take at most 1.1 times
        as long as the processes that would be chosen.
    auto_adjust_for_nested_parallelism
        Calls that keep several cores busy with threads of their own (BLAS, OpenMP) run on as many threads as there are
        cores left for each.
    progress
        Show a bar in a terminal or a notebook; elsewhere nothing.
    address
        Of the cluster, for `backend="dask"` or "ray"; None starts a local one, which is closed at the program's end.
    plan
        A plan from `optimize`, followed instead of measuring; what contradicts it is refused.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        At once, for arguments that cannot work.
    Exception
        From the iterator, after the results before it: whatever `fn` raises.

    """
    job = Job(
        fn,
        iterables,
        backend=backend,
        max_workers=max_workers,
        chunksize=chunksize,
        buffersize=buffersize,
        on_error=on_error,
        lazy=True,
        ordered=ordered,
        prefer_threads=prefer_threads_for_io,
        nested=auto_adjust_for_nested_parallelism,
        terms=_terms(timeout, retries, retry_on, kill_on_cancel),
        address=address,
    )
    if plan is not None:
        _check_plan(plan, job)
    check_switch("progress", progress)
    if not progress:
        running = _begin(job, plan)
        return _flatten(_told(running, running.stream()))
    total = job.source.left()
    running = _begin(job, plan)
    return _flatten(_told(running, _shown(running, total)))


@overload
def execute(
    func: Callable[[S], Coroutine[Any, Any, T]],
    data: Iterable[S],
    *,
    return_optimization_result: Literal[False] = ...,
    **keywords: Unpack[ExecuteKeywords],
) -> list[T]: ...
@overload
def execute(
    func: Callable[[S], Coroutine[Any, Any, T]],
    data: Iterable[S],
    *,
    return_optimization_result: Literal[True],
    **keywords: Unpack[ExecuteKeywords],
) -> tuple[list[T], Plan]: ...
@overload
def execute(
    func: Callable[[S], T | Awaitable[T]],
    data: Iterable[S],
    *,
    return_optimization_result: Literal[False] = ...,
    **keywords: Unpack[ExecuteKeywords],
) -> list[T]: ...
@overload
def execute(
    func: Callable[[S], T | Awaitable[T]],
    data: Iterable[S],
    *,
    return_optimization_result: Literal[True],
    **keywords: Unpack[ExecuteKeywords],
) -> tuple[list[T], Plan]: ...
def execute(
    func: Callable[[Any], Any],
    data: Iterable[Any],
    *,
    backend: str | concurrent.futures.Executor = "auto",
    max_workers: int | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    on_error: str = "raise",
    timeout: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
    kill_on_cancel: bool = False,
    plan: Plan | None = None,
    sample_size: int | None = None,
    target_chunk_duration: float | None = None,
    verbose: bool = False,
    profile: bool = False,
    prefer_threads_for_io: bool = True,
    auto_adjust_for_nested_parallelism: bool = True,
    return_optimization_result: bool = False,
    progress: bool = False,
    progress_callback: Callable[[str, float], object] | None = None,
    address: str | None = None,
) -> Any:
    """Return the list of `func(item)` for every item of `data`, run wherever that is fastest.

    Parameters
    ----------
    func, data
        The function and its inputs. Each input is computed exactly once.
    backend
        "auto" decides by measuring the first calls. By name, whatever the figures say: "inline", "threads",
        "processes", "interpreters" (CPython 3.14), "asyncio" (coroutine functions), "dask" or "ray"; "threads" without
        `max_workers` is as many as help, or the plain loop if none do.
        Or an executor of your own, any `concurrent.futures.Executor`; it is used and not shut down.
    max_workers
        Calls that run at a time at most; None leaves it to the planner.
    chunksize
        Calls that travel together to a worker process; None sizes chunks by measured cost.
    buffersize
        Inputs ahead of the results that have come, at most; None for no bound on inputs with a length.
    ordered
        Whether the list is in the order of the inputs; else in that in which the results came.
    on_error
        "raise" stops at the first exception, in the order of the results; "return" gives exceptions as results.
    timeout
        Seconds that a call may run, from when its worker begins to load it. One that runs longer is stopped with its
        worker process and fails with `CallTimeoutError`; no other call is touched.
        With "auto" the calls then run in processes, more of them than cores where they wait; calls that write what the
        program reads would lose that, and are refused.
    retries
        How often a call is begun again whose worker process died; with `retry_on`, also one that raised those.
    retry_on
        An exception class or a tuple of them. `TimeoutError` covers calls that `timeout` stopped.
    kill_on_cancel
        Stop the calls that run, too, when the job ends early: by an exception, or because its results are not wanted.
    plan
        A plan from `optimize`, followed instead of measuring again; what contradicts it is refused.
    sample_size
        Calls to measure before deciding; None measures until a call's cost is known well enough.
    target_chunk_duration
        Seconds of work in a chunk at most.
    verbose
        Print the decision to standard error.
    profile
        Keep every sampled call in `plan.samples`: seconds, and bytes once pickled. Calls are then sampled one by one.
    prefer_threads_for_io
        For calls that wait at least 70 % of their time, take threads when they are predicted to take at most 1.1 times
        as long as the processes that would be chosen.
    auto_adjust_for_nested_parallelism
        Calls that keep several cores busy with threads of their own (BLAS, OpenMP) run on as many threads as there are
        cores left for each; the plan warns, with the figure.
    return_optimization_result
        Return the pair of the results and the plan.
    progress
        Show a bar in a terminal or a notebook; elsewhere nothing.
    progress_callback
        Called on this thread with a phase ("measuring", "running", "done") and the share of the calls finished.
    address
        Of the cluster, for `backend="dask"` or "ray"; None starts a local one, which is closed at the program's end.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        For arguments that cannot work, before any call is made.
    Exception
        Whatever `func` raises, that of the first input in order; from another process with the worker's traceback as
        its cause. `WorkerDied`, `CallTimeoutError`, `CannotTravelError` for what befalls a call there.

    """
    check_switch("verbose", verbose)
    check_switch("return_optimization_result", return_optimization_result)
    check_callback("progress_callback", progress_callback)
    # IPython and pytest leave a frame out of tracebacks that has this: what raised is the user's.
    __tracebackhide__ = True
    job = Job(
        func,
        (data,),
        backend=backend,
        max_workers=max_workers,
        chunksize=chunksize,
        buffersize=buffersize,
        lazy=buffersize is not None,
        ordered=ordered,
        on_error=on_error,
        sample_size=sample_size,
        target_chunk_duration=target_chunk_duration,
        profile=profile,
        prefer_threads=prefer_threads_for_io,
        nested=auto_adjust_for_nested_parallelism,
        terms=_terms(timeout, retries, retry_on, kill_on_cancel),
        address=address,
    )
    if plan is not None:
        _check_plan(plan, job)
    check_switch("progress", progress)
    total = job.source.left()
    job.explained = return_optimization_result
    running = _begin(job, plan)
    results = Results(total)
    shown = False
    for values in _told(running, _shown(running, total) if progress else running.stream()):
        results.add(values)
        if progress_callback is not None:
            progress_callback(
                "measuring" if running.plan is None else "running", len(results) / total if total else 0.0
            )
        if verbose and not shown and running.plan is not None:
            shown = True
            _show(running.plan)
    if progress_callback is not None:
        progress_callback("done", 1.0)
    if verbose and not shown and running.plan is not None:
        _show(running.plan)
    if return_optimization_result:
        return results.whole(), running.plan
    return results.whole()


def optimize(
    func: Callable[[S], Any],
    data: Iterable[S],
    *,
    backend: str | concurrent.futures.Executor = "auto",
    max_workers: int | None = None,
    chunksize: int | None = None,
    sample_size: int | None = None,
    target_chunk_duration: float | None = None,
    verbose: bool = False,
    profile: bool = False,
    prefer_threads_for_io: bool = True,
    auto_adjust_for_nested_parallelism: bool = True,
    progress_callback: Callable[[str, float], object] | None = None,
) -> Plan:
    """Measure a few calls and return the plan for the rest, without running it.

    `print(plan)` draws the decision; `execute(func, data, plan=plan)` follows it.

    Parameters
    ----------
    func, data
        The function and its inputs. If `data` can be iterated only once, `plan.data` gives back every input, the
        measured ones included.
    progress_callback
        Called on this thread with a phase ("measuring", "done") and the share that is finished, from 0 to 1.

    The others are those of `execute`: `backend` (an executor of your own, too) or `max_workers` narrow what is
    compared, `chunksize` and `target_chunk_duration` (seconds) say how calls travel, `sample_size` how many are
    measured.

    Raises
    ------
    InvalidTypeError, InvalidArgumentError
        For arguments that cannot work.
    Exception
        Whatever `func` raises for a measured input.

    """
    check_switch("verbose", verbose)
    check_callback("progress_callback", progress_callback)
    job = Job(
        func,
        (data,),
        backend=backend,
        max_workers=max_workers,
        chunksize=chunksize,
        sample_size=sample_size,
        target_chunk_duration=target_chunk_duration,
        profile=profile,
        prefer_threads=prefer_threads_for_io,
        nested=auto_adjust_for_nested_parallelism,
    )
    once = iter(data) is data
    kept = job.source.keep() if once else []
    running = _begin(job)
    if progress_callback is not None:
        progress_callback("measuring", 0.0)
    plan = running.prepare()
    plan.data = chain(kept, data) if once else data
    if progress_callback is not None:
        progress_callback("done", 1.0)
    if verbose:
        _show(plan)
    return plan


def _check_plan(plan: Any, job: Job) -> None:
    from pointsman import _asking
    from pointsman._plan import Plan

    if not isinstance(plan, Plan):
        message = f"plan must be a Plan, as optimize() returns it, but {what_it_is(plan)}"
        raise InvalidTypeError(message)
    _asking.check_given(job, plan)


def _terms(
    timeout: float | None,
    retries: int,
    retry_on: type[Exception] | tuple[type[Exception], ...],
    kill_on_cancel: bool,
) -> Terms:
    # By type: what only equals a default may be a mistake, which `Terms` tells.
    if timeout is None and type(retries) is int and retries == 0 and retry_on == () and kill_on_cancel is False:
        return NONE
    return Terms(timeout, retries, retry_on, kill_on_cancel=kill_on_cancel)


def _shown(running: Any, total: int | None) -> Iterator[list[Any]]:
    from pointsman import _progress

    return _progress.counted(running.stream(), running, total)


def _told(running: Any, batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Yield lists of results; what a call raised is told without the way that its job took.

    An error that lost its function on the way through generators is told with it.
    """
    __tracebackhide__ = True
    try:
        yield from batches
    except Exception as why:
        if isinstance(why, RuntimeError):
            from pointsman._outcome import named_stop

            job = running.job
            named = named_stop(why, job.name, getattr(running, "delivered", None) if job.ordered else None)
            if named is not why:
                raise named from why.__cause__
        why.__traceback__ = _of_the_call(why)
        raise


def _of_the_call(why: Exception) -> TracebackType | None:
    """The part of a traceback that begins in the call; all of it if it was not the call that raised."""
    first, part, name = None, why.__traceback__, ""
    while part is not None:
        name = str(part.tb_frame.f_globals.get("__name__"))
        first = part if first is None and name.partition(".")[0] != "pointsman" else first
        part = part.tb_next
    # One that came from a worker has the call's own as its cause, and what C raises has none.
    called = name == inline.__name__ or type(why.__cause__) is _RemoteTraceback
    return first if called or first is not None else why.__traceback__


class _Results(chain["T"]):
    """The results of a map, one by one: at the price of an iterator in C, which a generator is not."""

    _batches: Iterator[list[T]]

    def close(self) -> None:
        """End the job; no further result comes."""
        self._batches.close()  # type: ignore[attr-defined]


def _flatten(batches: Iterator[list[T]]) -> Iterator[T]:
    left = _cleared(batches)
    results: _Results[T] = _Results.from_iterable(left)  # type: ignore[assignment]
    results._batches = left  # noqa: SLF001 - this module
    return results


def _cleared(batches: Iterator[list[T]]) -> Iterator[list[T]]:
    __tracebackhide__ = True
    batch: list[T] = []
    try:
        for batch in batches:
            yield batch
    finally:
        # Whoever closes a map gets nothing more, not even what is there.
        batch.clear()


def _show(plan: Plan) -> None:
    import sys

    sys.stderr.write(f"{plan}\n")


def _begin(job: Job, plan: Plan | None = None) -> Run | AsyncRun:
    """Return what runs a job: coroutines run side by side on a loop, and so are measured and planned otherwise."""
    if not job.awaits:
        return Run(job, plan)
    if plan is not None and plan.backend != "asyncio":
        from pointsman._job import awaited

        job.function = awaited(job.function)
        return Run(job, plan)
    from pointsman._async_run import AsyncRun

    return AsyncRun(job, plan)


def _run_coroutine(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from pointsman import _bridge
    from pointsman._loopside import refuse_running_loop

    refuse_running_loop(fn)

    return _bridge.call(fn, args, kwargs)


_executor: Executor | None = None
_owner = 0


def _default_executor() -> Executor:
    import os

    global _executor, _owner
    if _executor is None or _owner != os.getpid():
        from pointsman._executor import Executor

        _executor, _owner = Executor(), os.getpid()
    return _executor
