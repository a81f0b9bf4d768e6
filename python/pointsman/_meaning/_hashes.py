"""Whether `hash` of a text is the same in this process and in its workers.

Does not know: bytecode, how a call is followed, who calls `hash`.

Invariants:

I1. Doubt says no: a seed counts only if this process was started with it and a worker would be, too.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import FileIO

_SEED = "PYTHONHASHSEED"


def are_fixed() -> bool:
    """Whether processes started now hash texts as this one does."""
    seed = os.environ.get(_SEED, "")
    if seed in {"", "random"} or sys.flags.ignore_environment:
        return False
    if seed == "0":
        return not sys.flags.hash_randomization
    # Programs set the variable for what they start: this process has its seed from before.
    with suppress(OSError), FileIO("/proc/self/environ") as start:
        return f"{_SEED}={seed}".encode() in start.read().split(b"\0")
    return False
