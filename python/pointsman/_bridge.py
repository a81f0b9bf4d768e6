"""From plain code into coroutines: one event loop for each thread, kept from call to call.

Does not know who asks. The native half takes a coroutine's first step; this module makes, turns and closes loops.

Invariants:
    B1. A thread has at most one loop of ours, made at its first call, and nobody else turns it.
    B2. A loop is closed by its own thread when that ends, or by the main thread when the program ends: tasks that are
        left are cancelled and awaited, asynchronous generators finished, and then the loop is closed.
    B3. A forked child has no loop of its parent's: it never touches what they share.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from asyncio import _get_running_loop
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman import _native
from pointsman._forks import at_fork

if TYPE_CHECKING:
    import signal as _signal
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable
    from contextvars import Context
    from types import FrameType

if not TYPE_CHECKING:
    # Without the enumerations of `signal`, which cost more than a step of a coroutine.
    import _signal

T = TypeVar("T")


class _Local(threading.local):
    """What each thread has; a thread that has used no coroutine has nothing."""

    home: _Home | None = None


_local = _Local()
# All that are open. Held here, so that a forked child can tell them from its own before anything else lets go of them.
_open: set[AbstractEventLoop] = set()


class _Home:
    """A thread's loop and the way into it; it is closed when the thread's local data is dropped."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.owner = os.getpid()
        self.thread = threading.get_ident()
        # Only asyncio's own loops are known well enough to take a step beside their way of turning.
        self.bridge: _native.Bridge | None = None
        if type(loop).__module__ in _OWN and hasattr(loop, "_run_once"):
            self.bridge = _native.Bridge(
                loop, self.thread, partial(_finish, loop), partial(_run_whole, loop), take_over
            )

    def close(self) -> None:
        """Close the loop, unless it is the parent's, or runs: then whoever runs it is being ended."""
        if self.owner == os.getpid() and not self.loop.is_closed() and not self.loop.is_running():
            try:
                close_loop(self.loop)
            finally:
                _open.discard(self.loop)

    def __del__(self) -> None:
        """Close with the thread."""
        if self.thread == threading.get_ident():
            _native.Bridge.uninstall()
            self.close()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on this thread's loop, which must not be running, and return its value."""
    home = _local.home
    if home is None:
        home = _open_loop()
    value: T = _run_whole(home.loop, coroutine) if home.bridge is None else home.bridge.run(coroutine)
    return value


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a coroutine function and run its coroutine to its end, unless it has done so by itself."""
    going = function(*args, **kwargs)
    return run(going) if isinstance(going, Coroutine) else going


def _open_loop() -> _Home:
    """Make this thread's loop, as the event loop policy says."""
    _register_hooks()
    loop = asyncio.new_event_loop()
    _open.add(loop)
    _local.home = home = _Home(loop)
    if home.bridge is not None:
        home.bridge.install()
    return home


_OWN = frozenset({"asyncio.unix_events", "asyncio.windows_events", "asyncio.selector_events"})


def take_over(context: Context) -> None:
    """Set in this context the variables that were changed in a copy of it."""
    from contextvars import copy_context

    here = copy_context()
    for variable, value in context.items():
        if variable not in here or here[variable] is not value:
            variable.set(value)


# ------------------------------------------------------------------------------------------ turning


def _finish(loop: Any, task: Task[T]) -> T:
    """Turn the loop, which is entered already, until the task is done and what was ready by then has had its turn."""
    with _Interruptible(loop, task):
        turn = loop._run_once  # noqa: SLF001 - what the loop's own `run_forever` calls
        try:
            while not task.done():
                turn()
                if loop._stopping:  # noqa: SLF001 - as above
                    loop._stopping = False  # noqa: SLF001 - as above
                    _complain_unless(task.done())
            if loop._ready:  # noqa: SLF001 - as above
                turn()
                loop._stopping = False  # noqa: SLF001 - as above
        except BaseException:
            while not task.done():
                # As `asyncio.run` does when something else ends it.
                task.cancel()
                turn()
            if not task.cancelled():
                # So that nobody reports it as never asked for.
                task.exception()
            raise
        return task.result()


def _complain_unless(done: bool) -> None:
    if not done:
        message = "Event loop stopped before Future completed."
        raise RuntimeError(message)


def _run_whole(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of any kind."""
    from contextvars import copy_context

    context = copy_context()
    task = loop.create_task(coroutine, context=context)
    with _Interruptible(loop, task):
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                _run_silently(loop, task)
            elif not task.cancelled():
                task.exception()
            raise
        finally:
            if context != copy_context():
                take_over(context)


def _run_silently(loop: AbstractEventLoop, task: Task[Any]) -> None:
    with suppress(BaseException):
        loop.run_until_complete(task)


class _Interruptible:
    """While it is entered, Ctrl-C cancels the task, and a worker that waits here does not keep its pool from working.

    The rules are those of `asyncio.Runner`: on the main thread, and only where the program has no handler of its own.
    """

    __slots__ = ("interrupts", "loop", "task", "waits")

    def __init__(self, loop: AbstractEventLoop, task: Task[Any]) -> None:
        self.loop, self.task = loop, task
        self.interrupts = -1
        self.waits = False

    def __enter__(self) -> None:
        if threading.get_ident() == _main and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            _signal.signal(_signal.SIGINT, self.interrupt)
            self.interrupts = 0
        self.waits = _native.worker_waits()

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Cancel the task at the first Ctrl-C; a second one is not so polite."""
        self.interrupts += 1
        if self.interrupts == 1 and not self.task.done():
            self.task.cancel()
            # Wakes a loop that waits for its files.
            self.loop.call_soon_threadsafe(_nothing)
            return
        raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.waits:
            _native.worker_resumes()
        if self.interrupts < 0:
            return
        if _signal.getsignal(_signal.SIGINT) == self.interrupt:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        task = self.task
        if self.interrupts and task.cancelled() and task.uncancel() == 0 and kind is not KeyboardInterrupt:
            raise KeyboardInterrupt


def _nothing() -> None:
    pass


# ------------------------------------------------------------------------------------------ closing


def close_loop(loop: AbstractEventLoop) -> None:
    """Close a loop in order (B2)."""
    # Whatever loop runs here (one whose task dropped the last reference to a thread's data, say) goes on after.
    outer = _get_running_loop()
    asyncio._set_running_loop(None)  # noqa: SLF001 - public for makers of loops
    try:
        _cancel_tasks(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
        _end_executor(loop)
    finally:
        loop.close()
        asyncio._set_running_loop(outer)  # noqa: SLF001 - as above


def _end_executor(loop: AbstractEventLoop) -> None:
    """End the loop's own threads, without starting one for it, which an ending interpreter would refuse."""
    executor: Any = getattr(loop, "_default_executor", loop)
    if executor is loop:
        # Not one of asyncio's loops: it keeps its executor where nobody else can see it.
        with suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_default_executor())
    elif executor is not None:
        executor.shutdown(wait=True)


def _cancel_tasks(loop: AbstractEventLoop) -> None:
    """Cancel what is left, wait for it, and report what it raised."""
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()

    async def wait() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(wait())
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            loop.call_exception_handler(
                {"message": "a task raised while its event loop was closed", "exception": error, "task": task}
            )


def close() -> None:
    """Close this thread's loop; the next call makes a new one."""
    home, _local.home = _local.home, None
    if home is not None:
        _native.Bridge.uninstall()
        home.close()


_main = threading.main_thread().ident
_hooked = False


def _register_hooks() -> None:
    global _hooked  # noqa: PLW0603 - once per process
    if _hooked:
        return
    _hooked = True
    at_fork(_forget)
    # Loops are closed while threads can still be used: these have registered their own ends, which come after ours.
    import concurrent.futures.thread  # noqa: F401 - imported for its hook

    from pointsman.backends import threads

    threads._register_hooks()  # noqa: SLF001 - the hook must be there, threads or no threads
    with suppress(RuntimeError):
        # The program may be ending already; then only the second chance is left.
        threading._register_atexit(_end)  # type: ignore[attr-defined]  # noqa: SLF001 - what concurrent.futures uses, too
    # What ran a coroutine in an exit handler made a new loop.
    atexit.register(close)


_before_exit: list[Callable[[], object]] = []


def before_exit(call: Callable[[], object]) -> None:
    """Call something when the program ends, while threads and loops can still be used."""
    _register_hooks()
    _before_exit.append(call)


def _end() -> None:
    for call in _before_exit:
        call()
    close()


def _forget() -> None:
    """In a forked child: the loops are the parent's (B3)."""
    global _local, _main  # noqa: PLW0603 - the state of this module
    _native.Bridge.uninstall()
    _local = _Local()
    _main = threading.get_ident()
    for loop in _open:
        if not loop.is_running():
            _disown(loop)


def _disown(loop: Any) -> None:
    """Give up a loop of the parent's: to unregister anything would unregister it over there, too."""
    with suppress(AttributeError, OSError):
        loop._selector._selector.close()  # noqa: SLF001 - there is no other way to close a descriptor and nothing else
        loop._ssock.close()  # noqa: SLF001 - as above
        loop._csock.close()  # noqa: SLF001 - as above
        loop._closed = True  # noqa: SLF001 - as above
