"""Measures what it costs to go from plain code into coroutines and back.

The contenders take turns in one process; printed are the median time of a call, the ratio peer / ours, and the ratio
hoped for. Run it alone on the machine:

    pip install asgiref==3.13.0 anyio==4.16.0
    python benches/bridge.py [--rounds N] [--json FILE]

What it does not know: how any of the bridges works.

Invariants:
    B1. Only ratios within one run are worth anything; a figure is the median over the rounds.
    B2. Everything is warm: loops, threads and portals exist before the first round is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import _table

from pointsman import smartasync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

OURS = "smartasync"
# Calls in one measurement: enough for some milliseconds of ours, few enough for a round of all to take a second or so.
_OURS, _PEERS, _AWAITS, _GATHERED, _PLAIN = 3000, 200, 300, 3000, 20_000


async def at_once(x: int) -> int:
    return x


async def suspends(x: int) -> int:
    await asyncio.sleep(0)
    return x


def plain(x: int) -> int:
    return x


smart_at_once, smart_suspends, smart_plain = smartasync(at_once), smartasync(suspends), smartasync(plain)


class Row:
    """One way of crossing, the peers, and the ratio of the best of them that is hoped for."""

    def __init__(self, name: str, goal: float | None) -> None:
        self.name, self.goal = name, goal
        self.seconds: dict[str, list[float]] = {}

    def add(self, contender: str, seconds: float) -> None:
        """Note the seconds of a call in one round."""
        self.seconds.setdefault(contender, []).append(seconds)

    def median(self, contender: str) -> float:
        """Seconds of a call."""
        return median(self.seconds[contender])

    def best(self) -> str:
        """Name the quickest peer."""
        return min((name for name in self.seconds if name != OURS), key=self.median)

    def ratio(self) -> float:
        """How often ours fits into the quickest peer's."""
        return self.median(self.best()) / self.median(OURS)


def timed(call: Callable[[int], Any], calls: int) -> float:
    began = perf_counter()
    for x in range(calls):
        call(x)
    return (perf_counter() - began) / calls


async def timed_awaits(call: Callable[[int], Awaitable[int]], calls: int) -> float:
    began = perf_counter()
    for x in range(calls):
        await call(x)
    return (perf_counter() - began) / calls


async def timed_gather(call: Callable[[int], Awaitable[int]], calls: int) -> float:
    began = perf_counter()
    results = await asyncio.gather(*[call(x) for x in range(calls)])
    seconds = (perf_counter() - began) / calls
    assert results == list(range(calls))
    return seconds


@contextlib.contextmanager
def sync_peers() -> Iterator[dict[str, Callable[[Any], Callable[[int], int]]]]:
    """Ways from plain code into a coroutine function."""
    peers: dict[str, Any] = {"asyncio.run": lambda function: lambda x: asyncio.run(function(x))}
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            from asgiref.sync import async_to_sync

            peers["asgiref"] = async_to_sync
        with contextlib.suppress(ImportError):
            from anyio.from_thread import start_blocking_portal

            portal = stack.enter_context(start_blocking_portal())
            peers["anyio's portal"] = lambda function: lambda x: portal.call(function, x)
        yield peers


def async_peers() -> dict[str, Callable[[int], Awaitable[int]]]:
    """Ways from a coroutine to a plain function on a thread."""
    peers: dict[str, Any] = {"asyncio.to_thread": lambda x: asyncio.to_thread(plain, x)}
    with contextlib.suppress(ImportError):
        from asgiref.sync import sync_to_async

        peers["asgiref"] = sync_to_async(plain, thread_sensitive=False)
    with contextlib.suppress(ImportError):
        import anyio.to_thread

        peers["anyio"] = lambda x: anyio.to_thread.run_sync(plain, x)
    return peers


def into_coroutines(rounds: int) -> list[Row]:
    rows = []
    with sync_peers() as peers:
        for name, function, smart, goal in (
            ("sync -> async, no suspension", at_once, smart_at_once, 40.0),
            ("sync -> async, one suspension", suspends, smart_suspends, 8.0),
        ):
            row = Row(name, goal)
            ways = {peer: make(function) for peer, make in peers.items()}
            for call in (smart, *ways.values()):
                timed(call, 20)
            for _ in range(rounds):
                row.add(OURS, timed(smart, _OURS))
                for peer, way in ways.items():
                    row.add(peer, timed(way, _PEERS))
            rows.append(row)
    return rows


async def out_of_coroutines(rounds: int) -> list[Row]:
    one, many = Row("async -> sync, one by one", 1.3), Row(f"async -> sync, gather of {_GATHERED:,}", 12.0)
    ways = {OURS: smart_plain, **async_peers()}
    for way in ways.values():
        await timed_gather(way, 500)
    for _ in range(rounds):
        for name, way in ways.items():
            one.add(name, await timed_awaits(way, _AWAITS))
        for name, way in ways.items():
            many.add(name, await timed_gather(way, _GATHERED))
    return [one, many]


async def within_coroutines(rounds: int) -> Row:
    row = Row("async -> async", None)
    for _ in range(rounds):
        row.add(OURS, await timed_awaits(smart_at_once, _PLAIN))
        row.add("plain await", await timed_awaits(at_once, _PLAIN))
    return row


def show(rows: list[Row]) -> bool:
    """Print the figures; whether every goal is met."""
    met = True
    for row in rows:
        print(f"\n{row.name}")
        ours = row.median(OURS)
        for name in sorted(row.seconds, key=row.median):
            ratio = "" if name == OURS else f"{row.median(name) / ours:8.1f} x"
            print(f"  {name:20}{row.median(name) * 1e6:10.2f} us{ratio}")
        if row.goal is not None:
            good = row.ratio() >= row.goal
            print(f"  best peer / ours {row.ratio():.1f}, hoped for {row.goal:g}: {'met' if good else 'NOT MET'}")
        else:
            more, times = ours - row.median("plain await"), ours / row.median("plain await")
            good = more <= 1e-6 and times <= 5.0
            print(
                f"  {more * 1e6:.2f} us over a plain await (at most 1 us), {times:.1f} times it (at most 5): "
                f"{'met' if good else 'NOT MET'}"
            )
        met = met and good
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    _table.print_machine()
    print(", ".join(f"{name} {_table.version(name) or 'is not installed'}" for name in ("asgiref", "anyio")))
    rows = into_coroutines(arguments.rounds)
    rows += asyncio.run(out_of_coroutines(arguments.rounds))
    rows.append(asyncio.run(within_coroutines(arguments.rounds)))
    met = show(rows)
    if arguments.json:
        figures = {row.name: {name: row.median(name) for name in row.seconds} for row in rows}
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
