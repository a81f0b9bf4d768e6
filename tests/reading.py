"""What the tests of calls before their turn share: a function that only computes, and where functions can be read.

What it does not know: what reading a function is for.
"""

import pytest

from pointsman._meaning._decode import READABLE

readable = pytest.mark.skipif(
    not READABLE, reason="the bytecode of this Python is not known, so nothing is called ahead"
)


def work(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += i & 3
    return total
