"""What one function of a call leaves in a thing that others see, and another function of the same call reads there.

Threads that run calls beside each other would read what another call has left. Within one function `_alone` sees that.

Does not know: bytecode, how a function is followed.

Invariants:

I1. What is read by the functions that lead to the one that sets it is left alone: they make something once, and use it.
I2. An input is a call's own, as far as anybody knows; what it holds is not.
"""

from __future__ import annotations

from ._callers import Callers
from ._origins import INPUT, UNKNOWN, Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

    from ._frames import Frame

    Place = tuple[str, object]


# The name of what lies in a container, whatever its key.
_ENTRY = "[]"


class Stashing(Callers):
    """The part of a walk that watches what is set in one function and read in another."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        # What is set, to something new: the functions that led there, and a word for it.
        self.stashes: dict[Place, tuple[frozenset[CodeType], str]] = {}

    def stash(self, frame: Frame, name: str, owner: Origin | None, what: str) -> None:
        """Note that something is set that has its name in `frame`, to a thing that was not there before."""
        if name in frame.facts.stashed and not (owner is not None and is_input(owner)):
            self.stashes.setdefault(_place(frame, name, owner), (frozenset(self.within), f"`{self.name}` sets {what}"))

    def stash_entry(self, frame: Frame, name: str, owner: Origin) -> None:
        """Note that an entry of `owner` is set, which has its name in `frame`."""
        if name in frame.facts.stashed and owner.obj is not UNKNOWN and not is_input(owner):
            what = f"`{self.name}` sets an entry of {owner}"
            self.stashes.setdefault((_ENTRY, id(owner.obj)), (frozenset(self.within), what))

    def stashed(self) -> Iterator[str]:
        """What is read by others than those that led to where it is set."""
        names = {name for name, _owner in self.stashes}
        for frame in self.frames if names else ():
            for kind, root, steps in frame.facts.loads:
                for holder in self.resolve_ref(frame, (kind, root, steps)) if _ENTRY in names else ():
                    yield from self._left(frame, (_ENTRY, id(holder.obj)))
                name = steps[-1] if steps else str(root)
                if name not in names or (not steps and kind not in {"global", "free"}):
                    continue
                owners = self.resolve_ref(frame, (kind, root, steps[:-1])) if steps else (None,)
                for owner in owners:
                    yield from self._left(frame, _place(frame, name, owner))

    def _left(self, frame: Frame, place: Place) -> Iterator[str]:
        led, what = self.stashes.get(place, (None, ""))
        if led is not None and frame.facts.code not in led:
            yield f"{what}, which `{frame.name}` reads: others may set it in between"


def is_input(origin: Origin) -> bool:
    """Whether it is an input itself, and no part of one."""
    return origin.intro == INPUT and origin.expression.isidentifier()


def _place(frame: Frame, name: str, owner: Origin | None) -> Place:
    if owner is None:
        # Captured variables of one name are taken as one: the functions that share one were made in one place.
        return name, id(frame.function.__globals__)
    return name, owner.identity if owner.obj is UNKNOWN else id(owner.obj)
