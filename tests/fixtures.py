"""What several test files need: programs in processes of their own, and a look at who is still alive.

What it does not know: what the programs do.

Invariants:
    X1. A program is ended, with all that it started, before its test ends, whatever happened.
    X2. Limits in seconds say "it did not hang" and nothing finer.
"""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

import pointsman

#: Seconds within which whatever was asked to end has ended (X2).
SOON = 10.0
#: Seconds within which a program that does little has done it (X2).
LIMIT = 40.0

_PACKAGE_PARENT = str(Path(pointsman.__file__).parent.parent)
_TESTS = str(Path(__file__).parent)


@dataclass
class Ended:
    """What a program left behind."""

    code: int
    out: str
    err: str


def wait_until(condition: Callable[[], bool], seconds: float = SOON) -> bool:
    """Wait for a condition; whether it came true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def runs(pid: int) -> bool:
    """Whether there is a process of this number that still runs."""
    try:
        return alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[psutil.Process]:
    """Every process that `pid` started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _waiting(pid: int) -> str:
    """What each thread of a program and of its processes waits for, as far as the system says."""
    lines = []
    for process in [pid, *(child.pid for child in family(pid))]:
        for thread in sorted(Path(f"/proc/{process}/task").glob("*")):
            with contextlib.suppress(OSError):
                said = [(thread / name).read_text().strip() for name in ("comm", "wchan", "syscall")]
                lines.append(f"process {process}, thread {thread.name}: {', '.join(said)}")
    return "\n".join(lines)


class Program:
    """A script that runs in a session of its own."""

    def __init__(self, folder: Path, source: str) -> None:
        path = folder / "program.py"
        path.write_text(textwrap.dedent(source))
        inherited = os.environ.get("PYTHONPATH", "")
        places = [_PACKAGE_PARENT, _TESTS, *filter(None, [inherited])]
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """Read the next line that the program prints; the timeout of the test is the limit."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait(self, seconds: float = LIMIT) -> Ended:
        """Wait for the end. Its pipes close only when everything that inherited them has ended, too."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            late.add_note(_waiting(self.pid))
            raise
        return Ended(self.process.returncode, out, err)


@contextlib.contextmanager
def program(folder: Path, source: str) -> Iterator[Program]:
    """Start a script, and end it with all its processes afterwards (X1)."""
    running = Program(folder, source)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        running.process.kill()
        running.process.communicate()


def run_program(folder: Path, source: str) -> str:
    """Run a script to its end and return what it printed; it must end well."""
    with program(folder, source) as running:
        ended = running.wait()
    assert ended.code == 0, ended.err
    return ended.out.strip()
