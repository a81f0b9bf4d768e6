"""One face for pools of many makers: one call, many submitted calls, a map call by call, a map in own chunks.

What it does not know: what is measured, or which pool ought to win.

Invariants:
    P1. A pool has `WORKERS` workers, started by `open` and warm after it; where its maker can do a thing only in one
        way, there is only that way, and what it cannot do at all raises `NotImplementedError`.
    P2. A method returns when all results are there, and gives them in order.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Function = Callable[[Any], Any]

WORKERS = 2
_OTHERS = ("loky", "joblib", "mpire")


class Pool:
    """What is measured of a pool."""

    def one(self, function: Function, item: Any) -> Any:
        """Make one call and wait for its result."""
        raise NotImplementedError

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Start all calls one by one, then take all results one by one."""
        raise NotImplementedError

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Map with the smallest chunks, or none given if the maker then chooses well."""
        raise NotImplementedError

    def chunked(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Map with the chunks that the maker, or its documentation, would choose."""
        return self.map(function, items)

    def close(self) -> None:
        """End the workers."""


class Futures(Pool):
    """A `concurrent.futures.Executor`."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    def one(self, function: Function, item: Any) -> Any:
        return self.executor.submit(function, item).result()

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        submit = self.executor.submit
        futures = [submit(function, item) for item in items]
        return [future.result() for future in futures]

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self.executor.map(function, items))

    def close(self) -> None:
        self.executor.shutdown()


class Loop(Pool):
    """No pool at all: what a plain loop takes, or the asyncio loop's own threads."""

    def one(self, function: Function, item: Any) -> Any:
        return function(item)

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return [function(item) for item in items]


class ChunkedFutures(Futures):
    """An executor that maps without chunks unless their size is given: here an eighth of the calls."""

    def chunked(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self.executor.map(function, items, chunksize=max(1, len(items) // 8)))


class OurJobs(Pool):
    """`pointsman.map` on the backend that is asked for."""

    def __init__(self, backend: str) -> None:
        import pointsman

        self._map, self._execute, self._backend = pointsman.map, pointsman.execute, backend

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._map(function, items, backend=self._backend, max_workers=WORKERS))


class OurLists(OurJobs):
    """`pointsman.execute`, which gives a list as other makers' `map` does."""

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._execute(function, items, backend=self._backend, max_workers=WORKERS)  # type: ignore[no-any-return]


class StandardPool(Pool):
    """A `multiprocessing.Pool`, or its twin with threads."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def one(self, function: Function, item: Any) -> Any:
        return self._pool.apply(function, (item,))

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        waiting = [self._pool.apply_async(function, (item,)) for item in items]
        return [result.get() for result in waiting]

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items, chunksize=1)  # type: ignore[no-any-return]

    def chunked(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._pool.terminate()


class Joblib(Pool):
    """A `joblib.Parallel` that is kept open, on its default backend. It sizes its batches itself."""

    def __init__(self) -> None:
        from joblib import Parallel, delayed

        self._parallel, self._delayed = Parallel(n_jobs=WORKERS).__enter__(), delayed

    def one(self, function: Function, item: Any) -> Any:
        return self._parallel([self._delayed(function)(item)])[0]

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._parallel(self._delayed(function)(item) for item in items)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)


class Mpire(Pool):
    """An `mpire.WorkerPool` whose workers are kept alive."""

    def __init__(self) -> None:
        from mpire.pool import WorkerPool

        self._pool = WorkerPool(n_jobs=WORKERS, keep_alive=True)

    def one(self, function: Function, item: Any) -> Any:
        return self._pool.apply(function, (item,))

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        waiting = [self._pool.apply_async(function, (item,)) for item in items]
        return [result.get() for result in waiting]

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        # It spreads tuples, dictionaries and arrays over arguments: each item goes in a tuple of its own.
        return self._pool.map(function, [(item,) for item in items], chunk_size=1)  # type: ignore[no-any-return]

    def chunked(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, [(item,) for item in items])  # type: ignore[no-any-return]

    def close(self) -> None:
        self._pool.terminate()


def _ours(backend: str) -> Pool:
    import pointsman

    return Futures(pointsman.Executor(WORKERS, backend=backend))


def _executor(start_method: str | None = None) -> Pool:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context(start_method)
    return ChunkedFutures(ProcessPoolExecutor(WORKERS, mp_context=context))


def _threads() -> Pool:
    from concurrent.futures import ThreadPoolExecutor

    return Futures(ThreadPoolExecutor(WORKERS))


def _loky() -> Pool:
    from loky import ProcessPoolExecutor

    return ChunkedFutures(ProcessPoolExecutor(WORKERS))


def _standard_pool() -> Pool:
    import multiprocessing

    return StandardPool(multiprocessing.Pool(WORKERS))


def _thread_pool() -> Pool:
    from multiprocessing.pool import ThreadPool

    return StandardPool(ThreadPool(WORKERS))


# By the names that the tables print. None of them is imported before it is opened.
POOLS: dict[str, Callable[[], Pool]] = {
    "Executor": lambda: _ours("processes"),
    "Executor on threads": lambda: _ours("threads"),
    "map": lambda: OurJobs("processes"),
    "execute": lambda: OurLists("processes"),
    "map on threads": lambda: OurJobs("threads"),
    "execute on threads": lambda: OurLists("threads"),
    "ProcessPoolExecutor": _executor,
    "ProcessPool, fork": lambda: _executor("fork"),
    "ProcessPool, spawn": lambda: _executor("spawn"),
    "forkserver, warm": lambda: _executor("forkserver"),
    "multiprocessing.Pool": _standard_pool,
    "loky": _loky,
    "joblib": Joblib,
    "mpire": Mpire,
    "ThreadPoolExecutor": _threads,
    "ThreadPool": _thread_pool,
    "asyncio.to_thread": Loop,
    "plain loop": Loop,
}


def preload(name: str) -> None:
    """Import what a program that uses the pool of this name imports at its top: the class, with all that it brings."""
    if name.startswith("Executor"):
        # Ours is imported when it is first named, as in `from pointsman import Executor`.
        _ = importlib.import_module("pointsman").Executor
        return
    importlib.import_module(name if name in _OTHERS else "concurrent.futures.process")


def installed(name: str) -> bool:
    """Whether the pool of this name can be opened here."""
    return name not in _OTHERS or importlib.util.find_spec(name) is not None
