"""The instructions that read and write parts of things, and the operators, in the abstract run of `_read`.

Does not know: the order in which instructions run, jumps.

Invariants:

I1. Each action leaves the stack as deep as the real instruction does.
I2. Every instruction that writes to a part of a thing notes the write.
"""

from __future__ import annotations

from ._decode import COMPARE_SHIFT, COMPARISONS, INPLACE_FIRST, SUBSCRIPT, VERSION
from ._instructions import on
from ._kinds import is_a
from ._values import EMPTY, FULL_SLICE, ITEM, NULL, SLICE, Value, step_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._read import Reader

_HOLDING = frozenset((0, 5, 7))  # a + b, a * b, a | b: the result may hold what both hold
_ORDER = frozenset(("<", "<=", ">", ">="))
_EQUAL = frozenset(("==", "!="))


# Attributes and items.


@on("LOAD_ATTR")
def _load_attr(reader: Reader, argument: int) -> None:
    if VERSION <= (3, 11):
        reader.load(step_value(reader.stack.pop(), "." + reader.code.co_names[argument]))
    elif argument & 1:
        _load_method(reader, argument >> 1)
    else:
        reader.load(step_value(reader.stack.pop(), "." + reader.code.co_names[argument >> 1]))


@on("LOAD_METHOD")
def _load_method(reader: Reader, argument: int) -> None:
    _push_method(reader, step_value(reader.stack.pop(), "." + reader.code.co_names[argument]))


def _push_method(reader: Reader, method: Value) -> None:
    # The method knows its object by its reference, so the slot for `self` is left empty.
    if VERSION <= (3, 12):
        reader.stack.append(NULL)
    reader.load(method)
    if VERSION >= (3, 13):
        reader.stack.append(NULL)


@on("LOAD_SUPER_ATTR")
def _load_super_attr(reader: Reader, argument: int) -> None:
    reader.take(3)
    name = "." + reader.code.co_names[argument >> 2]
    value: Value = frozenset({("super", "", (name,))})
    if argument & 1:
        _push_method(reader, value)
    else:
        reader.stack.append(value)


@on("LOAD_SPECIAL")
def _load_special(reader: Reader, argument: int) -> None:
    names = ("__enter__", "__exit__", "__aenter__", "__aexit__")
    _push_method(reader, step_value(reader.stack.pop(), "." + names[argument]))


@on("STORE_ATTR")
def _store_attr(reader: Reader, argument: int) -> None:
    content, container = reader.take(2)
    name = reader.code.co_names[argument]
    reader.write(f"sets `{name}` of", container, content)
    reader.facts.sets[name, container] = reader.facts.sets.get((name, container), EMPTY) | content


@on("DELETE_ATTR")
def _delete_attr(reader: Reader, argument: int) -> None:
    reader.write(f"deletes `{reader.code.co_names[argument]}` of", reader.stack.pop())


@on("BINARY_SUBSCR")
def _subscript(reader: Reader, _argument: int) -> None:
    container, key = reader.take(2)
    reader.compare("in", key, container)
    before = reader.index - 1
    constant = reader.constant(before)
    if reader.instructions[before][0] == "BUILD_SLICE":
        reader.load(step_value(container, _slice_step(reader, before)))
    elif is_a(constant, slice):
        reader.load(step_value(container, FULL_SLICE if constant == slice(None) else SLICE))
    else:
        reader.load(step_value(container, ITEM))


def _slice_step(reader: Reader, index: int) -> str:
    """Whether the two bounds loaded before `index` are left out, which is how people copy a list."""
    loads = reader.instructions[index - 2 : index]
    bare = all(name.startswith("LOAD_CONST") and reader.code.co_consts[place] is None for name, place, _ in loads)
    return FULL_SLICE if bare else SLICE


@on("BINARY_SLICE")
def _slice(reader: Reader, _argument: int) -> None:
    reader.load(step_value(reader.take(3)[0], _slice_step(reader, reader.index)))


@on("STORE_SUBSCR")
def _store_subscript(reader: Reader, _argument: int) -> None:
    content, container, _key = reader.take(3)
    reader.holders[reader.index] = reader.holders.get(reader.index, EMPTY) | container
    reader.write("stores into", container, content)


@on("STORE_SLICE")
def _store_slice(reader: Reader, _argument: int) -> None:
    content, container, _start, _stop = reader.take(4)
    reader.write("stores into", container, content | step_value(content, ITEM))


@on("DELETE_SUBSCR")
def _delete_subscript(reader: Reader, _argument: int) -> None:
    container, _key = reader.take(2)
    reader.write("deletes from", container)


@on("UNPACK_SEQUENCE")
def _unpack(reader: Reader, count: int) -> None:
    value = reader.stack.pop()
    reader.stack.extend(step_value(value, f"#{position}") for position in reversed(range(count)))


@on("UNPACK_EX")
def _unpack_rest(reader: Reader, argument: int) -> None:
    item = step_value(reader.stack.pop(), ITEM)
    before, after = argument & 255, argument >> 8
    reader.stack.extend([item] * after)
    reader.push_made(item)
    reader.stack.extend([item] * before)


# Operators.


@on("BINARY_OP")
def _binary(reader: Reader, argument: int) -> None:
    if argument == SUBSCRIPT:
        _subscript(reader, argument)
        return
    left, right = reader.take(2)
    if argument >= INPLACE_FIRST:
        made = any(ref[0] == "made" and ref[1] in reader.displays for ref in right)
        # `x[i] += 1` stores its result back, and is judged by that store; a list added to an item is not.
        stored_back = reader.instructions[reader.index + 1][0] == "SWAP"
        # Only text is added to with text.
        text = reader.constant_class() in {str, bytes}
        if left and (made or not stored_back) and not text:
            reader.facts.inplace[argument - INPLACE_FIRST, left] = None
        reader.facts.hold(left, step_value(right, ITEM))
        if left:
            reader.stack.append(left)
            return
    if argument % INPLACE_FIRST in _HOLDING and (left or right):
        reader.push_made(step_value(left, ITEM) | step_value(right, ITEM))
    else:
        reader.stack.append(EMPTY)


@on("COMPARE_OP")
def _compare(reader: Reader, argument: int) -> None:
    left, right = reader.take(2)
    name = COMPARISONS[argument >> COMPARE_SHIFT]
    if name in _EQUAL:
        reader.compare("==", left, right)
    after = reader.instructions[reader.index + 1][0]
    number = reader.constant_class() in {int, float}
    # Only plain values are told apart by one yes or no.
    if after.startswith("POP_JUMP") and (number or name in _ORDER):
        reader.facts.scalars |= left | right
    reader.stack.append(EMPTY)


@on("IS_OP", "CONTAINS_OP")
def _compare_identity(reader: Reader, _argument: int) -> None:
    left, right = reader.take(2)
    reader.compare("is" if reader.instructions[reader.index][0] == "IS_OP" else "in", left, right)
    reader.stack.append(EMPTY)


@on("COPY")
def _copy(reader: Reader, depth: int) -> None:
    reader.stack.append(reader.stack[-depth])


@on("SWAP")
def _swap(reader: Reader, depth: int) -> None:
    stack = reader.stack
    stack[-1], stack[-depth] = stack[-depth], stack[-1]


@on("PUSH_NULL")
def _push_null(reader: Reader, _argument: int) -> None:
    reader.stack.append(NULL)


@on("END_SEND")
def _end_send(reader: Reader, _argument: int) -> None:
    del reader.stack[-2]


@on("YIELD_VALUE")
def _yield(reader: Reader, _argument: int) -> None:
    reader.facts.yields |= reader.stack[-1]
    reader.stack[-1] = EMPTY
