"""Reads one code object: an abstract run over its bytecode that follows where values come from.

Every path is followed, with the values of all paths joined where they meet, until nothing new is found.

Does not know: what a name stands for (`_follow` does), what is harmful (`_tables` does).

Invariants:

I1. The stack of the abstract run has the depth of the real one at every instruction; a step that cannot
    keep this raises `Unreadable`, and no facts come out.
I2. Values only grow where paths meet, so the run ends (`_values` I1).
"""

from __future__ import annotations

import weakref

from . import _access, _building  # noqa: F401 - these register their instructions in SPECIAL
from ._alone import stashed, torn
from ._decode import ENDS, READABLE, SIMPLE, VERSION, decode, handlers
from ._instructions import SPECIAL
from ._tables import MUTATORS
from ._values import EMPTY, ITEM, TRUE, Call, Facts, Unreadable, Value, step_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_VARARGS, _VARKEYWORDS = 0x04, 0x08
_MAX_STEPS = 60_000
_WITH_DEFAULT = 2
_OUTSIDE = frozenset(("global", "free", "arg", "module"))
# Those that hand on what they are given, to a file or a database, and keep none of it.
_HANDS_ON = frozenset(["write", "writelines", "execute", "executemany", "executescript", "sendall", "sendto"])
_KEEPERS = MUTATORS - _HANDS_ON
_GROWS = frozenset(("extend", "extendleft", "update"))


_cache: dict[int, tuple[weakref.ref[CodeType], Facts]] = {}


def read(code: CodeType) -> Facts:
    """The facts of `code`, read once as long as it lives."""
    key = id(code)
    entry = _cache.get(key)
    if entry is not None and entry[0]() is code:
        return entry[1]
    if not READABLE:
        message = f"the bytecode of Python {VERSION[0]}.{VERSION[1]}"
        raise Unreadable(message)
    try:
        facts = Reader(code).run()
    except (IndexError, KeyError) as error:
        message = f"unusual bytecode ({error!r})"
        raise Unreadable(message) from error
    drop = _cache.pop

    # Bound here, because the module may be empty by the time that the last code goes.
    def forget(_gone: object) -> None:
        drop(key, None)

    _cache[key] = (weakref.ref(code, forget), facts)
    return facts


class Reader:
    """One abstract run over one code object."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.facts = Facts(code)
        self.instructions, index_at, self.targets = decode(code)
        self.handlers = handlers(code, index_at)
        self.joins = set(self.targets.values()) | {target for target, _depth, _pushed in self.handlers.values()}
        own = code.co_varnames
        self.slots = own + tuple(name for name in code.co_cellvars if name not in own) + code.co_freevars
        self.first_free = len(self.slots) - len(code.co_freevars)
        self.cells = frozenset(code.co_cellvars)
        self.stack: list[Value] = []
        self.locals: list[Value] = []
        self.names: dict[str, Value] = {}
        """What the body of a class has made so far, on whatever path."""
        self.states: dict[int, tuple[list[Value], list[Value]]] = {}
        self.pending: set[int] = set()
        self.keywords: tuple[str, ...] = ()
        self.holders: dict[int, Value] = {}
        """The containers into which the instructions store that set entries."""
        self.index = 0
        self.displays: set[int] = set()
        """Where lists, sets and dicts are written out, as opposed to being the result of an operator."""

    def run(self) -> Facts:
        """Follow every path to its end."""
        flags = self.code.co_flags
        arguments = self.code.co_argcount + self.code.co_kwonlyargcount
        arguments += bool(flags & _VARARGS) + bool(flags & _VARKEYWORDS)
        first = [frozenset({("arg", name, ())}) for name in self.slots[:arguments]]
        for name, value in zip(self.slots, first, strict=False):
            if name in self.cells:
                self.facts.cells[name] = value
        self.states[0] = ([], [*first, *([EMPTY] * (len(self.slots) - arguments))])
        self.pending.add(0)
        budget = _MAX_STEPS
        while self.pending:
            index = min(self.pending)
            self.pending.discard(index)
            stack, local = self.states[index]
            self.stack, self.locals = stack.copy(), local.copy()
            budget -= self._path(index)
            if budget < 0:
                message = "more paths than it is worth following"
                raise Unreadable(message)
        self.facts.settle()
        names, constants = self.code.co_names, self.code.co_consts
        self.facts.torn = torn(self.instructions, names, self.slots, constants, self.holders)
        self.facts.stashed = stashed(self.instructions, names, self.slots, self.holders)
        return self.facts

    def _path(self, index: int) -> int:  # noqa: C901,PLR0912 - the inner loop: calls would double its time
        """Run on from `index` until the path ends or joins one already followed; returns the steps taken."""
        steps, instructions, protected = 0, self.instructions, self.handlers
        joins, simple, special, stack = self.joins, SIMPLE, SPECIAL, self.stack
        told: tuple[int, int, int] | None = None
        while True:
            if steps and index in joins:
                if not self._meet(index, stack):
                    return steps
                self.pending.discard(index)
                known = self.states[index]
                stack, self.locals = known[0].copy(), known[1].copy()
                self.stack = stack
                told = None
            name, argument, _offset = instructions[index]
            self.index = index
            steps += 1
            handler = protected.get(index)
            if handler is not None and handler != told:
                # The handler sees the locals as they are here, and after every store that follows.
                self._protect(handler)
            told = handler
            effect = simple.get(name)
            if effect is not None:
                taken, made = effect
                if taken:
                    del stack[-taken:]
                if made:
                    stack.extend([EMPTY] * made)
            elif name in ENDS:
                if name == "RETURN_VALUE":
                    if len(stack) != 1:
                        message = "a stack of the wrong depth"
                        raise Unreadable(message)
                    self.facts.returns |= stack[-1]
                elif name == "RAISE_VARARGS" and argument:
                    self.facts.raised |= EMPTY.union(*stack[-argument:])
                return steps
            elif index in self.targets:
                if not self._jump(name, self.targets[index]):
                    return steps
            else:
                action = special.get(name)
                if action is None:
                    message = f"the instruction {name}"
                    raise Unreadable(message)
                action(self, argument)
                if handler is not None and name.startswith(("STORE_FAST", "STORE_DEREF")):
                    self._protect(handler)
            index += 1

    def _protect(self, handler: tuple[int, int, int]) -> None:
        """An exception may happen here: its handler sees the locals as they are now."""
        target, depth, pushed = handler
        self._meet(target, self.stack[:depth] + [EMPTY] * pushed)

    def _meet(self, index: int, stack: list[Value]) -> bool:
        """Join this path into what is known at `index`; true if that taught anything."""
        known = self.states.get(index)
        if known is None:
            self.states[index] = (stack.copy(), self.locals.copy())
            self.pending.add(index)
            return True
        changed = False
        for mine, theirs in ((known[0], stack), (known[1], self.locals)):
            if len(mine) != len(theirs):
                message = "a stack of two depths"
                raise Unreadable(message)
            for position, value in enumerate(theirs):
                before = mine[position]
                if value is not before and not value <= before:
                    mine[position] = before | value
                    changed = True
        if changed:
            self.pending.add(index)
        return changed

    def _jump(self, name: str, target: int) -> bool:
        """Take both ways of a jump; false if there is only one."""
        stack = self.stack
        if name in {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}:
            self._meet(target, stack)
            return False
        if name == "FOR_ITER":
            # When exhausted, 3.11 drops the iterator; later versions land on END_FOR, which drops one thing more.
            self._meet(target, stack[:-1] if VERSION <= (3, 11) else [*stack, EMPTY])
            stack.append(step_value(stack[-1], ITEM))
            return True
        if name == "SEND":
            awaited = stack[-2]
            self._meet(target, [*stack[: -2 if VERSION <= (3, 11) else -1], awaited])
            stack[-1] = awaited
            return True
        if name.startswith("JUMP_IF_"):
            self._meet(target, stack)
            stack.pop()
            return True
        stack.pop()
        self._meet(target, stack)
        return True

    # What the actions share.

    def constant(self, index: int) -> object:
        """The constant that the instruction at `index` loads, if it does."""
        name, argument, _offset = self.instructions[index]
        return self.code.co_consts[argument] if name.startswith("LOAD_CONST") else None

    def constant_class(self) -> type | None:
        """The class of the constant on top of the stack before this instruction, unless that is None."""
        before = self.index - 1
        while self.instructions[before][0] in {"PRECALL", "KW_NAMES"}:
            before -= 1
        name = self.instructions[before][0]
        if name == "LOAD_SMALL_INT":
            return int
        if name in {"FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "BUILD_STRING"}:
            return str
        constant = self.constant(before)
        return type(constant) if constant is not None else None

    def push_made(self, content: Value) -> None:
        """Push a thing made here that holds `content`."""
        site = self.instructions[self.index][2]
        made: Value = frozenset({("made", site, ())})
        if content:
            self.facts.hold(made, content)
        self.stack.append(made)

    def take(self, count: int) -> list[Value]:
        """Pop `count` values, the deepest first."""
        if not count:
            return []
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def load(self, value: Value) -> None:
        """Push something reached from outside, and note that it was reached."""
        for ref in value:
            if ref[0] in _OUTSIDE:
                self.facts.loads[ref] = None
        self.stack.append(value)

    def write(self, verb: str, container: Value, content: Value = EMPTY) -> None:
        """Note that `container` is changed."""
        if container:
            self.facts.writes[verb, container] = None
            self.facts.hold(container, content)

    def compare(self, verb: str, left: Value, right: Value) -> None:
        """Note that two things are compared, neither of which was made here."""
        if left and right and TRUE not in (left, right):
            self.facts.compared[verb, left, right] = None

    def call(self, callee: Value, args: list[Value], kwargs: dict[str, Value], star: Value, extra: int = 0) -> None:
        """Note a call and push its result."""
        site = self.instructions[self.index][2] + extra
        found = Call(callee, args, kwargs, star, self.constant_class() if len(args) == _WITH_DEFAULT else None)
        known = self.facts.calls.get(site)
        if known is None:
            self.facts.calls[site] = found
        else:
            known.join(found)
        given = star.union(*args, *kwargs.values())
        if given:
            for ref in callee:
                kind, root, steps = ref
                if steps and kind in {"made", "call"} and steps[-1][1:] in _KEEPERS:
                    grows = steps[-1][1:] in _GROWS
                    holder: Value = frozenset({(kind, root, steps[:-1])})
                    self.facts.hold(holder, given | step_value(given, ITEM) if grows else given)
        self.stack.append(frozenset({("call", site, ())}))
