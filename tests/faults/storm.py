"""A storm of random kills over a pool that works; run by a test in its short form, by `nox -s storm` in the long one.

    python tests/faults/storm.py CALLS KILLS

Every call must settle exactly once, with its own result or with `WorkerDied`; at the end the pool must still work. Prints
the figures, and ends with code 1 if anything was wrong.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

import pointsman


def work(n: int) -> tuple[int, int]:
    """Take from no time to a millisecond, and say for whom it was."""
    if n % 16 == 0:
        time.sleep(n % 7 * 0.00015)
    return n, n * n


def storm(calls: int, kills: int, seed: int = 1) -> dict[str, int]:
    """Run the calls, kill workers at random meanwhile, and count what became of the calls."""
    draw = random.Random(seed)  # noqa: S311 - which worker dies is no secret
    settled: Counter[int] = Counter()
    done = threading.Event()
    struck = 0
    with pointsman.Executor(4, backend="processes") as executor:
        executor.submit(work, 0).result(60)

        def strike() -> None:
            nonlocal struck
            while not done.is_set():
                time.sleep(draw.expovariate(300))
                pids = executor._pool.native.pids()
                if pids and struck < kills:
                    # It may have died of the blow before.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(draw.choice(pids), draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV]))
                        struck += 1

        killer = threading.Thread(target=strike)
        killer.start()
        wrong = died = 0
        n = 0
        while n < calls or struck < kills:
            batch = [(number, executor.submit(work, number)) for number in range(n, n + 500)]
            n += len(batch)
            for number, future in batch:
                future.add_done_callback(lambda _, number=number: settled.update([number]))
            for number, future in batch:
                error = future.exception(60)
                if error is None:
                    wrong += future.result() != (number, number * number)
                elif isinstance(error, pointsman.WorkerDied):
                    died += 1
                else:
                    wrong += 1
        done.set()
        killer.join()
        works = [executor.submit(work, k).result(60)[1] for k in range(100)] == [k * k for k in range(100)]
    deadline = time.monotonic() + 30
    while sum(settled.values()) < n and time.monotonic() < deadline:
        time.sleep(0.01)
    twice = sum(count != 1 for count in settled.values())
    return {
        "calls": n,
        "kills": struck,
        "died": died,
        "wrong": wrong,
        "settled": len(settled),
        "settled not once": twice,
        "works": works,
    }


def main() -> int:
    """Run the storm that the command line asks for."""
    began = time.monotonic()
    figures = storm(int(sys.argv[1]), int(sys.argv[2]))
    print(*(f"{name}: {figure}" for name, figure in figures.items()), sep=", ")  # noqa: T201 - what the command is for
    print(f"{time.monotonic() - began:.1f} s")  # noqa: T201 - as above
    good = figures["works"] and not figures["wrong"] and not figures["settled not once"]
    return 0 if good and figures["settled"] == figures["calls"] and figures["died"] <= figures["kills"] else 1


if __name__ == "__main__":
    sys.exit(main())
