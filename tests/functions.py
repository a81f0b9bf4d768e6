"""Calls for the tests to run: importable, so that they travel by name, and each odd in one way.

What it does not know: pytest, or which backend runs it.

Invariants:
    F1. What a call did is told by its result or by one `write` to a file opened for appending, which is whole
        whichever process or thread makes it.
"""

import contextvars
import ctypes
import enum
import os
import signal
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple, Self

#: Read by calls that must see the context of whoever submitted them.
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")

#: Seconds after which a call that waits for others gives up: generous, since it is never reached when all is well.
PATIENCE = 20.0


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Label(str):
    """A string by inheritance, which must come back as what it is."""

    __slots__ = ()


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - the plain kind, too


class Span(NamedTuple):
    """When and where a call ran; the clock is the same for all processes of a machine."""

    began: float
    ended: float
    process: int
    thread: int


class Boom(Exception):  # noqa: N818 - it is not our error
    """An exception with more to it than a text."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.code = code


class NeedsTwo(Exception):  # noqa: N818 - it is not our error
    """Pickles, and then nobody can make it: its class wants two arguments and its `args` hold one."""

    def __new__(cls, first: str, second: str) -> Self:
        return super().__new__(cls, f"{first} and {second}")

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class LoadsBadly:
    """Pickles well, and raises when it is unpickled in the process that is not `home`."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_badly, (os.getpid(),)


def _load_badly(home: int) -> LoadsBadly:
    if os.getpid() != home:
        raise ValueError("this one stays at home")
    return LoadsBadly(home)


def square(x: int) -> int:
    return x * x


def same(x: Any) -> Any:
    return x


def add(x: int, y: int) -> int:
    return x + y


def takes(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def early_is_slow(x: int) -> int:
    """Finish the first calls last."""
    time.sleep(max(0, 20 - x) * 0.002)
    return x


def nap(x: int) -> int:
    time.sleep(0.005)
    return x


def sleep_long(x: int) -> int:
    """Sleep for longer than any test lasts."""
    time.sleep(300)
    return x


def spin(x: int) -> int:
    """Hold the GIL for some milliseconds."""
    total = 0
    for n in range(100_000):
        total += n
    return x + total - total


def sum_up_to(count: int) -> int:
    return sum(number for number in range(count))


def note(path: str, text: Any) -> Any:
    """Append a line to a file (F1)."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)
    return text


def note_and_nap(path: str, text: Any) -> Any:
    note(path, text)
    time.sleep(0.005)
    return text


def note_and_fail_at(path: str, bad: int, text: int) -> int:
    note_and_nap(path, text)
    if text == bad:
        raise Boom("this is the one", text)
    return text


def span(seconds: float) -> Span:
    began = time.monotonic()
    time.sleep(seconds)
    return Span(began, time.monotonic(), os.getpid(), threading.get_ident())


def meet(folder: str, count: int, who: int) -> bool:
    """Wait until `count` calls are here at the same time; whether they came."""
    note(os.path.join(folder, str(who)), "here")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if len(os.listdir(folder)) >= count:
            return True
        time.sleep(0.002)
    return False


def wait_at(gate: str, which: int, x: int) -> int:
    """Last until there is a file `gate`, if this is the call with that input; the others take a moment."""
    until = time.monotonic() + (PATIENCE if x == which else 0.0)
    time.sleep(0.003)
    while time.monotonic() < until and not os.path.exists(gate):
        time.sleep(0.002)
    return x


def process(_: Any = None) -> int:
    return os.getpid()


def who_asked(_: Any = None) -> str:
    return WHO.get()


def deep_inside(x: Any) -> None:
    raise Boom(f"no luck with {x}", 7)


def fail(x: Any) -> None:
    deep_inside(x)


def fail_with_cause_and_notes(x: Any) -> None:
    try:
        {}[x]
    except KeyError as why:
        error = Boom("nothing found", 9)
        error.add_note("a note of the call")
        raise error from why


def fail_at_seven(x: int) -> int:
    if x == 7:
        raise ValueError("seven")
    return x


def fail_if_odd(x: int) -> int:
    if x % 2:
        raise Boom("odd", x)
    return x


def die_once(path: str, x: int) -> int:
    """End the process at the first call with that path."""
    if not os.path.exists(path):
        with open(path, "w", encoding="ascii"):
            os._exit(3)
    return x


def fail_late_or_at_once(x: int) -> int:
    """Fail slowly at 3, and at once at 7."""
    if x == 3:
        time.sleep(0.3)
    if x in {3, 7}:
        raise Boom("failed", x)
    return x


def raise_kind(kind: type[BaseException]) -> None:
    raise kind("this kind")


def stop_at_thirty(x: int) -> int:
    if x == 30:
        raise StopIteration(x)
    return x


def raise_two(_: Any = None) -> None:
    raise NeedsTwo("one", "two")


def raise_lock(_: Any = None) -> None:
    held = threading.Lock()

    class HoldsLock(Exception):  # noqa: N818 - it is not our error
        """Cannot be pickled at all: nobody finds it by its name, and it has a lock of its own."""

        __qualname__ = "HoldsLock"
        lock = held

    raise HoldsLock("holds a lock")


def give_lock(_: Any = None) -> Any:
    return threading.Lock()


def give_generator(_: Any = None) -> Any:
    return (n for n in range(3))


def give_bad_loader(_: Any = None) -> LoadsBadly:
    return LoadsBadly(os.getpid())


def leave(code: int) -> None:
    raise SystemExit(code)


def end_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def end_by_exit(code: int) -> None:
    os._exit(code)


def end_by_abort(_: Any = None) -> None:
    os.abort()


def end_by_segfault(_: Any = None) -> None:
    ctypes.string_at(0)


def end_at(bad: int, x: int) -> int:
    """Kill the process that runs call `bad`, and no other."""
    if x == bad:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(PATIENCE)
    return x * 10


async def a_coroutine_function(x: int) -> int:
    return x


def give_coroutine(x: int) -> Any:
    return a_coroutine_function(x)


def affine(x: int) -> int:
    return x * 3 + 1


class FailsAt:
    """Raises at some inputs."""

    def __init__(self, bad: frozenset[int]) -> None:
        self.bad = bad

    def __call__(self, x: int) -> int:
        if x in self.bad:
            raise Boom("bad", x)
        return x


#: What is called, in the process that sets it, when a result of `give_unpacked` is unpacked.
WHEN_UNPACKED: list[Callable[[], object]] = []


def unpacked() -> int:
    for called in WHEN_UNPACKED:
        called()
    return 7


class Unpacked:
    """Runs code when it is unpacked."""

    def __reduce__(self) -> Any:
        return unpacked, ()


def give_unpacked() -> Unpacked:
    return Unpacked()
