"""Every way to end a worker from within, and objects that do it when they are packed or unpacked.

What it does not know: pytest, or at which stage of a call it is used.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

import functions


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(functions.PATIENCE)


def segfault() -> None:
    no_words()
    ctypes.string_at(0)


def abort_in_c() -> None:
    no_words()
    ctypes.CDLL(None).abort()


def leave() -> None:
    os._exit(7)


def exit_in_c() -> None:
    ctypes.CDLL(None)._exit(9)


def no_words() -> None:
    import faulthandler

    faulthandler.disable()


#: By what the error of the victim must say.
WAYS = {
    "SIGKILL": kill,
    "SIGSEGV": segfault,
    "SIGABRT": abort_in_c,
    "code 7": leave,
    "code 9": exit_in_c,
}


def end(how: str) -> None:
    WAYS[how]()


def end_later(how: str, seconds: float) -> int:
    """Return at once, and end the process some time later, whatever it does then."""

    def strike() -> None:
        time.sleep(seconds)
        end(how)

    threading.Thread(target=strike, daemon=True).start()
    return os.getpid()


class DiesWhenLoaded:
    """Ends the process that unpickles it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return end, (self.how,)


class DiesWhenSaved:
    """Ends the process that pickles it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        end(self.how)
        return object, ()


class ExitsWhenLoaded:
    """Leaves by `sys.exit` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


class ExitsWhenSaved:
    """Leaves by `sys.exit` when it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        sys.exit(3)


def give(kind: type, *args: Any) -> Any:
    """Return an object that is made here, so that it is packed here."""
    return kind(*args)
