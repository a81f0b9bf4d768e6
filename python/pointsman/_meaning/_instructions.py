"""What each instruction that handles values does in the abstract run of `_read`.

Does not know: the order in which instructions run, jumps.

Invariants:

I1. Each action leaves the stack as deep as the real instruction does.
I2. A thing that an action cannot follow becomes EMPTY only when it is made there: a constant, a number, a text.
"""

from __future__ import annotations

from ._decode import VERSION
from ._values import EMPTY, NULL, TRUE, Value, step_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._read import Reader

    Action = Callable[[Reader, int], None]

_HOLDING = frozenset((0, 5, 7))  # a + b, a * b, a | b: the result may hold what both hold
_ORDER = frozenset(("<", "<=", ">", ">="))

SPECIAL: dict[str, Action] = {}


def on(*names: str) -> Callable[[Action], Action]:
    """Register the action for the instructions of these names."""

    def register(action: Action) -> Action:
        SPECIAL.update(dict.fromkeys(names, action))
        return action

    return register


# Variables.


@on("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_CLOSURE")
def _load_fast(reader: Reader, slot: int) -> None:
    reader.stack.append(reader.locals[slot])


@on("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW")
def _load_two(reader: Reader, slots: int) -> None:
    reader.stack.append(reader.locals[slots >> 4])
    reader.stack.append(reader.locals[slots & 15])


@on("LOAD_FAST_AND_CLEAR")
def _load_and_clear(reader: Reader, slot: int) -> None:
    reader.stack.append(reader.locals[slot])
    reader.locals[slot] = EMPTY


def _store(reader: Reader, slot: int) -> None:
    value = reader.stack.pop()
    reader.locals[slot] = value
    name = reader.slots[slot]
    if name in reader.cells:
        reader.facts.cells[name] = reader.facts.cells.get(name, EMPTY) | value


@on("STORE_FAST")
def _store_fast(reader: Reader, slot: int) -> None:
    _store(reader, slot)


@on("STORE_FAST_STORE_FAST")
def _store_two(reader: Reader, slots: int) -> None:
    _store(reader, slots >> 4)
    _store(reader, slots & 15)


@on("STORE_FAST_LOAD_FAST")
def _store_load(reader: Reader, slots: int) -> None:
    _store(reader, slots >> 4)
    reader.stack.append(reader.locals[slots & 15])


@on("DELETE_FAST")
def _delete_fast(reader: Reader, slot: int) -> None:
    reader.locals[slot] = EMPTY


@on("LOAD_DEREF", "LOAD_CLASSDEREF")
def _load_deref(reader: Reader, slot: int) -> None:
    if slot < reader.first_free:
        reader.stack.append(reader.locals[slot])
    else:
        reader.load(frozenset({("free", reader.slots[slot], ())}))


@on("LOAD_FROM_DICT_OR_DEREF")
def _load_class_deref(reader: Reader, slot: int) -> None:
    reader.stack.pop()
    _load_deref(reader, slot)


@on("STORE_DEREF")
def _store_deref(reader: Reader, slot: int) -> None:
    if slot < reader.first_free:
        _store(reader, slot)
    else:
        reader.stack.pop()
        reader.facts.free_writes[reader.slots[slot]] = None


@on("DELETE_DEREF")
def _delete_deref(reader: Reader, slot: int) -> None:
    if slot < reader.first_free:
        reader.locals[slot] = EMPTY
    else:
        reader.facts.free_writes[reader.slots[slot]] = None


@on("LOAD_GLOBAL")
def _load_global(reader: Reader, argument: int) -> None:
    value: Value = frozenset({("global", reader.code.co_names[argument >> 1], ())})
    if argument & 1 and VERSION <= (3, 12):
        reader.stack.append(NULL)
    reader.load(value)
    if argument & 1 and VERSION >= (3, 13):
        reader.stack.append(NULL)


@on("LOAD_NAME")
def _load_name(reader: Reader, argument: int) -> None:
    name = reader.code.co_names[argument]
    if name in reader.names:
        # The body of a class has made it, above.
        reader.stack.append(reader.names[name])
    else:
        reader.load(frozenset({("global", name, ())}))


@on("STORE_NAME")
def _store_name(reader: Reader, argument: int) -> None:
    name = reader.code.co_names[argument]
    reader.names[name] = reader.names.get(name, EMPTY) | reader.stack.pop()


@on("LOAD_BUILD_CLASS")
def _load_build_class(reader: Reader, _argument: int) -> None:
    reader.stack.append(frozenset({("global", "__build_class__", ())}))


@on("SETUP_ANNOTATIONS")
def _set_annotations_up(reader: Reader, _argument: int) -> None:
    reader.names["__annotations__"] = EMPTY


@on("LOAD_FROM_DICT_OR_GLOBALS")
def _load_class_global(reader: Reader, argument: int) -> None:
    reader.stack.pop()
    _load_name(reader, argument)


@on("STORE_GLOBAL")
def _store_global(reader: Reader, argument: int) -> None:
    reader.stack.pop()
    reader.facts.global_writes[reader.code.co_names[argument]] = None


@on("DELETE_GLOBAL")
def _delete_global(reader: Reader, argument: int) -> None:
    reader.facts.global_writes[reader.code.co_names[argument]] = None


@on("LOAD_CONST", "LOAD_CONST_IMMORTAL")
def _load_const(reader: Reader, argument: int) -> None:
    reader.stack.append(TRUE if reader.code.co_consts[argument] is True else EMPTY)


@on("IMPORT_NAME")
def _import_name(reader: Reader, argument: int) -> None:
    # The value pushed by `import a.b` is `a`; `import a.b as c` goes on from it with IMPORT_FROM.
    from_list = reader.constant(reader.index - 1)
    level = reader.constant(reader.index - 2)
    del reader.stack[-2:]
    name = reader.code.co_names[argument]
    if level:
        reader.stack.append(EMPTY)
        return
    reader.load(frozenset({("module", name if from_list else name.partition(".")[0], ())}))


@on("IMPORT_FROM")
def _import_from(reader: Reader, argument: int) -> None:
    reader.load(step_value(reader.stack[-1], "." + reader.code.co_names[argument]))
