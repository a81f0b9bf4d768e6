"""Everyday work by name: which function of `_everyday`, how many calls, and how their inputs are made.

What it does not know: who runs the work, or how.

Invariants:
    W1. A function computes a fixed amount; it never spins until a clock says so, since that hides contention.
    W2. A function writes nothing that others read, and gives the same result wherever it runs.
    W3. Modules are imported, and inputs made, when a workload is prepared: before anything is timed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _everyday.plain import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def everyday(name: str) -> Callable[..., Any]:
    """Import a function of `_everyday`, named as "module.function"."""
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"_everyday.{module}"), function)  # type: ignore[no-any-return]


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
    """A function, as "module.name", the number of its calls, and how their inputs are made."""

    function: str
    calls: int
    inputs: Callable[[int, Place], Iterable[Any]]
    bind: Callable[[Place], tuple[Any, ...]] = lambda _place: ()

    def prepare(self, place: Place) -> tuple[Callable[[Any], Any], Iterable[Any]]:
        """Give the function and its inputs."""
        function = everyday(self.function)
        bound = self.bind(place)
        if bound:
            function = functools.partial(function, *bound)
        return function, self.inputs(self.calls, place)


def _numbers(calls: int, _place: Place) -> range:
    return range(calls)


def _steps(milliseconds: float) -> Callable[[int, Place], list[int]]:
    return lambda calls, _place: [int(milliseconds * STEPS)] * calls


def _generated(calls: int, _place: Place) -> Iterator[int]:
    return (5 * STEPS + i for i in range(calls))


def _heavy_tail(calls: int, _place: Place) -> list[int]:
    chance = random.Random(20)
    milliseconds = [min(1.2 * chance.paretovariate(1.1), 150.0) for _ in range(calls)]
    return [int(value * STEPS) for value in milliseconds]


def _late_giant(calls: int, _place: Place) -> list[int]:
    return [2 * STEPS] * (calls - 1) + [300 * STEPS]


def _urls(calls: int, place: Place) -> list[str]:
    return [f"http://127.0.0.1:{place.port}/{i}" for i in range(calls)]


def _sources(calls: int, _place: Place) -> list[str]:
    library = Path(json.__file__).parent.parent
    return [str(path) for path in sorted(library.glob("*.py")) if path.stat().st_size < 60_000][:calls]


def _large(calls: int, _place: Place) -> list[bytes]:
    return [bytes([i % 251, 7, 1]) * 350_000 for i in range(calls)]


def _arrays(calls: int, _place: Place) -> Any:
    return everyday("arrays.arrays")(calls)


def _tiny_arrays(calls: int, _place: Place) -> Any:
    return everyday("arrays.tiny_arrays")(calls)


def _tiny_generated(calls: int, _place: Place) -> Iterator[int]:
    return (i for i in range(calls))


def _rows(calls: int, _place: Place) -> Any:
    return everyday("records.rows")(calls)


def _particles(calls: int, _place: Place) -> Any:
    return everyday("records.particles")(calls)


def _blocks(calls: int, _place: Place) -> list[bytes]:
    return [i.to_bytes(8, "big") * 512 for i in range(calls)]


def _database(place: Place) -> tuple[str]:
    return (place.database,)


# Each takes 0.3 to 3 s in a plain loop.
WORKLOADS: dict[str, Workload] = {
    "pure Python, 20 ms": Workload("plain.crunch", 40, _steps(20)),
    "pure Python, 20 us": Workload("plain.small", 40_000, _numbers),
    "tiny, x*x+1": Workload("plain.tiny", 5_000_000, _numbers),
    "tiny, from a generator": Workload("plain.tiny", 4_000_000, _tiny_generated),
    "named tuples, 2 us": Workload("records.summary", 200_000, _rows),
    "dataclasses, 300 us": Workload("records.move", 2_000, _particles),
    "sleep 10 ms": Workload("plain.sleep", 80, _numbers),
    "HTTP, 20 ms": Workload("web.fetch", 40, _urls),
    "subprocess that waits": Workload("programs.child_sleeps", 35, _numbers),
    "subprocess that computes": Workload("programs.child_computes", 25, _numbers),
    "sqlite scan": Workload("database.scan", 60, _numbers, bind=_database),
    "sqlite fetch": Workload("database.fetch_rows", 50, _numbers, bind=_database),
    "sqlite, many statements": Workload("database.statements", 600, _numbers),
    "hashlib.sha256 of 4 kB": Workload("octets.fingerprint", 60_000, _blocks),
    "hashlib.sha256": Workload("octets.digest", 110, _numbers),
    "zlib.compress": Workload("octets.compress", 40, _numbers),
    "json": Workload("text.as_json", 120, _numbers),
    "re.findall": Workload("text.find", 600, _numbers),
    "ast.parse of files": Workload("text.parse", 140, _sources),
    "large arguments, 1 MB": Workload("plain.read_large", 300, _large),
    "large results, 1 MB": Workload("plain.write_large", 150, _numbers),
    "heavy tail": Workload("plain.crunch", 150, _heavy_tail),
    "one giant at the end": Workload("plain.crunch", 150, _late_giant),
    "half and half, 5 + 5 ms": Workload("plain.half_and_half", 80, _numbers),
    "waits 1 of 10 ms": Workload("plain.mostly_computes", 60, _numbers),
    "computes 1 ms, then waits 4": Workload("plain.computes_then_waits", 150, _numbers),
    "3 items of 0.3 s": Workload("plain.crunch", 3, _steps(300)),
    "2 items of 0.3 s": Workload("plain.crunch", 2, _steps(300)),
    "generator, 5 ms": Workload("plain.crunch", 150, _generated),
    "waits, then computes": Workload("plain.computes_later", 170, _numbers),
    "computes, then waits": Workload("plain.waits_later", 450, _numbers),
    "cheap, then dear": Workload("plain.dear_later", 4_150, _numbers),
}
if importlib.util.find_spec("numpy"):
    WORKLOADS |= {
        "numpy matmul": Workload("arrays.matmul", 60, _numbers),
        "numpy elementwise": Workload("arrays.elementwise", 40, _numbers),
        "numpy small arrays": Workload("arrays.small_arrays", 1_000, _numbers),
        "numpy, 3 us": Workload("arrays.tiny_array", 100_000, _tiny_arrays),
        "numpy large arguments": Workload("arrays.total", 60, _arrays),
    }


# ----------------------------------------------------------------------------------- the server


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
