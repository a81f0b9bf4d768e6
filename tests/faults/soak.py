"""Hours of use in minutes: pools that come and go, jobs, deaths, timeouts, large data; and nothing may pile up.

    python tests/faults/soak.py SECONDS POOLS

Prints descriptors, threads, processes and memory as it goes, and ends with code 1 if they grow, or if any result is wrong.
"""

import concurrent.futures
import gc
import os
import sys
import time
from functools import partial
from typing import NamedTuple

import psutil

import functions
import pointsman

#: Rounds before the first look: caches fill, modules are imported, threads start.
WARM_UP = 3
#: Workers of the largest pool. As many wait for the next pool when it has ended.
LARGEST = 3
#: Bytes by which memory may differ between two looks. Arbitrary: allocators keep what was freed; a leak of one large
#: argument for each round would be far beyond it.
SLACK = 48 << 20


class Figures(NamedTuple):
    """What must not grow."""

    descriptors: int
    threads: int
    processes: int
    zombies: int
    private: int
    shared: int


def figures() -> Figures:
    """Look at this process and its children, after what is ending has had a second to end."""
    gc.collect()
    time.sleep(1.0)
    me = psutil.Process()
    children = me.children(recursive=True)
    zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in children if child.is_running())
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    private, shared = (int(lines[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem"))
    return Figures(me.num_fds(), me.num_threads(), len(children) - zombies, zombies, private, shared)


def use_the_default() -> None:
    """Run what programs run without an executor of their own."""
    assert pointsman.execute(functions.square, range(20_000), backend="processes") == [n * n for n in range(20_000)]
    assert sum(map(len, pointsman.map(bytes, [300_000] * 40, backend="processes"))) == 12_000_000
    results = pointsman.execute(partial(functions.end_at, 7), range(20), backend="processes", on_error="return")
    assert [n for n, result in enumerate(results) if isinstance(result, pointsman.WorkerDied)] == [7]
    late = pointsman.execute(time.sleep, [0, 30, 0], timeout=1.0, on_error="return")
    assert [type(result) for result in late] == [type(None), pointsman.CallTimeoutError, type(None)]
    for value in pointsman.map(functions.nap, range(10**6), backend="processes"):
        if value == 20:
            break


def use_a_pool(workers: int) -> None:
    """Make a pool, use it in every way, and end it."""
    with pointsman.Executor(workers, backend="processes") as executor:
        futures = [executor.submit(functions.square, n) for n in range(300)]
        told: list[int] = []
        futures[9].add_done_callback(lambda done: told.append(done.result()))
        victim = executor.submit(functions.end_by_exit, 3)
        stopped = executor.submit(functions.sleep_long, 1)
        large = [executor.submit(functions.same, bytes(400_000)) for _ in range(10)]
        unread = [executor.submit(bytes, 400_000) for _ in range(10)]
        assert [future.result(60) for future in futures] == [n * n for n in range(300)]
        assert isinstance(victim.exception(60), pointsman.WorkerDied)
        while not stopped.cancel(kill=True):
            time.sleep(0.001)
        assert all(len(future.result(60)) == 400_000 for future in large)
        concurrent.futures.wait(unread, 60)
    assert told == [81]


def flat(before: Figures, after: Figures) -> bool:
    """Whether nothing has grown; memory within the slack."""
    counts = all(new <= old for old, new in zip(before[:4], after[:4], strict=True))
    return counts and all(new <= old + SLACK for old, new in zip(before[4:], after[4:], strict=True))


def main() -> int:
    """Soak for as long, and through as many pools, as the command line says."""
    seconds, pools = float(sys.argv[1]), int(sys.argv[2])
    for _ in range(WARM_UP):
        use_the_default()
        use_a_pool(LARGEST)
    before = figures()
    print("before", before, flush=True)  # noqa: T201 - what the command is for
    until, done, shown = time.monotonic() + seconds, 0, time.monotonic()
    while time.monotonic() < until or done < pools:
        use_a_pool(1 + done % LARGEST)
        done += 1
        if done % 5 == 0:
            use_the_default()
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            print(f"{done} pools", figures(), flush=True)  # noqa: T201 - as above
    after = figures()
    print(f"after {done} pools", after, os.linesep + ("flat" if flat(before, after) else "grown"))  # noqa: T201 - as above
    return 0 if flat(before, after) else 1


if __name__ == "__main__":
    sys.exit(main())
