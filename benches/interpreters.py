"""What do worker interpreters cost? The constants of the cost model: start, one batch, one call in a batch, memory.

    python benches/interpreters.py            (CPython 3.14 or later)

Medians of 5 fresh pools. A batch's cost is that of the caller and of the main interpreter's part of the hand-over: with
many batches under way, seconds per batch.
"""

import statistics
import time

import psutil

from pointsman._interpreters import Interpreters
from pointsman._standard_job import StandardJob

ROUNDS = 5
BATCHES = 400
CALLS = 1000


def through(pool: Interpreters, batches: int, calls: int) -> float:
    """Seconds for that many batches of that many calls of `abs`, all under way together."""
    job = StandardJob(pool, abs, star=False, keep_going=False, base=0)
    items = list(range(calls))
    began = time.perf_counter()
    for _ in range(batches):
        job.push(items)
    done = 0
    while done < batches * calls:
        job.wait()
        done += len(job.take()[0])
    return time.perf_counter() - began


def measure() -> tuple[float, float, float, float]:
    """Measure one fresh pool: start, batch, call, and bytes per interpreter."""
    before = psutil.Process().memory_info().rss
    pool = Interpreters(1)
    began = time.perf_counter()
    pool.try_out(abs, [1])
    start = time.perf_counter() - began
    through(pool, 20, 1)
    memory = psutil.Process().memory_info().rss - before
    batch = through(pool, BATCHES, 1) / BATCHES
    call = (through(pool, 20, CALLS) / 20 - batch) / CALLS
    pool.shutdown()
    return start, batch, call, memory


def main() -> None:
    """Print the medians."""
    starts, batches, calls, memory = zip(*(measure() for _ in range(ROUNDS)), strict=True)
    print(f"interpreter_start           {statistics.median(starts) * 1e3:8.1f} ms")
    print(f"interpreter_dispatch_alone  {statistics.median(batches) * 1e6:8.1f} us")
    print(f"interpreter_dispatch        {statistics.median(calls) * 1e6:8.2f} us")
    print(f"memory of one               {max(memory) / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
