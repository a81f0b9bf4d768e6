"""Calls for the tests of worker interpreters, which import this module by name: it needs nothing that is barred there.

What it does not know: pytest, or where it runs.
"""

import asyncio
import os
import time
from typing import Any


def interpreter(_: Any = None) -> int:
    """Identify the interpreter that runs this."""
    from concurrent import interpreters

    number: int = interpreters.get_current().id
    return number


def place_of(x: int) -> tuple[int, int]:
    """Take a moment, and tell the process that runs this."""
    time.sleep(0.01)
    return x, os.getpid()


def with_numpy(x: int) -> int:
    import numpy

    return int(numpy.sum([x, x]))


async def add_later(x: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return x + 1, id(asyncio.get_running_loop())
