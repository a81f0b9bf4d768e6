"""What `dispatch.py` measures of a pool, each a function from (pool, function, items) to seconds per call.

What it does not know: which pool it has, or what figure is hoped for.

Invariants:
    M1. The pool is warm: it was opened and used before, except where a measure says that it opens its own.
    M2. Results are looked at, so that no pool is fast by losing them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from _peers import POOLS, Pool, preload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Measure = Callable[[Pool, Callable[[Any], Any], Sequence[Any]], float]

clock = time.perf_counter


def warm(pool: Pool, function: Callable[[Any], Any], item: Any) -> None:
    """Use the pool until each worker has had calls."""
    with contextlib.suppress(NotImplementedError):
        pool.map(function, [item] * 8)
    with contextlib.suppress(NotImplementedError):
        for _ in range(8):
            pool.one(function, item)
    time.sleep(0.05)


def one_by_one(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Each call is made when the result of the one before is there."""
    one, last = pool.one, None
    begun = clock()
    for item in items:
        last = one(function, item)
    taken = clock() - begun
    assert last is not None
    return taken / len(items)


def after_idle(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """A millisecond of idleness comes before each call; only the calls are timed. The median."""
    taken = []
    for item in items:
        time.sleep(0.001)
        begun = clock()
        pool.one(function, item)
        taken.append(clock() - begun)
    return sorted(taken)[len(taken) // 2]


def while_spinning(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """A thread of this process computes in Python meanwhile."""
    stop = False

    def spin() -> None:
        count = 0
        while not stop:
            count += 1

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        return one_by_one(pool, function, items)
    finally:
        stop = True
        thread.join()


def many(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """All calls are submitted before the first result is asked for."""
    return _all(pool.many, function, items)


def mapped(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """No chunk size is given, or 1 where that is not the default."""
    return _all(pool.map, function, items)


def chunked(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """With each maker's own chunks."""
    return _all(pool.chunked, function, items)


def _all(method: Callable[..., list[Any]], function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    begun = clock()
    results = method(function, items)
    taken = clock() - begun
    assert len(results) == len(items)
    return taken / len(items)


def mapped_again(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """The same map, so often that short ones can be timed, too. The median."""
    taken = sorted(mapped(pool, function, items) for _ in range(max(3, 30_000 // len(items))))
    return taken[len(taken) // 2]


def cores_used(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Seconds of a plain loop over those of the map: a figure without a unit, better when larger."""
    few = items[: max(1, len(items) // 4)]
    begun = clock()
    for item in few:
        function(item)
    plain = (clock() - begun) / len(few)
    return plain / chunked(pool, function, items)


def gathered(pool: Any, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """An asyncio program gathers all calls, as futures of the executor or, where there is none, by `to_thread`."""
    import asyncio

    async def run() -> float:
        executor = getattr(pool, "executor", None)
        await asyncio.to_thread(function, items[0])
        begun = clock()
        if executor is None:
            results = await asyncio.gather(*(asyncio.to_thread(function, item) for item in items))
        else:
            results = await asyncio.gather(*(executor.submit(function, item) for item in items))
        taken = clock() - begun
        assert results == list(map(function, items))
        return taken / len(items)

    return asyncio.run(run())


def idle_share(pool: Pool, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """CPU seconds of this process in each second in which the pool has nothing to do. The workers' own do not count."""
    for item in items:
        pool.one(function, item)
    time.sleep(0.3)
    begun, spent = clock(), time.process_time()
    time.sleep(1.0)
    return (time.process_time() - spent) / (clock() - begun)


# Measures that open pools themselves, by name.


def first_result(name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Seconds from making the program's first pool to its first result. A forkserver called warm ran before."""
    preload(name)
    if name.endswith(", warm"):
        _fresh_pool(name, function, items[0])
        time.sleep(0.05)
    return _fresh_pool(name, function, items[0])


def second_result(name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """The same for the second pool, when the first has ended: what a maker keeps (a server to fork from) is there."""
    preload(name)
    _fresh_pool(name, function, items[0])
    time.sleep(0.05)
    return _fresh_pool(name, function, items[0])


def _fresh_pool(name: str, function: Callable[[Any], Any], item: Any) -> float:
    begun = clock()
    pool = POOLS[name]()
    pool.one(function, item)
    taken = clock() - begun
    pool.close()
    return taken


def first_large(name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """The first large call of a pool whose workers run, but have seen small calls only."""
    from _everyday.plain import identity

    pool = POOLS[name]()
    warm(pool, identity, 1)
    begun = clock()
    pool.one(function, items[0])
    taken = clock() - begun
    pool.close()
    return taken


OWN_POOL = {measure.__name__: measure for measure in (first_result, second_result, first_large)}
WARM_POOL: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        one_by_one, after_idle, while_spinning, many, mapped, mapped_again, chunked, cores_used, gathered, idle_share,
    )
}  # fmt: skip
