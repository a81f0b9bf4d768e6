"""In which order queued calls of an executor begin: their priorities, and the choice of a scheduler.

Does not know how calls are queued; the native scheduler does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from pointsman._errors import InvalidArgumentError


class TaskPriority(IntEnum):
    """How urgent a call is among those that wait in the queue of its executor.

    The more urgent goes first, those of one priority in the order of their submission. One exception keeps calls from
    waiting for ever: a call that 1,000 others submitted later have passed by goes next. A call that has begun is
    never interrupted.
    """

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


def check_priority(priority: Any) -> TaskPriority:
    """Return a priority, if it is one."""
    if not isinstance(priority, bool) and priority in list(TaskPriority):
        return TaskPriority(priority)
    allowed = ", ".join(f"{one.name} ({one.value})" for one in TaskPriority)
    message = f"priority must be a TaskPriority, one of {allowed}, not {priority!r}"
    raise InvalidArgumentError(message)


class WorkStealingScheduler:
    """Every thread has a queue of its own, and takes from those of others when that is empty.

    Calls submitted from outside are dealt to the threads in turn. A call that a thread submits itself goes to its own
    queue, from which it takes the newest first (its data is still in the cache) while others take the oldest (it is
    likely to be the largest part that is left). Calls of another priority than NORMAL wait in one queue for all.

    Without it there is one queue for all threads, first in first out. Only for threads: between worker processes
    calls are always taken by whoever is idle.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
