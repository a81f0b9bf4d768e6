"""Decorated functions, and ways to call them, that the tests of `smartasync` share."""

import asyncio
import concurrent.futures
import contextvars
import subprocess
import sys
import textwrap
import threading

from pointsman import smartasync

variable = contextvars.ContextVar("variable", default="unset")


@smartasync
async def double(x, *, plus=0):
    await asyncio.sleep(0)
    return 2 * x + plus


@smartasync
async def at_once(x):
    return x


@smartasync
def thread_name(x=None):
    return threading.current_thread().name


@smartasync
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def on_a_thread(function, *args):
    """Call a function on a fresh thread, which ends before its value is returned."""
    got = concurrent.futures.Future()

    def work():
        try:
            got.set_result(function(*args))
        except BaseException as error:
            got.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    return got.result(0)


# A program that hangs says where. asyncio's remarks on slow callbacks tell of the machine, not of us.
_PREAMBLE = """
import faulthandler, logging
faulthandler.dump_traceback_later(40, exit=True)
logging.getLogger("asyncio").setLevel(logging.ERROR)
"""


def script(source, *arguments):
    """Run a program with warnings shown; what it printed, and what it complained of."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", _PREAMBLE + textwrap.dedent(source), *arguments],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
