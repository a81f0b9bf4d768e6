"""Compare the measured share of the GIL with the truth.

For each workload: what the probe saw of one call, what it predicts for two threads, and what two
threads and two processes really gained over one after the other. Run it alone on the machine:

    python benches/probe.py [seconds per call, 0.3 by default]

The prediction is min(2 cores, wall / held) for calls that compute, 2 for calls that wait. Where the
truth is far below it, look at `flip` (near 1: the GIL is passed to and fro) and at the kind of work
(memory bandwidth and page faults are seen by no probe).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import re
import socket
import sqlite3
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

from pointsman import _native

if TYPE_CHECKING:
    from collections.abc import Callable

    Body = Callable[[], object]

DATA = bytes(range(256)) * 16_000
TEXT = "one two three four five six seven eight nine ten " * 400
RECORDS = [{"id": i, "name": f"name {i}", "tags": ["a", "b", "c"], "value": i / 7} for i in range(300)]
THREADS = 2
ROUNDS = 5


def database() -> sqlite3.Connection:
    """Fill a table in memory."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table t (a integer, b text)")
    rows = ((i, f"row {i % 1000}") for i in range(60_000))
    connection.executemany("insert into t values (?, ?)", rows)
    return connection


def python_loop() -> Body:
    def body() -> None:
        total = 0
        for i in range(20_000):
            total += i * i

    return body


def mixed(milliseconds: float) -> Body:
    def body() -> None:
        until = time.thread_time() + milliseconds / 2000
        while time.thread_time() < until:
            for _ in range(50):
                pass
        until = time.thread_time() + milliseconds / 2000
        while time.thread_time() < until:
            hashlib.sha256(DATA[:200_000]).digest()

    return body


def sqlite_scan() -> Body:
    connection = database()
    return lambda: connection.execute("select count(*) from t where b like '%77%'").fetchone()


def sqlite_fetch() -> Body:
    connection = database()
    return lambda: connection.execute("select a, b from t").fetchall()


def socket_wait() -> Body:
    left, right = socket.socketpair()

    def body() -> None:
        left.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            left.recv(1)
        right.fileno()

    return body


def regex() -> Body:
    pattern = re.compile(r"(\w+) (\w+)e\b")
    return lambda: pattern.findall(TEXT)


def numpy_elementwise() -> Body:
    import numpy as np

    array = np.ones(1_000_000)
    out = np.empty_like(array)
    return lambda: np.multiply(array, 1.5, out=out)


def numpy_matmul() -> Body:
    import numpy as np

    array = np.ones((300, 300))
    return lambda: array @ array


WORKLOADS: dict[str, Callable[[], Body]] = {
    "pure Python loop": python_loop,
    "json.dumps": lambda: lambda: json.dumps(RECORDS),
    "re.findall": regex,
    "hashlib.sha256 4 MB": lambda: lambda: hashlib.sha256(DATA).digest(),
    "zlib.compress 4 MB": lambda: lambda: zlib.compress(DATA, 6),
    "sqlite scan": sqlite_scan,
    "sqlite fetch": sqlite_fetch,
    "time.sleep": lambda: lambda: time.sleep(0.02),
    "socket wait": socket_wait,
    "mixed 50/50, 20 ms": lambda: mixed(20),
    "mixed 50/50, 1 ms": lambda: mixed(1),
}
if importlib.util.find_spec("numpy"):
    WORKLOADS["numpy elementwise 8 MB"] = numpy_elementwise
    WORKLOADS["numpy matmul 300"] = numpy_matmul


def repeat(body: Body, times: int) -> None:
    for _ in range(times):
        body()


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def calibrate(body: Body, seconds: float) -> int:
    """Count how often `body` runs in so many seconds."""
    body()
    until, times = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        body()
        times += 1
    return max(times, 1)


def together(bodies: list[Body], times: int) -> float:
    """Seconds that threads need for all bodies at once."""
    threads = [threading.Thread(target=repeat, args=(body, times)) for body in bodies]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(run)


def in_child(name: str, times: int, gate: Any) -> None:
    body = WORKLOADS[name]()
    body()
    gate.wait()
    repeat(body, times)
    gate.wait()


def in_processes(name: str, times: int) -> float:
    """Seconds that processes need, from when all are ready until all are done."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(THREADS + 1)
    children = [context.Process(target=in_child, args=(name, times, gate)) for _ in range(THREADS)]
    for child in children:
        child.start()
    gate.wait()
    seconds = timed(gate.wait)
    for child in children:
        child.join()
    return seconds


def observed(body: Body, times: int) -> _native.Sample:
    probe = _native.Probe()
    probe.begin(arm_after=0.0)
    repeat(body, times)
    return probe.end()


def row(name: str, seconds: float) -> str:
    bodies = [WORKLOADS[name]() for _ in range(THREADS)]
    times = calibrate(bodies[0], seconds)
    repeat(bodies[1], 1)
    # In turn, so that what else the machine does falls on both.
    runs = [(timed(lambda: repeat(bodies[0], times)), observed(bodies[0], times)) for _ in range(ROUNDS)]
    plain = min(seconds for seconds, _ in runs)
    seen = min((sample for _, sample in runs), key=lambda sample: sample.wall)
    slowed = (seen.wall / plain - 1) * 100
    predicted = min(float(THREADS), seen.wall / seen.held) if seen.held else float(THREADS)
    threads = THREADS * seen.wall / together(bodies, times)
    processes = THREADS * seen.wall / in_processes(name, times)
    return (
        f"{name:24} {seen.held_share:5.2f} {seen.cpu / seen.wall:8.2f} {seen.flip:5.2f} {seen.samples:8} "
        f"{seen.other_cpu / seen.wall:6.2f} {slowed:+7.1f} {predicted:10.2f} {threads:8.2f} {processes:8.2f}"
    )


def price() -> str:
    """Microseconds of begin and end, one straight after the other and after a pause."""
    probe = _native.Probe()

    def median(pause: float) -> tuple[float, float]:
        begins, ends = [], []
        for _ in range(500):
            time.sleep(pause) if pause else None
            begins.append(timed(probe.begin))
            ends.append(timed(probe.end))
        return sorted(begins)[250] * 1e6, sorted(ends)[250] * 1e6

    (warm_begin, warm_end), (cold_begin, cold_end) = median(0.0), median(0.003)
    return (
        f"begin {warm_begin:.1f} us, end {warm_end:.1f} us; "
        f"after a pause of 3 ms: {cold_begin:.1f} and {cold_end:.1f} us"
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.3
    print(f"Python {sys.version.split()[0]}, {_native.probe_method()}")
    print(price())
    print(
        f"\n{'workload':24} {'held':>5} {'cpu/wall':>8} {'flip':>5} {'samples':>8} {'other':>6} "
        f"{'slow %':>7} {'predicted':>10} {'threads':>8} {'procs':>8}"
    )
    for name in WORKLOADS:
        print(row(name, seconds), flush=True)


if __name__ == "__main__":
    main()
