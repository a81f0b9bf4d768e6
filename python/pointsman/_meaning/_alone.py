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

from ._decode import SUBSCRIPT, VERSION
from ._kinds import is_a
from ._origins import class_of, full_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._values import Ref, Value

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
_WAITING = frozenset(
    ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "YIELD_VALUE", "SEND", "BEFORE_WITH", "BEFORE_ASYNC_WITH", "LOAD_SPECIAL")
)
_CONSTANT = frozenset(("LOAD_CONST", "LOAD_CONST_IMMORTAL", "LOAD_SMALL_INT"))
_FOR_ALL = frozenset(("os._Environ", "_contextvars.ContextVar", "builtins.ContextVar"))
_REENTRANT = frozenset({"_thread.RLock", "threading.Condition"})
STATE = "changes the state of the process"
_QUICK = frozenset(
    {"abs", "bool", "chr", "divmod", "float", "int", "isinstance", "len", "max", "min", "ord", "round", "str"}
)


def is_of_the_process(obj: object) -> bool:
    """Whether what is set in `obj` is set for everybody: the environment, a variable of the context, a module."""
    if is_a(obj, ModuleType):
        return obj.__name__.partition(".")[0] in sys.stdlib_module_names
    return full_name(class_of(obj) or object) in _FOR_ALL


def torn(
    instructions: Sequence[tuple[str, int, int]],
    names: Sequence[str],
    slots: Sequence[str],
    constants: Sequence[object],
    holders: dict[int, Value],
) -> set[str]:
    """Names of globals, captured variables (as they are) and attributes (with a dot) that another call may change amid.

    They are set after they were read, or read after they were set, with a call between that may last; with brackets
    behind them where that is so of what they hold. `holders` are the containers into which an instruction stores.
    """
    read: dict[str, list[int]] = {}
    # The places where each is set, and whether to something that was read of it.
    written: dict[str, list[tuple[int, bool]]] = {}
    # Where the entries that are changed in place were read; one may be in the middle of another.
    opened: list[int] = []
    # Names of containers, and between which places one of their entries is changed.
    changed: list[tuple[str, int, int]] = []
    # Entries of a constant key that were read, and of which container.
    looked_up: set[tuple[str, object]] = set()
    # Where `get` is taken for that.
    looking: set[int] = set()
    for place, (operation, argument, _offset) in enumerate(instructions):
        name = _name(operation, argument, names, slots)
        entry = _entry(instructions[max(place - 2, 0) : place + 1], names, slots, constants)
        if operation == "STORE_SUBSCR":
            # What is changed in place swaps the container and the index back to where they were before.
            in_place = instructions[place - 1][0] == "SWAP"
            begun_at = opened.pop() if opened and in_place else place
            for holder in map(name_of_holder, holders.get(place, ())):
                changed.append((holder, begun_at, place))
                written.setdefault(holder, []).append((place, in_place or entry in looked_up))
        elif entry is not None:
            looked_up.add(entry)
            looking.add(place - 1)
        elif _is_subscript(operation, argument) and _copies(instructions, place):
            opened.append(place)
        if name is not None and operation.startswith("LOAD"):
            read.setdefault(name, []).append(place)
        elif name is not None:
            written.setdefault(name, []).append((place, True))
    if not written:
        return set()
    begun = [
        place for place, one in enumerate(instructions) if place not in looking and _takes_callee(one[0], one[1], names)
    ]
    ended = [place for place, one in enumerate(instructions) if one[0] in _WAITING]
    torn_entries = {holder for holder, first, last in changed if any(first < call < last for call in begun)}
    return torn_entries | {
        name
        for name, stores in written.items()
        for reads in [read.get(name.removesuffix("[]"), [])]
        for store, changes in stores
        if (changes and any(first < call < store for first in reads[:1] for call in begun))
        or any(store < call < later for later in reads[-1:] for call in ended)
    }


def name_of_holder(ref: Ref) -> str:
    """What a container is called in `torn` whose entries are set: its own name, or that of what it lies in."""
    kind, root, steps = ref
    named = [step for step in steps if step.startswith(".")]
    return (named[-1] if named else str(root) if kind in {"global", "free", "arg"} else "") + "[]"


def _copies(instructions: Sequence[tuple[str, int, int]], place: int) -> bool:
    """Whether a container and an index were copied for what comes here: they are needed once more."""
    return [one[:2] for one in instructions[max(place - 2, 0) : place]] == [("COPY", 2), ("COPY", 2)]


def _is_subscript(operation: str, argument: int) -> bool:
    return operation == "BINARY_SUBSCR" or (operation == "BINARY_OP" and argument == SUBSCRIPT)


def stashed(
    instructions: Sequence[tuple[str, int, int]],
    names: Sequence[str],
    slots: Sequence[str],
    holders: dict[int, Value],
) -> frozenset[str]:
    """Names of globals, captured variables and attributes (with a dot) set to no constant, and not read before.

    Those of `holders`, as in `torn`, of which an entry of a constant key is set.
    """
    read: set[str] = set()
    found: set[str] = set()
    for place, (operation, argument, _offset) in enumerate(instructions):
        if operation == "STORE_SUBSCR" and instructions[place - 1][0] in _CONSTANT:
            found.update(map(name_of_holder, holders.get(place, ())))
        name = _name(operation, argument, names, slots)
        if name is None:
            continue
        if operation.startswith("LOAD"):
            read.add(name)
        elif name not in read:
            # What an attribute is set of comes between the value and the setting.
            value = instructions[max(place - (2 if operation == "STORE_ATTR" else 1), 0)][0]
            if value not in _CONSTANT:
                found.add(name)
    return frozenset(found)


def _entry(
    instructions: Sequence[tuple[str, int, int]],
    names: Sequence[str],
    slots: Sequence[str],
    constants: Sequence[object],
) -> tuple[str, object] | None:
    """The container and the constant key that the last of three instructions looks up or sets, or is to `get`."""
    if len(instructions) < 3:  # noqa: PLR2004 - as the name of what is given says
        return None
    (holder, held, _), (middle, between, _), (operation, argument, _) = instructions
    container = _name(holder, held, names, slots)
    gets = middle in {"LOAD_METHOD", "LOAD_ATTR"} and operation in _CONSTANT
    if gets and names[between if middle == "LOAD_METHOD" or VERSION <= (3, 11) else between >> 1] != "get":
        return None
    looks = operation == "STORE_SUBSCR" or _is_subscript(operation, argument)
    key = (operation, argument) if gets else (middle, between)
    if container is None or not (gets or looks) or key[0] not in _CONSTANT:
        return None
    return container, key[1] if key[0] == "LOAD_SMALL_INT" else constants[key[1]]


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
