"""What may be asked of an `Executor`, what of it goes together, and the errors that its calls meet before they run.

Does not know what is done with it.
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman._edition import INTERPRETERS, NO_INTERPRETERS
from pointsman._errors import (
    CannotTravelError,
    InvalidArgumentError,
    InvalidTypeError,
    broken_pool,
    broken_pool_of,
)
from pointsman._job import CLUSTERS, check_callback, check_count, check_switch, check_workers, name_of, what_it_is
from pointsman._nested import imports_for_a_call
from pointsman._scheduling import WorkStealingScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pointsman._future import Future

T = TypeVar("T")

_BACKENDS = ("auto", "threads", "processes", "interpreters", "asyncio")
_ON_WORKER_DEATH = ("replace", "break")
# Bytes of shared memory that a pool needs, and more for each worker: its rings and slots, and room for some results.
_LEAST_SHARED = 4 << 20
_LEAST_SHARED_EACH = 128 << 10


def check_choices(backend: str, on_worker_death: str, scheduler: Any, mp_context: Any) -> str:
    """The backend that remains, once the choices are known to go together."""
    if backend not in _BACKENDS:
        why = "; what is submitted runs in the background, which inline has not" if backend == "inline" else ""
        message = f"backend must be one of {', '.join(map(repr, (*_BACKENDS, *CLUSTERS)))}, not {backend!r}{why}"
        raise InvalidArgumentError(message)
    if backend == "interpreters" and not INTERPRETERS:
        raise InvalidArgumentError(NO_INTERPRETERS)
    if on_worker_death not in _ON_WORKER_DEATH:
        message = f"on_worker_death must be one of {', '.join(map(repr, _ON_WORKER_DEATH))}, not {on_worker_death!r}"
        raise InvalidArgumentError(message)
    if scheduler is not None and not isinstance(scheduler, WorkStealingScheduler):
        message = f"scheduler must be a WorkStealingScheduler or None, not {scheduler!r}"
        raise InvalidTypeError(message)
    if backend == "processes":
        if scheduler is not None:
            message = "scheduler is for threads; idle worker processes take calls from each other anyway"
            raise InvalidArgumentError(message)
        # Its workers would import the same module, and start workers of their own.
        return "threads" if imports_for_a_call() else "processes"
    if mp_context is not None:
        message = "mp_context is for worker processes: leave it out, or pass backend='processes'"
        raise InvalidArgumentError(message)
    if backend == "interpreters" and scheduler is not None:
        message = "scheduler is for threads; worker interpreters share one queue"
        raise InvalidArgumentError(message)
    if on_worker_death == "break":
        message = "on_worker_death is for worker processes: pass backend='processes', too"
        raise InvalidArgumentError(message)
    # Calls travel to interpreters as they do to processes.
    return "processes" if backend == "interpreters" and not imports_for_a_call() else "threads"


def check_second(prefix: Any, mp_context: Any) -> tuple[str, Any]:
    """Tell apart what may come second: the prefix of a thread pool's names, or the context of a process pool."""
    if prefix is None or isinstance(prefix, str):
        return prefix or "", mp_context
    if mp_context is None and hasattr(prefix, "get_start_method"):
        return "", prefix
    message = f"thread_name_prefix must be a string (or a context of multiprocessing, for processes), not {prefix!r}"
    raise InvalidTypeError(message)


def check_initializer(initializer: Any, initargs: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what is called in each worker first, and with what."""
    check_callback("initializer", initializer)
    if not hasattr(type(initargs), "__iter__"):
        message = f"initargs must be a tuple of arguments for the initializer, not {initargs!r}"
        raise InvalidTypeError(message)
    return initializer, tuple(initargs)


def check_most(backend: str, max_workers: Any) -> int | None:
    """Return how many workers there may be, with the standard library's words for none."""
    if isinstance(max_workers, int) and not isinstance(max_workers, bool) and max_workers <= 0:
        message = "max_workers must be greater than 0"
        raise InvalidArgumentError(message)
    return check_workers(backend, max_workers)


def check_for_loop(**options: Any) -> None:
    """Refuse what only workers have, where coroutines run on the one background loop."""
    for name, value in options.items():
        if value is not None:
            message = f"{name} is for workers, and backend='asyncio' has none: coroutines run on one background loop"
            raise InvalidArgumentError(message)


def check_stack_size(size: Any, backend: str) -> int | None:
    """Bytes that the system takes for a thread's stack."""
    stack: int | None = check_count("thread_stack_size", size)
    if stack is None:
        return None
    if backend == "processes":
        message = "thread_stack_size is for threads; worker processes run calls on their main threads"
        raise InvalidArgumentError(message)
    try:
        # What the system refuses it refuses here, rather than when the first thread is started.
        threading.stack_size(threading.stack_size(stack))
    except ValueError as why:
        message = f"thread_stack_size must be a size that the system takes (at least 32 KiB), not {stack}: {why}"
        raise InvalidArgumentError(message) from None
    return stack


def check_limits(
    backend: str,
    workers: int,
    max_tasks_per_child: int | None,
    memory_limit: int | None,
    shared_memory: int | None,
) -> dict[str, Any]:
    """The kind of workers and their limits, by the names that their pool gives them."""
    limits = {
        "max_tasks": check_count("max_tasks_per_child", max_tasks_per_child),
        "memory_limit": check_count("memory_limit", memory_limit),
        "shared_memory": check_count("shared_memory", shared_memory),
    }
    asked = [name for name, limit in limits.items() if limit is not None]
    if backend != "processes" and asked:
        names = " and ".join("max_tasks_per_child" if name == "max_tasks" else name for name in asked)
        message = f"{names} {'is' if len(asked) == 1 else 'are'} of worker processes: add backend='processes'"
        raise InvalidArgumentError(message)
    least = _LEAST_SHARED + _LEAST_SHARED_EACH * workers
    if shared_memory is not None and shared_memory < least:
        message = f"shared_memory must be at least {least} bytes for {workers} workers, not {shared_memory}"
        raise InvalidArgumentError(message)
    if backend == "processes":
        from pointsman._pool import check_limits as check_pool

        check_pool(**limits)
    return {"kind": backend, **limits}


def check_workers_keep(backend: str, *, kill: bool, on_caller: bool) -> None:
    """Raise for what calls are to be given that the workers of an executor cannot keep."""
    if kill and backend == "threads":
        message = (
            "kill_on_cancel= needs worker processes, and this executor has threads, as backend=, max_workers= or "
            "initializer= said: add backend='processes'"
        )
        raise InvalidArgumentError(message)
    if check_switch("run_on_caller", on_caller) and backend == "processes":
        message = "run_on_caller is for threads: the caller's thread is no worker process"
        raise InvalidArgumentError(message)


def check_futures(futures: Iterable[Future[T]]) -> list[Future[T]]:
    """Return a list of the futures that are to be waited for."""
    if not hasattr(type(futures), "__iter__"):
        message = f"futures must be an iterable of futures, but {what_it_is(futures)}"
        raise InvalidTypeError(message)
    waited_for = list(futures)
    for place, future in enumerate(waited_for):
        if not isinstance(future, concurrent.futures.Future):
            message = f"item {place} of futures must be a future, as submit() returns it, but {what_it_is(future)}"
            raise InvalidTypeError(message)
    return waited_for


def check_patience(timeout: Any) -> Any:
    """Return the seconds that somebody waits at most: any number, as in the standard library, or None."""
    if timeout is None or hasattr(type(timeout), "__float__") or hasattr(type(timeout), "__index__"):
        return timeout
    message = f"timeout must be a number of seconds or None, not {timeout!r}"
    raise InvalidTypeError(message)


def initializer_failed(initializer: Any, error: BaseException) -> BaseException:
    """Log that a thread's initializer has raised, and return the error of the executor that it broke."""
    import logging

    # As the standard library does.
    logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=error)
    told = f"the initializer {name_of(initializer)} raised {type(error).__name__}: {error}"
    broken = broken_pool(told, broken_pool_of("thread"))
    broken.__cause__ = error
    return broken


def failed_future(fn: Callable[..., T], why: Exception) -> Future[T]:
    """Return the future of a call that could not be sent."""
    from pointsman._future import Future

    failed: Future[T] = Future()
    if type(why) is CannotTravelError:
        placed = CannotTravelError(f"a call of {name_of(fn)}: {why}")
        placed.__cause__ = why.__cause__
        why = placed
    failed.set_exception(why)
    return failed
