"""The values that reading code passes on: where a thing came from, and what a function does to it.

A *reference* names a thing by its root (an argument, a captured or a global variable, the result of a call)
and the steps that lead to it.  A *value* is the set of references that an expression may stand for; the empty
value is something the function made itself.

Does not know: bytecode, live objects, what is harmful.

Invariants:

I1. A reference has a bounded number of steps, so every function has finitely many, and reading ends.
I2. `Facts` are a pure function of one code object: they never depend on globals, cells or arguments.
"""

from __future__ import annotations

from ._kinds import is_a

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

# (kind, root, steps).  Kinds: "arg", "free", "cell", "global", "module" (root: a name), and
# "call", "made", "func" (root: where in the code), "super", and the constants "true" and "null".
Ref = tuple[str, "str | int", tuple[str, ...]]
Value = frozenset[Ref]

EMPTY: Value = frozenset()
NULL: Value = frozenset({("null", "", ())})
TRUE: Value = frozenset({("true", "", ())})

ITEM = "[]"
SLICE = "[a:b]"
FULL_SLICE = "[:]"
FAR = "..."
_MAX_STEPS = 5


class Unreadable(Exception):  # noqa: N818 - it is an answer, not a fault
    """The bytecode has something in it that is not known here."""


def extend(ref: Ref, step: str) -> Ref:
    """The thing one step further; steps beyond what I1 allows fold into one that resolves to nothing known."""
    kind, root, steps = ref
    if steps[-2:] == (step, step):
        return ref
    if len(steps) >= _MAX_STEPS:
        return (kind, root, (*steps[: _MAX_STEPS - 2], FAR, step))
    return (kind, root, (*steps, step))


def step_value(value: Value, step: str) -> Value:
    """`step` applied to everything that `value` may be."""
    if not value or value is TRUE or value is NULL:
        return EMPTY
    return frozenset([extend(ref, step) for ref in value])


class Call:
    """One place in the code that calls something."""

    __slots__ = ("args", "callee", "default", "kwargs", "star")

    def __init__(
        self, callee: Value, args: list[Value], kwargs: dict[str, Value], star: Value, default: type | None
    ) -> None:
        self.default = default
        """The class of the last of two positional arguments, if that is a plain constant other than None."""
        self.callee = callee
        self.args = args
        self.kwargs = kwargs
        self.star = star

    def join(self, other: Call) -> None:
        """Take in what a second reading of the same place found."""
        self.callee |= other.callee
        self.star |= other.star
        self.args = [mine | theirs for mine, theirs in zip(self.args, other.args, strict=False)]
        for name, value in other.kwargs.items():
            self.kwargs[name] = self.kwargs.get(name, EMPTY) | value


class Facts:
    """What one code object does, without knowing what its variables stand for."""

    __slots__ = (
        "calls", "cells", "code", "compared", "defaults", "free_writes", "global_writes", "holds", "inner", "inplace",
        "loads", "made", "raised", "returns", "scalars", "sets", "stashed", "torn", "writes", "yields",
    )  # fmt: skip

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.loads: dict[Ref, None] = {}
        self.writes: dict[tuple[str, Value], None] = {}
        self.compared: dict[tuple[str, Value, Value], None] = {}
        self.inplace: dict[tuple[int, Value], None] = {}
        self.global_writes: dict[str, None] = {}
        self.free_writes: dict[str, None] = {}
        self.calls: dict[int, Call] = {}
        self.holds: dict[Ref, Value] = {}
        self.made: dict[int, Value] = {}
        self.inner: dict[int, CodeType] = {}
        self.defaults: dict[int, Value] = {}
        self.cells: dict[str, Value] = {}
        self.returns: Value = EMPTY
        self.yields: Value = EMPTY
        self.raised: Value = EMPTY
        self.scalars: set[Ref] = set()
        # What attributes are set to, of which things.
        self.sets: dict[tuple[str, Value], Value] = {}
        self.torn: set[str] = set()
        self.stashed: frozenset[str] = frozenset()

    def hold(self, container: Value, content: Value) -> None:
        """Remember that containers made or received here now hold `content`."""
        if not content:
            return
        for ref in container:
            if ref[0] in {"made", "call"}:
                self.holds[ref] = self.holds.get(ref, EMPTY) | content

    def settle(self) -> None:
        """Work out from `holds` what each container made here holds, however deep it lies in another one."""
        changed = True
        while changed:
            changed = False
            for (_kind, root, steps), content in self.holds.items():
                for site in self._places(root, steps):
                    before = self.made.get(site, EMPTY)
                    if not content <= before:
                        self.made[site] = before | content
                        changed = True

    def _places(self, root: str | int, steps: tuple[str, ...], seen: frozenset[Ref] = frozenset()) -> set[int]:
        """The containers that a path through containers ends in; one is invented where none is known."""
        if not is_a(root, int):
            return set()
        places = {root}
        for depth, step in enumerate(steps):
            if step.startswith("."):
                return set()
            inner: set[int] = set()
            for ref in set[Ref]().union(*(self.made.get(place, EMPTY) for place in places)) - seen:
                if ref[0] == "made":
                    inner |= self._places(ref[1], ref[2], seen | {ref})
            if not inner:
                invented = -(8 * root + depth + 1)
                self.made[root] = self.made.get(root, EMPTY) | {("made", invented, ())}
                inner = {invented}
            places = inner
        return places
