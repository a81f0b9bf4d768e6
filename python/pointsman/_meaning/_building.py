"""The instructions that build things and call things, in the abstract run of `_read`.

Does not know: the order in which instructions run, jumps, what is called.

Invariants:

I1. Each action leaves the stack as deep as the real instruction does.
I2. What is put into a thing made here can be found again through it.
"""

from __future__ import annotations

from ._decode import VERSION
from ._instructions import on
from ._kinds import is_a
from ._values import EMPTY, ITEM, NULL, Value, step_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._read import Reader

_DEFAULTS, _KEYWORD_DEFAULTS = 1, 2


@on("BUILD_LIST", "BUILD_TUPLE", "BUILD_SET")
def _build(reader: Reader, count: int) -> None:
    reader.displays.add(reader.instructions[reader.index][2])
    reader.push_made(EMPTY.union(*reader.take(count)))


@on("BUILD_MAP")
def _build_map(reader: Reader, count: int) -> None:
    reader.displays.add(reader.instructions[reader.index][2])
    reader.push_made(EMPTY.union(*reader.take(2 * count)[1::2]))


@on("BUILD_CONST_KEY_MAP")
def _build_const_map(reader: Reader, count: int) -> None:
    reader.push_made(EMPTY.union(*reader.take(count + 1)[:-1]))


@on("BUILD_STRING")
def _build_string(reader: Reader, count: int) -> None:
    reader.take(count)
    reader.stack.append(EMPTY)


@on("BUILD_SLICE")
def _build_slice(reader: Reader, count: int) -> None:
    reader.take(count)
    reader.stack.append(EMPTY)


@on("FORMAT_VALUE")
def _format(reader: Reader, argument: int) -> None:
    reader.take(2 if argument & 4 else 1)
    reader.stack.append(EMPTY)


@on("BUILD_INTERPOLATION")
def _interpolation(reader: Reader, argument: int) -> None:
    reader.take(2 + (argument & 1))
    reader.stack.append(EMPTY)


@on("LIST_APPEND", "SET_ADD")
def _append(reader: Reader, depth: int) -> None:
    content = reader.stack.pop()
    reader.facts.hold(reader.stack[-depth], content)


@on("MAP_ADD")
def _map_add(reader: Reader, depth: int) -> None:
    _key, content = reader.take(2)
    reader.facts.hold(reader.stack[-depth], content)


@on("LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE")
def _extend(reader: Reader, depth: int) -> None:
    content = step_value(reader.stack.pop(), ITEM)
    reader.facts.hold(reader.stack[-depth], content)


# Matching: parts of the subject.


@on("MATCH_KEYS")
def _match_keys(reader: Reader, _argument: int) -> None:
    reader.push_made(step_value(reader.stack[-2], ITEM))


@on("MATCH_CLASS")
def _match_class(reader: Reader, _argument: int) -> None:
    subject, _cls, _names = reader.take(3)
    reader.push_made(step_value(subject, ITEM))


# Functions and calls.


@on("MAKE_FUNCTION")
def _make_function(reader: Reader, flags: int) -> None:
    code = reader.constant(reader.index - 1)
    reader.stack.pop()
    site = reader.instructions[reader.index][2]
    if VERSION <= (3, 12):
        held = reader.take((flags & 15).bit_count())
        defaults = held[: (flags & (_DEFAULTS | _KEYWORD_DEFAULTS)).bit_count()]
        reader.facts.defaults[site] = step_value(EMPTY.union(*defaults), ITEM)
    reader.facts.inner[site] = code  # type: ignore[assignment]
    reader.stack.append(frozenset({("func", site, ())}))


@on("SET_FUNCTION_ATTRIBUTE")
def _set_function_attribute(reader: Reader, flag: int) -> None:
    held = reader.stack.pop(-2)
    if flag in {_DEFAULTS, _KEYWORD_DEFAULTS}:
        for _kind, site, _steps in reader.stack[-1]:
            if is_a(site, int):
                before = reader.facts.defaults.get(site, EMPTY)
                reader.facts.defaults[site] = before | step_value(held, ITEM)


@on("KW_NAMES")
def _keyword_names(reader: Reader, argument: int) -> None:
    reader.keywords = reader.code.co_consts[argument]


def _called(reader: Reader, args: list[Value]) -> tuple[Value, list[Value]]:
    """Pop the callable and the slot for `self` from below the arguments."""
    first, second = reader.take(2)
    if VERSION <= (3, 12):
        # A pair of (NULL, callable), or of (callable, first argument).
        return (second, args) if first == NULL else (first, [second, *args])
    return (first, args) if second == NULL else (first, [second, *args])


def _call(reader: Reader, args: list[Value], names: tuple[str, ...]) -> None:
    kwargs = {}
    if names:
        kwargs = dict(zip(names, args[-len(names) :], strict=True))
        args = args[: -len(names)]
    callee, args = _called(reader, args)
    if not args and callee == frozenset({("global", "super", ())}):
        reader.stack.append(frozenset({("super", "", ())}))
        return
    reader.call(callee, args, kwargs, EMPTY)


@on("CALL")
def _plain_call(reader: Reader, count: int) -> None:
    names, reader.keywords = reader.keywords, ()
    _call(reader, reader.take(count), names)


@on("CALL_KW")
def _keyword_call(reader: Reader, count: int) -> None:
    names = reader.constant(reader.index - 1)
    reader.stack.pop()
    _call(reader, reader.take(count), names)  # type: ignore[arg-type]


@on("CALL_FUNCTION_EX")
def _star_call(reader: Reader, flags: int) -> None:
    star = EMPTY
    if VERSION >= (3, 14) or flags & 1:
        star = step_value(reader.stack.pop(), ITEM)
    star |= step_value(reader.stack.pop(), ITEM)
    first, second = reader.take(2)
    reader.call(second if VERSION <= (3, 12) else first, [], {}, star)


@on("BEFORE_WITH")
def _before_with(reader: Reader, _argument: int) -> None:
    _enters(reader, ".__enter__", ".__exit__")


@on("BEFORE_ASYNC_WITH")
def _before_async_with(reader: Reader, _argument: int) -> None:
    _enters(reader, ".__aenter__", ".__aexit__")


def _enters(reader: Reader, enter: str, leave: str) -> None:
    manager = reader.stack.pop()
    # Offsets are even, so the odd one beside it is free for the second call made here.
    reader.call(step_value(manager, leave), [], {}, EMPTY, extra=1)
    reader.call(step_value(manager, enter), [], {}, EMPTY)


@on("GET_ANEXT")
def _async_next(reader: Reader, _argument: int) -> None:
    reader.stack.append(step_value(reader.stack[-1], ITEM))
