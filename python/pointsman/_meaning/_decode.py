"""Bytecode as a list of instructions, and what each simple one does to the stack.

Written for CPython 3.11 to 3.14; the shapes of later versions are unknown, and reading them is refused.

Does not know: what values are, what an instruction means.

Invariants:

I1. Every instruction is in `SIMPLE`, is handled by name in `_read`, or makes reading fail: none is skipped.
I2. Jump targets are indices into the list that `decode` returns, whatever prefixes and caches lie between.
"""

from __future__ import annotations

import opcode
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

VERSION = sys.version_info[:2]
READABLE = (3, 11) <= VERSION <= (3, 14)

# name: (taken from the stack, made things put there).
SIMPLE: dict[str, tuple[int, int]] = {
    "NOP": (0, 0),
    "NOT_TAKEN": (0, 0),
    "RESUME": (0, 0),
    "PRECALL": (0, 0),
    "MAKE_CELL": (0, 0),
    "COPY_FREE_VARS": (0, 0),
    "ANNOTATIONS_PLACEHOLDER": (0, 0),
    "DELETE_NAME": (0, 0),
    "ASYNC_GEN_WRAP": (0, 0),
    "LIST_TO_TUPLE": (0, 0),
    "CHECK_EG_MATCH": (2, 2),
    "CHECK_EXC_MATCH": (1, 1),
    "POP_TOP": (1, 0),
    "POP_ITER": (1, 0),
    "POP_EXCEPT": (1, 0),
    "PRINT_EXPR": (1, 0),
    "IMPORT_STAR": (1, 0),
    "END_ASYNC_FOR": (2, 0),
    "UNARY_POSITIVE": (1, 1),
    "UNARY_NEGATIVE": (1, 1),
    "UNARY_NOT": (1, 1),
    "UNARY_INVERT": (1, 1),
    "TO_BOOL": (1, 1),
    "CONVERT_VALUE": (1, 1),
    "FORMAT_SIMPLE": (1, 1),
    "FORMAT_WITH_SPEC": (2, 1),
    "PREP_RERAISE_STAR": (2, 1),
    "CALL_INTRINSIC_2": (2, 1),
    "BUILD_TEMPLATE": (2, 1),
    "CLEANUP_THROW": (3, 2),
    "LOAD_LOCALS": (0, 1),
    "LOAD_ASSERTION_ERROR": (0, 1),
    "LOAD_COMMON_CONSTANT": (0, 1),
    "LOAD_SMALL_INT": (0, 1),
    "RETURN_GENERATOR": (0, 1),
    "GET_LEN": (0, 1),
    "MATCH_MAPPING": (0, 1),
    "MATCH_SEQUENCE": (0, 1),
    "PUSH_EXC_INFO": (0, 1),
    "WITH_EXCEPT_START": (0, 1),
    "END_FOR": (2, 0) if VERSION <= (3, 12) else (1, 0),
    # Kept as they are: an iterator or an awaitable stands for what it was made from.
    "GET_ITER": (0, 0),
    "GET_AITER": (0, 0),
    "GET_YIELD_FROM_ITER": (0, 0),
    "GET_AWAITABLE": (0, 0),
    "CALL_INTRINSIC_1": (0, 0),
}
ENDS = frozenset(("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"))
COMPARISONS = opcode.cmp_op
COMPARE_SHIFT = 0 if VERSION <= (3, 11) else 4 if VERSION == (3, 12) else 5
INPLACE_FIRST, SUBSCRIPT = 13, 26
_CACHE = 0

Instruction = tuple[str, int, int]
"""Name, argument, offset."""


_RELATIVE = frozenset(opcode.opname[op] for op in opcode.hasjrel) - {"END_ASYNC_FOR"}


def decode(code: CodeType) -> tuple[list[Instruction], dict[int, int], dict[int, int]]:
    """The instructions of `code`, where each offset lies in that list, and the target of each jump."""
    raw, names, extended = code.co_code, opcode.opname, opcode.opmap["EXTENDED_ARG"]
    instructions: list[Instruction] = []
    starts: list[int] = []
    index_at: dict[int, int] = {}
    start, prefix = -1, 0
    for offset in range(0, len(raw), 2):
        op = raw[offset]
        if op == _CACHE:
            continue
        if start < 0:
            start = offset
        argument = raw[offset + 1] | prefix
        if op == extended:
            prefix = argument << 8
            continue
        index_at[start] = index_at[offset] = len(instructions)
        instructions.append((names[op], argument, offset))
        starts.append(start)
        start, prefix = -1, 0
    starts.append(len(raw))
    targets = {}
    for index, (name, argument, _offset) in enumerate(instructions):
        if name in _RELATIVE:
            distance = -2 * argument if "BACKWARD" in name else 2 * argument
            targets[index] = index_at[starts[index + 1] + distance]
    return instructions, index_at, targets


def handlers(code: CodeType, index_at: dict[int, int]) -> dict[int, tuple[int, int, int]]:
    """For every protected instruction: the index of its handler, the stack that it keeps, what it finds on top."""
    table = code.co_exceptiontable
    if not table:
        return {}
    found: dict[int, tuple[int, int, int]] = {}
    stream = iter(table)

    def number() -> int:
        byte = next(stream)
        value = byte & 63
        while byte & 64:
            byte = next(stream)
            value = value << 6 | byte & 63
        return value

    offsets = sorted(index_at)
    while True:
        try:
            start = number() * 2
        except StopIteration:
            return found
        stop = start + number() * 2
        target = index_at[number() * 2]
        depth = number()
        for offset in offsets:
            if start <= offset < stop:
                found[index_at[offset]] = (target, depth >> 1, 1 + (depth & 1))
