"""What do worker interpreters cost, beside worker processes? The constants of the cost model, and memory.

    python benches/interpreters.py            (CPython 3.14 or later)

Medians of 7 fresh programs of each kind, run in turn: the first result, a call by itself, a call among 500 under way
together, and a call in a batch of 1,000; then the memory that one more interpreter takes.
"""

import json
import statistics
import subprocess
import sys

ROUNDS = 7
KINDS = ("interpreters", "processes")
CHILD = """
import json, os, sys, time
from pointsman import Executor, _interpreters, _pool, _zygote

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before, began = rss(), time.perf_counter()
with Executor(1, backend=sys.argv[1]) as executor:
    executor.submit(abs, -1).result()
    first, memory = time.perf_counter() - began, rss() - before
    began = time.perf_counter()
    for _ in range(200):
        executor.submit(abs, -1).result()
    alone, began = (time.perf_counter() - began) / 200, time.perf_counter()
    for future in [executor.submit(abs, -1) for _ in range(500)]:
        future.result()
    together, began = (time.perf_counter() - began) / 500, time.perf_counter()
    list(executor.map(abs, range(20_000), chunksize=1000))
    batched = (time.perf_counter() - began) / 20_000
print(json.dumps([first, alone, together, batched, memory]))
"""


def main() -> None:
    """Print the medians."""
    told: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            answer = subprocess.run(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", CHILD, kind], capture_output=True, text=True, check=True
            )
            told[kind].append(json.loads(answer.stdout))
    print(f"{'':14}{'first result':>14}{'alone':>12}{'together':>12}{'in a batch':>12}{'memory':>12}")
    for kind, rounds in told.items():
        first, alone, together, batched, memory = map(statistics.median, zip(*rounds, strict=True))
        print(
            f"{kind:14}{first * 1e3:11.1f} ms{alone * 1e6:9.1f} us{together * 1e6:9.1f} us{batched * 1e6:9.2f} us"
            + (f"{memory / 1e6:9.1f} MB" if kind == "interpreters" else "")
        )


if __name__ == "__main__":
    main()
