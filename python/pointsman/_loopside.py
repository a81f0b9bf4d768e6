"""Inside a running event loop: futures that a thread or a worker process will settle.

Outcomes arrive through one port for each loop, which wakes it once for all that arrive meanwhile. Does not know where
calls run.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pointsman import _native
from pointsman._errors import RunningLoopError
from pointsman._naming import name_of

if TYPE_CHECKING:
    import concurrent.futures
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator
    from contextvars import Context

T = TypeVar("T")


class _Cancellable(Protocol):
    def cancel(self) -> bool: ...


class Arriving(asyncio.Future[T]):
    """The outcome of a call that runs elsewhere: can be awaited, gathered, and made a task of.

    Cancelling it cancels the call, if that has not begun. Variables that the call sets are set for whoever awaits it.
    """

    __slots__ = ("_driven", "call", "changed")

    # What runs elsewhere, and the variables before and after if it changed any. Set by whoever makes it, or not at all.
    call: _Cancellable
    _driven: Generator[Any, Any, T]
    changed: tuple[Context, Context]

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the call if it has not begun; nobody learns of its outcome in any case."""
        call = getattr(self, "call", None)
        if call is not None:
            call.cancel()
        return super().cancel(msg)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome."""
        if not self.done():
            yield from super().__await__()
        changed = getattr(self, "changed", None)
        if changed is not None:
            take_changes(*changed)
        return self.result()

    __iter__ = __await__

    # What makes it a coroutine to `create_task` and to task groups, which take nothing else.

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine does."""
        try:
            driven = self._driven
        except AttributeError:
            driven = self._driven = self.__await__()
        return driven.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise inside, as a coroutine does."""
        try:
            driven = self._driven
        except AttributeError:
            driven = self._driven = self.__await__()
        return driven.throw(*error)

    def close(self) -> None:
        """End a wait that was begun by `send`."""
        driven = getattr(self, "_driven", None)
        if driven is not None:
            driven.close()


def take_changes(before: Context, after: Context) -> None:
    """Set here the variables that differ between two contexts."""
    for variable, value in after.items():
        if variable not in before or before[variable] is not value:
            variable.set(value)


# For loops that cannot be given an attribute.
_ports: weakref.WeakKeyDictionary[AbstractEventLoop, _native.Port] = weakref.WeakKeyDictionary()


def port_of(loop: AbstractEventLoop) -> _native.Port:
    """The port of a loop."""
    try:
        return loop._pointsman_port  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001 - ours
    except AttributeError:
        pass
    port = _ports.get(loop)
    if port is None:
        port = _open_port(loop)
    return port


def _open_port(loop: AbstractEventLoop) -> _native.Port:
    outside = weakref.ref(loop)

    def wake() -> None:
        loop, port = outside(), inside()
        # A loop that is closed has nobody left who waits.
        if loop is not None and port is not None and not loop.is_closed():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(port.drain)

    # A descriptor wakes the loop without the GIL and in half the time.
    watched = sys.platform == "linux" and _can_watch(loop)
    port = _native.Port(Arriving, {"loop": loop}, _ask, None if watched else wake)
    inside = weakref.ref(port)
    if watched:
        loop.add_reader(port.fileno(), port.drain)
    try:
        loop._pointsman_port = port  # type: ignore[attr-defined]  # noqa: SLF001 - ours
    except AttributeError:
        _ports[loop] = port
    return port


def _can_watch(loop: AbstractEventLoop) -> bool:
    """Whether a loop watches descriptors; one that does not says so in its own way."""
    return type(loop).__module__ in {"asyncio.unix_events", "uvloop"}


def _ask(serve: Any) -> None:
    """Let a thread serve a port."""
    from pointsman import _default

    _default.threads_for_loops().native.submit(serve, ())  # type: ignore[unused-awaitable]  # nobody waits for it


def arriving(future: concurrent.futures.Future[T], loop: AbstractEventLoop) -> Arriving[T]:
    """Return a future of `loop` that gets the outcome of `future`, and cancels it when it is cancelled."""
    waiting: Arriving[T] = Arriving(loop=loop)
    waiting.call = future
    future.add_done_callback(partial(port_of(loop).forward, waiting))
    return waiting


def in_trio() -> bool:
    """Whether this is code of a task of trio."""
    trio = sys.modules.get("trio")
    # A module that is being imported has no attributes yet, and no tasks either.
    lowlevel = getattr(trio, "lowlevel", None)
    return lowlevel is not None and lowlevel.in_trio_task()


def refuse_running_loop(fn: Callable[..., Any]) -> None:
    """Raise if an event loop runs on this thread: to wait for a coroutine here would keep that loop from running it."""
    if asyncio._get_running_loop() is None and not in_trio():  # noqa: SLF001 - documented
        return
    name = name_of(fn)
    message = (
        f"{name} is a coroutine function, and an event loop runs on this thread: run() would have to wait for it in "
        f"the thread that runs it; write `await pointsman.submit({name}, ...)` or `await {name}(...)` here, or call "
        f"run() from another thread"
    )
    raise RunningLoopError(message)
