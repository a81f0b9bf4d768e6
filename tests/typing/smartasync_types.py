"""What type checkers are to make of `smartasync`, `amap` and futures: read by mypy and pyright, never run."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine
from typing import Any, assert_type

import pointsman
from pointsman import smartasync


@smartasync
async def fetch(url: str, *, retries: int = 0) -> bytes:
    return url.encode() * retries


@smartasync
def query(number: int) -> str:
    return str(number)


@smartasync
async def lines(count: int) -> AsyncIterator[str]:
    for n in range(count):
        yield str(n)


@smartasync
async def talk() -> AsyncGenerator[int, str]:
    yield 1


class Client:
    @smartasync
    async def get(self, path: str) -> int:
        return len(path)

    @staticmethod
    @smartasync
    async def static(x: int) -> float:
        return x / 2

    @classmethod
    @smartasync
    async def made(cls, x: int) -> "Client":
        return cls() if x else Client()

    @smartasync
    def blocking(self) -> list[int]:
        return []


# Which of the two it is depends on where the call stands, which no type checker knows: the type is both.
assert_type(fetch("x", retries=2), bytes | Coroutine[Any, Any, bytes])
assert_type(query(1), str | Awaitable[str])
assert_type(Client().get("/"), int | Coroutine[Any, Any, int])
assert_type(Client.static(1), float | Coroutine[Any, Any, float])
assert_type(Client.made(1), Client | Coroutine[Any, Any, Client])
assert_type(Client().blocking(), list[int] | Awaitable[list[int]])
assert_type(lines(3), pointsman.Stream[str])
assert_type(talk(), pointsman.Stream[int])

# The parameters are the function's own.
fetch(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
fetch("x", retry=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
query()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
Client().get()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

# To take it for one of the two without a look is an error.
len(query(1))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# A stream is iterated over in both ways.
for line in lines(2):
    assert_type(line, str)

# `run` knows in plain code, and `submit` in a loop.
assert_type(pointsman.run(fetch, "x"), bytes)
assert_type(pointsman.run(query, 1), str)


async def in_a_loop() -> None:
    answer = fetch("x")
    if inspect.isawaitable(answer):
        assert_type(await answer, bytes)
    async for line in lines(2):
        assert_type(line, str)
    assert_type(await pointsman.submit(fetch, "x"), bytes)
    assert_type(await pointsman.submit(query, 1), str)
    assert_type(await pointsman.submit(len, "x"), int)
    assert_type(await pointsman.Executor().submit(fetch, "x"), bytes)
    assert_type(await pointsman.options(backend="asyncio").submit(fetch, "x"), bytes)
    async for size in pointsman.amap(len, ["a"]):
        assert_type(size, int)

    async def double(x: int) -> int:
        return 2 * x

    async for value in pointsman.amap(double, range(3)):
        assert_type(value, int)
    assert_type(pointsman.execute(double, [1]), list[int])
    assert_type(await pointsman.submit(double, 1), int)
    assert_type(pointsman.run(double, 1), int)


asyncio.run(in_a_loop())
