"""Everyday work: functions that worker processes can import, and the inputs that they are given.

What it does not know: who runs the work, or how.

Invariants:
    W1. A function computes a fixed amount; it never spins until a clock says so, since that hides contention.
    W2. A function writes nothing that others read, and gives the same result wherever it runs.
    W3. Importing this module is cheap: what only the inputs need is imported when they are made.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import json
import random
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Steps of `crunch` in a millisecond, roughly, on the machine on which the sizes were chosen.
_STEPS = 20_000
_TEXT = b"".join(b"%d: the quick brown fox jumps over the lazy dog %d\n" % (i, i * i) for i in range(20_000))
_BLOCK = _TEXT * 4
_RECORDS = [{"id": i, "name": f"name {i}", "tags": ["a", "b", "c"], "value": i / 7} for i in range(1500)]
_WORDS = "one two three four five six seven eight nine ten " * 500
_PATTERN = re.compile(r"(\w+) (\w+)e\b")


# ----------------------------------------------------------------------------------- what is called


def crunch(steps: int) -> int:
    """Compute in pure Python."""
    total = 0
    for i in range(steps):
        total += i * i % 7
    return total


def tiny(x: int) -> int:
    """Do next to nothing."""
    return x * x + 1


def small(x: int) -> int:
    """Compute for some 20 us."""
    return crunch(400) + x


def sleep(x: int) -> int:
    time.sleep(0.01)
    return x


def fetch(url: str) -> int:
    with urllib.request.urlopen(url) as page:  # noqa: S310 - our own server
        return len(page.read())


def child_sleeps(x: int) -> int:
    """Wait for another program that waits."""
    return subprocess.run(["sleep", "0.02"], check=True).returncode + x  # noqa: S607 - wherever it is


def child_computes(x: int) -> int:
    """Wait for another program that computes: waiting, for us, but the cores set the limit."""
    code = f"print(sum(i * i % 7 for i in range(200_000)) + {x})"
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)  # noqa: S603
    return int(answer.stdout)


def scan(path: str, number: int) -> int:
    """Let sqlite search a table, without the GIL."""
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("select count(*) from t where b like ?", (f"%{number}%",)).fetchone()
    return int(count)


def fetch_rows(path: str, number: int) -> int:
    """Take many rows from sqlite: the GIL is passed to and fro for each."""
    with closing(sqlite3.connect(path)) as connection:
        return sum(a for a, _ in connection.execute("select a, b from t where a % 3 = ?", (number % 3,)))


def digest(x: int) -> str:
    return hashlib.sha256(_BLOCK * 2 + x.to_bytes(8, "big")).hexdigest()


def compress(x: int) -> int:
    return len(zlib.compress(_TEXT[x:], 6))


def as_json(x: int) -> int:
    return len(json.dumps([*json.loads(json.dumps(_RECORDS)), x]))


def find(x: int) -> int:
    return len(_PATTERN.findall(_WORDS)) + x


def parse(path: str) -> int:
    import ast

    return sum(1 for _ in ast.walk(ast.parse(Path(path).read_bytes())))


def read_large(data: bytes) -> int:
    """Compute with a large argument."""
    return sum(data[::3])


def write_large(x: int) -> bytes:
    """Compute a large result."""
    return bytes([x % 251, crunch(4 * _STEPS) % 251]) * 500_000


def half_and_half(x: int) -> int:
    total = crunch(5 * _STEPS)
    time.sleep(0.005)
    return total + x


def computes_later(x: int) -> int:
    """Wait at the beginning of the list, compute further on."""
    if x < 20:
        time.sleep(0.005)
        return x
    return crunch(4 * _STEPS) + x


def dear_later(x: int) -> int:
    """Cost nothing at the beginning of the list, much further on."""
    return crunch(20 if x < 4_000 else 4 * _STEPS) + x


# ----------------------------------------------------------------------------------- calls that cost only their way


def identity(x: Any) -> Any:
    return x


def length(array: Any) -> int:
    """Take a large argument and look at its last element only."""
    return len(array) if array[-1] >= 0 else 0


@functools.cache
def _kept(count: int) -> Any:
    import numpy as np

    return np.ones(count)


def array_of(count: int) -> Any:
    """Give a large result that was there before."""
    return _kept(count)


def steps_10(x: int) -> int:
    """Compute for some 10 us."""
    return crunch(200) + x


def steps_50(x: int) -> int:
    return crunch(1000) + x


def steps_1000(x: int) -> int:
    return crunch(20_000) + x


# ----------------------------------------------------------------------------------- the inputs


@dataclass(frozen=True)
class Place:
    """What the bench provides: the port of a running `serve`, and a folder with the database of `fill`."""

    port: int
    folder: str

    @property
    def database(self) -> str:
        return str(Path(self.folder, "bench.db"))


@dataclass(frozen=True)
class Workload:
    """A function's name in a module, the number of its calls, and how their inputs are made."""

    function: str
    calls: int
    inputs: Callable[[int, Place], Iterable[Any]]
    bind: Callable[[Place], tuple[Any, ...]] = lambda _place: ()
    module: str = "_workloads"

    def prepare(self, place: Place) -> tuple[Callable[[Any], Any], Iterable[Any]]:
        """Give the function and its inputs."""
        function = getattr(importlib.import_module(self.module), self.function)
        bound = self.bind(place)
        if bound:
            function = functools.partial(function, *bound)
        return function, self.inputs(self.calls, place)


def _numbers(calls: int, _place: Place) -> range:
    return range(calls)


def _steps(milliseconds: float) -> Callable[[int, Place], list[int]]:
    return lambda calls, _place: [int(milliseconds * _STEPS)] * calls


def _generated(calls: int, _place: Place) -> Iterator[int]:
    return (5 * _STEPS + i for i in range(calls))


def _heavy_tail(calls: int, _place: Place) -> list[int]:
    chance = random.Random(20)
    milliseconds = [min(1.2 * chance.paretovariate(1.1), 150.0) for _ in range(calls)]
    return [int(value * _STEPS) for value in milliseconds]


def _late_giant(calls: int, _place: Place) -> list[int]:
    return [2 * _STEPS] * (calls - 1) + [300 * _STEPS]


def _urls(calls: int, place: Place) -> list[str]:
    return [f"http://127.0.0.1:{place.port}/{i}" for i in range(calls)]


def _sources(calls: int, _place: Place) -> list[str]:
    library = Path(json.__file__).parent.parent
    return [str(path) for path in sorted(library.glob("*.py")) if path.stat().st_size < 60_000][:calls]


def _large(calls: int, _place: Place) -> list[bytes]:
    return [bytes([i % 251, 7, 1]) * 350_000 for i in range(calls)]


def _arrays(calls: int, _place: Place) -> Any:
    from _workloads_numpy import arrays

    return arrays(calls)


def _database(place: Place) -> tuple[str]:
    return (place.database,)


# Each takes 0.3 to 3 s in a plain loop.
WORKLOADS: dict[str, Workload] = {
    "pure Python, 20 ms": Workload("crunch", 40, _steps(20)),
    "pure Python, 20 us": Workload("small", 40_000, _numbers),
    "tiny, x*x+1": Workload("tiny", 5_000_000, _numbers),
    "sleep 10 ms": Workload("sleep", 80, _numbers),
    "HTTP, 20 ms": Workload("fetch", 40, _urls),
    "subprocess that waits": Workload("child_sleeps", 35, _numbers),
    "subprocess that computes": Workload("child_computes", 25, _numbers),
    "sqlite scan": Workload("scan", 60, _numbers, bind=_database),
    "sqlite fetch": Workload("fetch_rows", 50, _numbers, bind=_database),
    "hashlib.sha256": Workload("digest", 60, _numbers),
    "zlib.compress": Workload("compress", 40, _numbers),
    "json": Workload("as_json", 120, _numbers),
    "re.findall": Workload("find", 600, _numbers),
    "ast.parse of files": Workload("parse", 140, _sources),
    "large arguments, 1 MB": Workload("read_large", 300, _large),
    "large results, 1 MB": Workload("write_large", 150, _numbers),
    "heavy tail": Workload("crunch", 150, _heavy_tail),
    "one giant at the end": Workload("crunch", 150, _late_giant),
    "half and half, 5 + 5 ms": Workload("half_and_half", 80, _numbers),
    "3 items of 0.3 s": Workload("crunch", 3, _steps(300)),
    "2 items of 0.3 s": Workload("crunch", 2, _steps(300)),
    "generator, 5 ms": Workload("crunch", 150, _generated),
    "waits, then computes": Workload("computes_later", 170, _numbers),
    "cheap, then dear": Workload("dear_later", 4_150, _numbers),
}
if importlib.util.find_spec("numpy"):
    WORKLOADS |= {
        "numpy matmul": Workload("matmul", 60, _numbers, module="_workloads_numpy"),
        "numpy elementwise": Workload("elementwise", 40, _numbers, module="_workloads_numpy"),
        "numpy small arrays": Workload("small_arrays", 1_000, _numbers, module="_workloads_numpy"),
        "numpy large arguments": Workload("total", 60, _arrays, module="_workloads_numpy"),
    }


# ----------------------------------------------------------------------------------- what the inputs need


def fill(path: str) -> None:
    """Write the table that `scan` and `fetch_rows` read."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table t (a integer, b text)")
        rows = ((i, f"row {i * 7919 % 100_003}") for i in range(100_000))
        connection.executemany("insert into t values (?, ?)", rows)


def serve() -> None:
    """Answer every request after 20 ms, for as long as somebody holds our standard input open; prints the port."""
    import asyncio

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        await asyncio.sleep(0.02)
        body = b"x" * 2000
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    asyncio.run(run())


if __name__ == "__main__":
    serve()
