"""Worker interpreters: other interpreters of this process, each with a GIL of its own, in the standard library's pool.

The same calls, results and errors as with worker processes. An extension module that has not been written for several
interpreters cannot be imported there (numpy is one); a call that needs it fails with `BarredError`.

Does not know jobs or plans.

Invariants:
    T1. The package's native half is never imported in a worker interpreter: what runs there is plain Python.
    T2. A worker interpreter sees this program's `sys.path` before anything of the program's is imported there.
    T3. No worker interpreter is idle when this process forks: CPython (3.14.10) crashes in a child that was forked
        while another interpreter was alive.
"""

from __future__ import annotations

import re
import sys
import threading
import weakref

# Before a pool of ours is registered: its hook at the program's end, which waits for calls, is to run after ours.
from concurrent.futures.interpreter import InterpreterPoolExecutor  # type: ignore[import-not-found,unused-ignore]
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from pointsman import _errors, _machine
from pointsman._forks import at_fork
from pointsman._interpreter_worker import imports_of, load
from pointsman._naming import name_of
from pointsman._standard import StandardProcesses
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman._standard_worker import Sent

# What CPython, and Cython, say of a module that is barred from worker interpreters.
_BARS = re.compile(r"module (\S+) does not support loading in subinterpreters|one interpreter per process")

# Seconds that a fork waits for calls in worker interpreters to end. Arbitrary.
_BEFORE_FORK = 5.0

_all: weakref.WeakSet[Interpreters] = weakref.WeakSet()
_hooked = False

# Runs in a new interpreter, which knows nothing of this program yet (T2).
_BEGIN = """
import sys
sys.path[:] = path
sys.argv[:] = argv
# Programs import more than that, and what cannot be imported here (T1).
sys._xoptions["pointsman_worker"] = True
from pointsman._interpreter_worker import begin
begin(packed)
"""


class Interpreters(StandardProcesses):
    """A pool of worker interpreters. They start when calls wait and none is idle."""

    kind: ClassVar[str] = "interpreter"

    def __init__(
        self,
        count: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **others: Any,
    ) -> None:
        super().__init__(count, initializer=initializer, initargs=initargs, **others)
        self._packed = dumps_anyway((initializer, initargs)) if initializer is not None else None
        _all.add(self)
        _register()

    def _make(self) -> Any:
        names = {"path": list(sys.path), "argv": list(sys.argv), "packed": self._packed}
        return InterpreterPoolExecutor(
            self.size, thread_name_prefix="pointsman-interpreter", initializer=exec, initargs=(_BEGIN, names)
        )

    @property
    def workers(self) -> int:
        """Worker interpreters that are alive."""
        return len(getattr(self._pool, "_threads", ()))

    def rest(self, until: float) -> bool:
        """End the interpreters, new ones start with the next call; whether they have ended by then."""
        pool = self._pool
        if pool is None:
            return True
        threads = list(getattr(pool, "_threads", ()))
        if not self.closed:
            self._pool = None
            pool.shutdown(wait=False)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def explain(self, why: BaseException, name: str, index: int | None) -> BaseException:
        """Return our error for one of the standard pool's."""
        if not isinstance(why, _standard_broken()):
            return why
        call = name if index is None else f"{name} (item {index})"
        begun = f"the initializer {name_of(self._initializer)} raised" if self._initializer else "it could not be begun"
        message = f"{call} was not run, for there is no worker interpreter to run it: {begun}"
        error: BaseException = _errors.broken_pool(message, type(why))
        error.__cause__ = why
        self._broken = error
        return error

    def unpack(self, sent: Sent, name: str, index: int | None) -> tuple[Any, BaseException | None]:
        """Return the value or the exception of a call."""
        value, error = super().unpack(sent, name, index)
        module = None if error is None else barred_by(error)
        if error is None or module is None:
            return value, error
        call = name if index is None else f"{name} (item {index})"
        barred = _errors.BarredError(
            f"{call} needs {module}, which cannot be loaded in a worker interpreter; "
            f"use backend='processes', or 'threads'"
        )
        barred.__cause__ = error
        return None, barred

    def try_out(self, function: Callable[..., Any], items: list[Any]) -> None:
        """Load a function and inputs in a worker, and what the function imports, without making a call.

        Raises
        ------
        CannotTravelError
            If that fails; a `BarredError` if it is for a module that is barred from interpreters.

        """
        fresh, began = not self.workers, perf_counter()
        name = name_of(function)
        sent = self.send(load, dumps_anyway(function), dumps_anyway(items), imports_of(function, sys.modules))
        try:
            _value, error = self.open(sent, name)
        finally:
            sent.cancel()
        if fresh and error is None:
            _machine.record("interpreter_start", perf_counter() - began)
        if isinstance(error, _errors.CannotTravelError):
            raise error
        if error is not None:
            message = f"{name} cannot be loaded in a worker interpreter: {type(error).__name__}: {error}"
            raise _errors.CannotTravelError(message) from error


def _register() -> None:
    global _hooked  # noqa: PLW0603 - once per process
    if not _hooked:
        _hooked = True
        at_fork(_all.clear, before=_before_fork)


def _before_fork() -> None:
    """End the worker interpreters (T3)."""
    until = monotonic() + _BEFORE_FORK
    rested = [pool.rest(until) for pool in list(_all)]
    if not all(rested):
        from warnings import warn

        message = "this process forks while calls run in worker interpreters: the child may crash in CPython"
        warn(message, RuntimeWarning, stacklevel=2)


def _standard_broken() -> type[BaseException]:
    from concurrent.futures import BrokenExecutor

    return BrokenExecutor


def barred_by(error: BaseException) -> str | None:
    """The module that is to blame, if this is the error of one that is barred from worker interpreters."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ImportError) and (found := _BARS.search(str(seen))) is not None:
            return found[1] or "an extension module"
        seen = seen.__cause__
    return None
