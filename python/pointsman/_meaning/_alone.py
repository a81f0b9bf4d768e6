"""What calls need for themselves: then they run one after another, on the thread that asked for them.

Threads share memory, so what calls write is seen by all. But some things serve one call at a time, or one thread only;
what is set for the whole process is set for all calls that run; and what a call reads, works on and sets again, another
may have set meanwhile.

Does not know: how code is followed, or who asks.

Invariants:

I1. A call that takes a lock is written for threads: what it reads and sets under one is its own business.
"""

from __future__ import annotations

import sys
import weakref
from types import ModuleType
from typing import TYPE_CHECKING

from ._decode import VERSION
from ._origins import class_of, full_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Words of `NO_TRAVEL` for things that one call at a time may use, or one thread.
SERVES_ONE = frozenset(
    {
        *("an open file", "an open archive", "a writer of a file", "a socket", "a network connection"),
        *("a database connection", "a database cursor", "a running process", "a running hash"),
        *("thread-local storage", "a generator", "an iterator", "an event loop", "an asyncio primitive"),
    }
)
LOCKS = frozenset({"a lock", "a condition variable", "a semaphore", "a lock of another library"})
# What sets something for the whole process until it is left again.
SWAPS = frozenset(
    {
        *("contextlib.redirect_stdout", "contextlib.redirect_stderr", "contextlib.chdir", "warnings.catch_warnings"),
        *("asyncio.get_event_loop", "asyncio.events.get_event_loop"),
    }
)
# Where others may come in between: a call, what yields, what waits.
_WAITING = frozenset(("CALL", "CALL_KW", "CALL_FUNCTION_EX", "YIELD_VALUE", "SEND", "BEFORE_WITH", "LOAD_SPECIAL"))
_FOR_ALL = frozenset(("os._Environ", "_contextvars.ContextVar", "builtins.ContextVar"))
_REENTRANT = frozenset({"_thread.RLock", "threading.Condition"})
STATE = "changes the state of the process"
_QUICK = frozenset(
    {"abs", "bool", "chr", "divmod", "float", "int", "isinstance", "len", "max", "min", "ord", "round", "str"}
)


def is_of_the_process(obj: object) -> bool:
    """Whether what is set in `obj` is set for everybody: the environment, a variable of the context, a module."""
    if isinstance(obj, ModuleType):
        return obj.__name__.partition(".")[0] in sys.stdlib_module_names
    return full_name(class_of(obj) or object) in _FOR_ALL


def torn(instructions: Sequence[tuple[str, int, int]], names: Sequence[str], slots: Sequence[str]) -> set[str]:
    """Names of globals, captured variables (as they are) and attributes (with a dot) that another call may change amid.

    They are set after they were read, or read after they were set, with a call between that may last; with brackets
    behind them where that is so of what they hold.
    """
    read: dict[str, list[int]] = {}
    # The places where each is set, and whether to something that was read of it.
    written: dict[str, list[tuple[int, bool]]] = {}
    latest = ""
    for place, (operation, argument, _offset) in enumerate(instructions):
        name = _name(operation, argument, names, slots)
        if operation == "STORE_SUBSCR" and latest:
            # What is changed in place swaps the container and the index back to where they were before.
            changes = instructions[place - 1][0] == "SWAP"
            written.setdefault(latest + "[]", []).append((place, changes))
        elif name is not None and operation.startswith("LOAD"):
            latest = name
            read.setdefault(name, []).append(place)
        elif name is not None:
            written.setdefault(name, []).append((place, True))
    if not written:
        return set()
    begun = [place for place, one in enumerate(instructions) if _takes_callee(one[0], one[1], names)]
    ended = [place for place, one in enumerate(instructions) if one[0] in _WAITING]
    return {
        name
        for name, stores in written.items()
        for reads in [read.get(name.removesuffix("[]"), [])]
        for store, changes in stores
        if (changes and any(first < call < store for first in reads[:1] for call in begun))
        or any(store < call < later for later in reads[-1:] for call in ended)
    }


def _takes_callee(operation: str, argument: int, names: Sequence[str]) -> bool:
    """Whether an instruction takes what is called soon, if that is something that may last."""
    if operation == "LOAD_GLOBAL" and argument & 1:
        return names[argument >> 1] not in _QUICK
    method = operation == "LOAD_METHOD" or (operation == "LOAD_ATTR" and VERSION >= (3, 12) and bool(argument & 1))
    return method or operation == "PUSH_NULL"


def _name(operation: str, argument: int, names: Sequence[str], slots: Sequence[str]) -> str | None:
    """What an instruction reads or sets, if that is anything that others may see."""
    if operation in {"LOAD_GLOBAL", "STORE_GLOBAL"}:
        return names[argument >> 1 if operation == "LOAD_GLOBAL" else argument]
    if operation in {"LOAD_DEREF", "STORE_DEREF"}:
        return slots[argument]
    if operation == "STORE_ATTR":
        return "." + names[argument]
    if operation == "LOAD_ATTR":
        return "." + names[argument if VERSION <= (3, 11) else argument >> 1]
    return None


def are_held(locks: Iterable[weakref.ref[object]], thread: int) -> bool:
    """Whether one of these reentrant locks is held by that thread: calls elsewhere would wait for it for ever."""
    return any(f"owner={thread} " in repr(lock()) for lock in locks)


def reentrant(locks: Iterable[object]) -> tuple[weakref.ref[object], ...]:
    """Those that say who holds them, none of them kept alive."""
    return tuple(weakref.ref(lock) for lock in locks if full_name(type(lock)) in _REENTRANT)
