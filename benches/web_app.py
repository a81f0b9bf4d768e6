"""Measures for how long the loop of a web application stands still while its handlers use a blocking database.

A Starlette application on the loopback answers requests that read a table with sqlite3, once with the query called
directly in the handler and once awaited through `smartasync`. A task in the same loop notes the longest time between
two of its turns; a second process makes the requests.

    pip install starlette==1.10.0 uvicorn==0.54.0 httpx==0.28.1
    python benches/web_app.py [--seconds N] [--clients N] [--rows N] [--json FILE]

What it does not know: how calls get to threads and back.

Invariants:
    B1. Both applications run the same query on the same file, under the same load, one after the other.
    B2. The longest stall of a loop without any load is printed, too: what the machine itself does to a loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import _table

from pointsman import smartasync

LOAD = """
import asyncio, json, sys, time, httpx

async def client(url, until, count):
    async with httpx.AsyncClient(trust_env=False, timeout=60) as session:
        while time.perf_counter() < until:
            (await session.get(url)).raise_for_status()
            count.append(1)

async def main(url, clients, seconds):
    count, until = [], time.perf_counter() + seconds
    await asyncio.gather(*(client(url, until, count) for _ in range(clients)))
    print(json.dumps(len(count)))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


def fill(path: Path, rows: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table measured (n integer, text text)")
        database.executemany("insert into measured values (?, ?)", ((n, f"row {n}") for n in range(rows)))
        database.commit()


def application(path: Path, *, smart: bool) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def query() -> int:
        with contextlib.closing(sqlite3.connect(path)) as database:
            found: int = database.execute("select count(*) from measured where text like '%9%7%'").fetchone()[0]
            return found

    awaited = smartasync(query)

    async def handler(_request: Any) -> Any:
        return JSONResponse({"found": await awaited() if smart else query()})  # type: ignore[misc]

    return Starlette(routes=[Route("/", handler)])


async def watch(stalls: list[float]) -> None:
    """Note how late each turn of a task comes that wants one every millisecond."""
    while True:
        began = perf_counter()
        await asyncio.sleep(0.001)
        stalls.append(perf_counter() - began - 0.001)


async def serve(app: Any, clients: int, seconds: float) -> tuple[int, float, float]:
    """Serve under load; the answers per second, and the median and the longest stall in seconds."""
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stalls: list[float] = []
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    loading = subprocess.Popen(  # noqa: ASYNC220, S603 - before the clock runs; our own program
        [sys.executable, "-c", LOAD, url, str(clients), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    watching = asyncio.create_task(watch(stalls))
    answers = json.loads(await asyncio.to_thread(lambda: loading.communicate()[0]))
    watching.cancel()
    server.should_exit = True
    await serving
    listening.close()
    return int(answers / seconds), _table.median(stalls), max(stalls)


async def idle(seconds: float) -> float:
    stalls: list[float] = []
    watching = asyncio.create_task(watch(stalls))
    await asyncio.sleep(seconds)
    watching.cancel()
    return max(stalls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    arguments = parser.parse_args()
    _table.print_machine()
    alone = asyncio.run(idle(1.0))
    figures = {}
    print(f"longest stall of an idle loop: {alone * 1e3:.1f} ms\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.sqlite")
        fill(path, arguments.rows)
        for name, smart in (("query in the handler", False), ("query through smartasync", True)):
            rate, usual, longest = asyncio.run(
                serve(application(path, smart=smart), arguments.clients, arguments.seconds)
            )
            print(
                f"{name:26} {rate:6} answers/s   stall: median {usual * 1e3:7.2f} ms, longest {longest * 1e3:7.1f} ms"
            )
            figures[name] = {"rate": rate, "median": usual, "longest": longest}
    if arguments.json:
        text = json.dumps({"machine": _table.machine(), "idle": alone, "applications": figures}, indent=1)
        Path(arguments.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
