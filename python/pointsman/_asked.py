"""The names that code asks for.

Does not know what they stand for.
"""

from __future__ import annotations

from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def names_in(code: CodeType) -> set[str]:
    """Return the names that code uses, of globals and of attributes."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names |= names_in(constant)
    return names


def globals_in(code: CodeType) -> Iterator[str]:
    """Yield the globals that code asks for itself, also those that a class body may have of its own."""
    # Not needed by most programs, and half a millisecond.
    from opcode import opmap

    # The last came with CPython 3.12.
    load, load_names = opmap["LOAD_GLOBAL"], (opmap["LOAD_NAME"], opmap.get("LOAD_FROM_DICT_OR_GLOBALS"))
    extend, extended = opmap["EXTENDED_ARG"], 0
    for kind, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = extended << 8 | low
        extended = argument if kind == extend else 0
        if kind == load:
            # The lowest bit says that it is loaded to be called.
            yield code.co_names[argument >> 1]
        elif kind in load_names:
            yield code.co_names[argument]
