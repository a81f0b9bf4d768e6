"""What this process and an executor's worker processes use of the machine: CPU seconds and bytes of memory.

Does not know executors. On Linux it reads /proc; elsewhere it knows of this process only.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LINUX = sys.platform.startswith("linux")


class CpuMeter:
    """CPU use between two looks."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._own = time.process_time()
        self._others: dict[int, float] = {}

    def percent(self, pids: Iterable[int]) -> float:
        """CPU seconds per second since the last look, of this process and `pids`, in percent of one core."""
        now, own = time.perf_counter(), time.process_time()
        others = {pid: spent for pid in pids if (spent := _cpu_seconds(pid)) is not None}
        spent = own - self._own
        # A process that was not there at the last look has spent all its time since.
        spent += sum(seconds - self._others.get(pid, 0.0) for pid, seconds in others.items())
        passed = max(now - self._since, 1e-9)
        self._since, self._own, self._others = now, own, others
        return max(0.0, 100.0 * spent / passed)


def _cpu_seconds(pid: int) -> float | None:
    """CPU seconds of a process since it began; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is dear to import
            # The name in parentheses may hold spaces; what follows the last one does not.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> int:
    """Bytes of memory that this process and `pids` hold; pages that several share count for each in equal parts."""
    return sum(filter(None, map(_memory_of, (os.getpid(), *pids))))


def _memory_of(pid: int) -> int | None:
    if not _LINUX:
        import resource

        # Kibibytes, or bytes on macOS: the most that this process has held so far.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (most if sys.platform == "darwin" else most * 1024) if pid == os.getpid() else None
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123 - pathlib is dear to import
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - pathlib is dear to import
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
