"""The pools that belong to the program rather than to an executor.

They are made when first needed, kept warm, and made anew after a fork.

Does not know jobs or plans.
"""

from __future__ import annotations

import os
from threading import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pointsman._pool import Processes
    from pointsman.backends.threads import Threads

# More threads than any plan asks for at one time; they end when idle.
_MOST_THREADS = 1024

# Calls of plain functions that event loops wait for at one time: what anyio allows, too. A thread that waits for a loop
# of its own does not count.
_MOST_FOR_LOOPS = 40

_threads: Threads | None = None
_for_loops: Threads | None = None
# By the threads in each: a pool, and what its workers were given.
_processes: dict[int, tuple[Processes, tuple[Any, ...]]] = {}
_NONE: tuple[None, tuple[Any, ...]] = None, ()
_interpreters: Any = None
# Held while one of them is made; the same thread may come again, from a signal handler or a finalizer.
_making = RLock()
_owner = os.getpid()


def _check_owner() -> None:
    global _owner, _threads, _for_loops, _interpreters, _making  # noqa: PLW0603 - the state of this module
    if _owner != os.getpid():
        # In a forked child the threads do not exist and the workers belong to the parent.
        _making = RLock()
        _owner, _threads, _for_loops, _interpreters = os.getpid(), None, None, None
        _processes.clear()


def threads() -> Threads:
    """The program's thread pool."""
    global _threads  # noqa: PLW0603 - the state of this module
    _check_owner()
    if _threads is None:
        from pointsman.backends.threads import Threads

        with _making:
            if _threads is None:
                _threads = Threads(_MOST_THREADS, name="pointsman")
            return _threads
    return _threads


def threads_for_loops() -> Threads:
    """The threads that run plain functions for event loops."""
    global _for_loops  # noqa: PLW0603 - the state of this module
    _check_owner()
    if _for_loops is None:
        from pointsman.backends.threads import Threads

        with _making:
            if _for_loops is None:
                _for_loops = Threads(_MOST_FOR_LOOPS, name="pointsman-for-loop")
            return _for_loops
    return _for_loops


def threads_running() -> int:
    """Threads of the program's pool that are alive."""
    _check_owner()
    return 0 if _threads is None else len(_threads.threads)


def processes(count: int, threads_each: int, cores: float) -> Processes:
    """The program's pool of worker processes with this many threads each, grown to `count` processes.

    A new one, if the program has changed since the last was made what its workers were given. Who uses that one holds
    it meanwhile: it ends when nobody does.
    """
    from pointsman._pool import make, outlast, surroundings

    _check_owner()
    given = surroundings()
    pool, known = _processes.get(threads_each, _NONE)
    if pool is None or pool.closed or given != known:
        with _making:
            pool, known = _processes.get(threads_each, _NONE)
            if pool is None or pool.closed or given != known:
                if pool is not None and not pool.closed:
                    outlast(pool)
                pool = make(count, threads_each, cores=cores)
                _processes[threads_each] = pool, given
    pool.grow(count)
    return pool


def processes_running(threads_each: int = 1) -> int:
    """Worker processes of the program's pool that are alive."""
    _check_owner()
    pool, _known = _processes.get(threads_each, _NONE)
    return 0 if pool is None or pool.closed else pool.size


def start_up(function: Any, slim: set[str] | None) -> dict[str, Any]:
    """What a first worker process would have to do before it can call the function, as the planner takes it.

    `slim` are the modules that it needs, where it may travel without its own.
    """
    from pointsman import _functions, _zygote

    if processes_running():
        return {}
    imports = _functions.behind(function) if slim is None else _functions.count(slim)
    return {"imports": imports, "zygote_age": _zygote.age()}


def interpreters(count: int) -> Any:
    """The program's pool of worker interpreters, with `count` of them or more."""
    global _interpreters  # noqa: PLW0603 - the state of this module
    _check_owner()
    if _interpreters is None or _interpreters.closed:
        from pointsman._pool import make

        with _making:
            if _interpreters is None or _interpreters.closed:
                _interpreters = make(count, kind="interpreters")
    _interpreters.grow(count)
    return _interpreters


def interpreters_running() -> int:
    """Worker interpreters of the program's pool that are alive."""
    _check_owner()
    return 0 if _interpreters is None or _interpreters.closed else _interpreters.workers


def shutdown() -> None:
    """End the program's workers and idle threads now instead of at exit; the next job starts new ones."""
    global _threads, _for_loops, _interpreters  # noqa: PLW0603 - the state of this module
    _check_owner()
    if _interpreters is not None:
        _interpreters.shutdown(cancel=True)
        _interpreters = None
    for pool, _known in _processes.values():
        pool.shutdown(kill=True)
    _processes.clear()
    if _threads is not None:
        _threads.shutdown()
        _threads = None
    if _for_loops is not None:
        _for_loops.shutdown()
        _for_loops = None
