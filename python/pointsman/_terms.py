"""What the caller asks for besides the call: how long it may run, how often, and whether a cancel stops it for real.

Does not know how a backend keeps the terms; only which can.
"""

from __future__ import annotations

from functools import cached_property
from operator import index

from pointsman import _native
from pointsman._errors import CallTimeoutError, InvalidArgumentError, InvalidTypeError
from pointsman._retrying import Retrying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Seconds of the longest timeout: thirty years.
_LONGEST = 1e9
# Retries that fit the native counter; nobody means more.
_MOST_RETRIES = 1_000_000
# Whose workers may die under a call, and whose calls can be begun again, but not stopped.
_CLUSTERS = ("dask", "ray")


class Terms:
    """The terms of a call, checked.

    Parameters
    ----------
    timeout
        Seconds that a call may run, from when it begins, its repetitions in `retry_on` included.
    retries
        How often a call is begun again whose worker process died; with `retry_on`, also one that raised those. The two
        are counted apart: after a death its exceptions count anew.
    retry_on
        An exception class or a tuple of them. `TimeoutError` covers calls that were stopped by `timeout`.
    kill_on_cancel
        Whether `Future.cancel` stops a call that runs, and leaving a `map` early those that run for it.

    """

    def __init__(
        self,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[Exception] | tuple[type[Exception], ...] = (),
        *,
        kill_on_cancel: bool = False,
    ) -> None:
        self.timeout: float | None = _seconds(timeout)
        self.retries: int = _count(retries)
        self.retry_on: tuple[type[Exception], ...] = _kinds(retry_on)
        if kill_on_cancel is not True and kill_on_cancel is not False:
            message = f"kill_on_cancel must be True or False, not {kill_on_cancel!r}"
            raise InvalidTypeError(message)
        self.kill_on_cancel: bool = kill_on_cancel
        if self.retry_on and not self.retries:
            message = "retry_on names what to begin again, but retries says never: give retries=1 or more"
            raise InvalidArgumentError(message)

    @property
    def needs_process(self) -> bool:
        """Whether only a process of its own can keep them: a thread cannot be stopped from outside."""
        return self.timeout is not None or self.kill_on_cancel

    @cached_property
    def native(self) -> _native.Terms | None:
        """The part that the pool of worker processes keeps."""
        if not (self.needs_process or self.retries):
            return None
        late = any(issubclass(CallTimeoutError, kind) for kind in self.retry_on)
        return _native.Terms(self.timeout, self.retries, late, self.kill_on_cancel)

    def native_for(self, *, standard: bool) -> _native.Terms | None:
        """The same, for a pool that may be the standard library's: there a call that raises begins itself again."""
        return None if standard and self.retry_on and not self.needs_process else self.native

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, or one that calls it again when it raises what `retry_on` names."""
        return Retrying(function, self.retries, self.retry_on) if self.retry_on else function

    def check(self, backend: str) -> None:
        """Raise `InvalidArgumentError` if this backend cannot keep the terms."""
        # A loop takes coroutines only, which can be stopped where they wait.
        if backend in ("auto", "processes", "asyncio"):
            return
        reason = None
        if backend in _CLUSTERS and not self.needs_process:
            return
        if self.timeout is not None and backend != "threads":
            reason = "timeout= must be able to stop a call, and only a process can be stopped"
        elif self.kill_on_cancel:
            reason = "kill_on_cancel= must be able to stop a call, and only a process can be stopped"
        elif self.retries and not self.retry_on:
            reason = "retries= alone is for calls whose worker process died; name exceptions with retry_on="
        if reason is not None:
            message = f"{reason}: use backend='processes' or 'auto' instead of {backend!r}"
            raise InvalidArgumentError(message)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"timeout must be a number of seconds, not {value!r}"
        raise InvalidTypeError(message)
    if not value > 0:
        message = f"timeout must be a positive number of seconds, not {value!r}"
        raise InvalidArgumentError(message)
    # None of them is waited for; the largest are no floats.
    return float(min(value, _LONGEST))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        message = f"retries must be a whole number, not {value!r}"
        raise InvalidTypeError(message)
    count = index(value)
    if not 0 <= count <= _MOST_RETRIES:
        message = f"retries must be from 0 to {_MOST_RETRIES}, not {value!r}"
        raise InvalidArgumentError(message)
    return count


def _kinds(value: Any) -> tuple[type[Exception], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            message = f"retry_on must be an exception class or a tuple of them, not {value!r}"
            raise InvalidTypeError(message)
    return kinds


NONE = Terms()
