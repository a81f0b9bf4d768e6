"""An executor of the caller's own as a backend: its name, its kind, and how many calls it runs at a time.

Does not know how calls are sent to it. It is used and never shut down.
"""

from __future__ import annotations

import sys

from pointsman._errors import InvalidArgumentError
from pointsman._naming import BACKENDS, CLUSTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from typing import Any

    from pointsman._terms import Terms

# Where the classes are whose workers are known; an executor of theirs cannot be there before their module is.
_KINDS = (
    ("concurrent.futures.interpreter", "InterpreterPoolExecutor", "interpreter"),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "thread"),
    ("concurrent.futures.process", "ProcessPoolExecutor", "process"),
)


class Lent:
    """What is known of an executor of the caller's."""

    __slots__ = ("executor", "kind", "name", "ours", "workers")

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self.executor: concurrent.futures.Executor = executor
        name = type(executor).__name__
        # A class that is called as a backend of ours is not to be taken for that.
        self.name: str = name if name not in (*BACKENDS, *CLUSTERS) else f"{type(executor).__module__}.{name}"
        # Whether it is a `pointsman.Executor`, which runs coroutine functions by itself.
        self.ours: bool = _is_a(executor, "pointsman._executor", "Executor")
        # "thread", "process", "interpreter" or "other".
        self.kind: str = _own_kind(executor) if self.ours else _kind(executor)
        workers = getattr(executor, "_max_workers", None)
        # 0 if it does not say.
        self.workers: int = workers if type(workers) is int and workers > 0 else 0

    @property
    def apart(self) -> bool:
        """Whether it is known that its workers share no memory with the caller."""
        return not self.ours and self.kind in ("process", "interpreter")

    def check(self, terms: Terms, max_workers: Any) -> None:
        """Raise for what was asked for beside an executor that only its maker can decide."""
        if max_workers is not None:
            message = (
                f"max_workers={max_workers!r} beside an executor of yours: the count of the {self.name} holds; "
                f"leave it out, or make the executor with that many workers"
            )
            raise InvalidArgumentError(message)
        asked = [name for name in ("timeout", "kill_on_cancel") if getattr(terms, name)]
        if terms.retries and not terms.retry_on:
            asked.append("retries (without retry_on)")
        if asked:
            message = (
                f"{' and '.join(asked)} cannot be kept in an executor of yours, whose workers are not ours to stop "
                f"or replace: use backend='processes' or 'auto' instead of the {self.name}"
            )
            raise InvalidArgumentError(message)


def lent(backend: Any, terms: Terms, max_workers: Any) -> Lent | None:
    """Return what is known of the caller's executor, if the backend is one, once what is said beside it is checked."""
    if isinstance(backend, str):
        return None
    import concurrent.futures

    if isinstance(backend, type) and issubclass(backend, concurrent.futures.Executor):
        message = f"backend must be a name or an executor that was made, and {backend.__name__} is a class: make one"
        raise InvalidArgumentError(message)
    if not isinstance(backend, concurrent.futures.Executor):
        return None
    found = Lent(backend)
    found.check(terms, max_workers)
    return found


def _is_a(executor: object, module: str, name: str) -> bool:
    known = getattr(sys.modules.get(module), name, None)
    return isinstance(known, type) and isinstance(executor, known)


def _kind(executor: object) -> str:
    # The interpreters' class is derived from that of threads.
    return next((kind for module, name, kind in _KINDS if _is_a(executor, module, name)), "other")


def _own_kind(executor: Any) -> str:
    return {"threads": "thread", "processes": "process", "interpreters": "interpreter"}.get(executor._backend, "other")  # noqa: SLF001 - ours
