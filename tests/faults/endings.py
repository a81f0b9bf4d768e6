"""Programs that end with work queued, again and again: no hang, no crash, no word.

python tests/faults/endings.py TIMES
"""

import os
import subprocess
import sys
from pathlib import Path

START = """
import atexit, functions, pointsman, threading

def start():
    executor = pointsman.Executor(2, backend={place!r})
    futures = [executor.submit(functions.nap, n) for n in range(30)]
    futures[0].result()
    globals()["kept"] = executor, futures

def late():
    try:
        start()
    except RuntimeError as why:
        assert "shutdown" in str(why), why
"""
ENDS = {
    "main thread": "start()",
    "daemon thread": "thread = threading.Thread(target=start, daemon=True); thread.start()",
    "atexit": "pointsman.execute(functions.square, range(9), backend={place!r}); atexit.register(late)",
    "dropped": "start(); kept = None",
}


def end(name: str, place: str) -> str | None:
    """Run one such program; returns what was wrong."""
    here = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    source = START.format(place=place) + ENDS[name].format(place=place)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"{name}, {place}: it hung"
    if ended.returncode or ended.stderr:
        return f"{name}, {place}: code {ended.returncode}, {ended.stderr}"
    return None


def main() -> int:
    """End each kind of program as often as the command line says."""
    times = int(sys.argv[1])
    wrong = [end(name, place) for _ in range(times) for name in ENDS for place in ("processes", "threads")]
    said = [what for what in wrong if what]
    print(f"{len(wrong)} ends, {len(said)} wrong", *said[:5], sep=os.linesep)  # noqa: T201 - what the command is for
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
