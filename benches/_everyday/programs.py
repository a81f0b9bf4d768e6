"""Work done by other programs: waiting, as this process sees it."""

from __future__ import annotations

import subprocess
import sys


def child_sleeps(x: int) -> int:
    """Wait for another program that waits."""
    return subprocess.run(["sleep", "0.02"], check=True).returncode + x  # noqa: S607 - wherever it is


def child_computes(x: int) -> int:
    """Wait for another program that computes: the cores set the limit."""
    code = f"print(sum(i * i % 7 for i in range(200_000)) + {x})"
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True)  # noqa: S603
    return int(answer.stdout)
