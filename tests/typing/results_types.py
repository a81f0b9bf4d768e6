"""What type checkers are to make of results: the function's own type comes back. Read by mypy and pyright, never run."""

import concurrent.futures
from collections.abc import Awaitable, Coroutine, Iterator
from pathlib import Path
from typing import Any, assert_type

import pointsman
from pointsman import Executor, Plan, options, smartasync


def size(path: Path) -> int:
    return path.stat().st_size


def pair(name: str, number: int) -> tuple[str, int]:
    return name, number


async def fetch(url: str) -> bytes:
    return url.encode()


@smartasync
async def smart(url: str) -> bytes:
    return url.encode()


@smartasync
def plain(number: int) -> str:
    return str(number)


paths = [Path("a"), Path("b")]

# One call.
assert_type(pointsman.run(size, paths[0]), int)
assert_type(pointsman.run(fetch, "x"), bytes)
future_1 = assert_type(pointsman.submit(size, paths[0]), pointsman.Future[int])
assert_type(pointsman.submit(size, paths[0]).result(), int)
assert_type(pointsman.submit(fetch, "x").result(), bytes)
assert_type(pointsman.submit(smart, "x").result(), bytes)
assert_type(pointsman.submit(plain, 1).result(timeout=1.0), str)

# Many calls.
assert_type(pointsman.execute(size, paths), list[int])
assert_type(pointsman.execute(size, paths, backend="threads", max_workers=2, progress=True), list[int])
assert_type(pointsman.execute(size, paths, return_optimization_result=True), tuple[list[int], Plan])
assert_type(pointsman.execute(size, paths, return_optimization_result=False), list[int])
assert_type(pointsman.execute(size, paths, backend=concurrent.futures.ThreadPoolExecutor(1)), list[int])
assert_type(pointsman.execute(fetch, ["x"]), list[bytes])
assert_type(pointsman.execute(fetch, ["x"], return_optimization_result=True), tuple[list[bytes], Plan])
assert_type(pointsman.execute(smart, ["x"]), list[bytes])
assert_type(pointsman.execute(plain, [1]), list[str])
assert_type(pointsman.execute(len, ["a"]), list[int])
assert_type(pointsman.execute(lambda number: number / 2, [1]), list[float])
assert_type(pointsman.map(size, paths), Iterator[int])
assert_type(pointsman.map(pair, ["a"], [1], buffersize=8), Iterator[tuple[str, int]])
assert_type(pointsman.map(fetch, ["x"]), Iterator[bytes])
assert_type(pointsman.map(smart, ["x"]), Iterator[bytes])
assert_type(pointsman.map(plain, [1]), Iterator[str])
assert_type(pointsman.optimize(size, paths), Plan)

# With options.
view = options(backend="processes", timeout=2.0, retries=1, retry_on=OSError)
assert_type(view.run(size, paths[0]), int)
assert_type(view.run(fetch, "x"), bytes)
future_2 = assert_type(view.submit(size, paths[0]), pointsman.Future[int])
assert_type(view.execute(size, paths), list[int])
assert_type(view.execute(size, paths, return_optimization_result=True), tuple[list[int], Plan])
assert_type(view.execute(fetch, ["x"]), list[bytes])
assert_type(view.map(size, paths), Iterator[int])
assert_type(view.map(fetch, ["x"], chunksize=4), Iterator[bytes])

# An executor.
with Executor(2) as executor:
    assert_type(executor, Executor)
    futures = [executor.submit(size, path) for path in paths]
    assert_type(futures, list[pointsman.Future[int]])
    future_3 = assert_type(executor.submit(fetch, "x"), pointsman.Future[bytes])
    assert_type(executor.map(size, paths), Iterator[int])
    assert_type(executor.map(fetch, ["x"]), Iterator[bytes])
    assert_type(executor.map(pair, ["a"], [1], timeout=1.0), Iterator[tuple[str, int]])
    assert_type(executor.wait(futures), list[pointsman.Future[int]])
    for done in executor.as_completed(futures):
        assert_type(done.result(), int)
    future_4 = assert_type(executor.options(timeout=1.0).submit(size, paths[0]), pointsman.Future[int])
    future_5 = assert_type(executor.options(timeout=1.0).submit(fetch, "x"), pointsman.Future[bytes])
    assert_type(executor.options(timeout=1.0).map(size, paths), Iterator[int])
    assert_type(executor.options(timeout=1.0).map(pair, ["a"], [1], buffersize=2), Iterator[tuple[str, int]])
    assert_type(executor.options(timeout=1.0).run(size, paths[0]), int)
    assert_type(executor.options(timeout=1.0).run(fetch, "x"), bytes)
    assert_type(executor.options(timeout=1.0).execute(size, paths), list[int])
    assert_type(executor.options(timeout=1.0).execute(fetch, ["x"]), list[bytes])
    # It takes the place of any other, and its futures that of any other's.
    standard: concurrent.futures.Executor = executor
    theirs: concurrent.futures.Future[int] = futures[0]
    concurrent.futures.wait(futures)

# Figures of a plan.
plan = pointsman.optimize(size, paths)
assert_type(plan.backend, str)
assert_type(plan.estimated_seconds, float | None)
assert_type(Plan.from_json(plan.to_json()), Plan)


# A decorated function keeps its parameters and its result.
assert_type(smart("x"), bytes | Coroutine[Any, Any, bytes])
assert_type(plain(1), str | Awaitable[str])

# What cannot work is an error: inputs of another type, an option that is not there or of another type.
pointsman.execute(size, ["a"])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportCallIssue]
pointsman.execute(size, paths, workers=2)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
pointsman.execute(size, paths, retries="2")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
pointsman.map(pair, ["a"], [1], sample_size=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
pointsman.optimize(size, ["a"])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
view.execute(size, paths, workers=2)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
