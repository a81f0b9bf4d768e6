"""The inputs of a job: one cursor over one or several iterables.

Does not know functions, backends or results. Iterating runs the user's code, so it happens on the caller's thread only.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sized
from itertools import islice
from time import perf_counter, thread_time
from types import FunctionType

from pointsman._repeats import FIXED, Repeats
from pointsman._stretch import Stretch as Stretch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

# Seconds that an iterator may take to give inputs for a batch beyond the first: a slow one gives one at a time.
_BRIEF = 0.5e-3
# Seconds from which on it matters what one input took, and how much of that was computing.
_SLOW = 20e-6
# Seconds up to which that is next to nothing; how many inputs like this, one after the other, tell that all are; and a
# number from which nobody gets there.
_SWIFT, _SURE, _NEVER = 0.4e-6, 64, -(1 << 60)
# Inputs of an iterator that are gone through between two looks at the clock. Arbitrary: a look costs as much as ten or
# twenty of them, and each may take long all of a sudden.
_MOST_AT_ONCE = 128
# Collections that can be cut without running anybody's code, and others that can be gone through so.
# Inputs of a list from which on they are not copied for a batch. Arbitrary: few stay in the core's cache.
_MANY = 1024
_SEQUENCES = (list, tuple, range, str, bytes)
# Combinations of types among the inputs of which one is looked at each. Arbitrary: reading takes a millisecond.
_KINDS = 8
_GONE_THROUGH: tuple[type, ...] = (
    *_SEQUENCES,
    dict,
    set,
    frozenset,
    deque,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)


def _count_of(data: Iterable[Any]) -> int | None:
    """How many there are; None if that cannot be said, or no index of C's reaches the last of them."""
    try:
        return len(data) if isinstance(data, Sized) else None
    except OverflowError:
        return None


class Source:
    """Inputs still to be run, in order.

    Parameters
    ----------
    iterables
        One iterable of inputs, or several whose items are the arguments of one call each (ended by the shortest).

    """

    def __init__(self, iterables: tuple[Iterable[Any], ...]) -> None:
        self.star: bool = len(iterables) != 1
        self._sequence: Any = None
        self._iterator: Iterator[Any] = iter(())
        self._taken = 0
        self._back: list[Any] = []
        self._ended = False
        # What the iterator raised after inputs that have to be run first.
        self._error: BaseException | None = None
        self._kept: list[Any] | None = None
        # Places in the sequence of inputs that were taken out of their order.
        self._holes: list[int] = []
        # Seconds that an iterator has taken while somebody wanted to know, in all and on the CPU.
        self.wall: float = 0.0
        self.cpu: float = 0.0
        # Inputs that nobody can fill anew, which an iterator has given at once, one after the other.
        self._swift = 0
        self._trusting = False
        self._length: int | None = None
        # The inputs, if all of them are there.
        self._lists: tuple[Any, ...] = iterables if all(type(data) in (list, tuple) for data in iterables) else ()
        if self.star:
            self._iterator = zip(*iterables, strict=False)
            lengths = [length for data in iterables if (length := _count_of(data)) is not None]
            if lengths and len(lengths) == len(iterables):
                self._length = min(lengths)
        else:
            data = iterables[0]
            self._length = _count_of(data)
            if type(data) in _SEQUENCES and self._length is not None:
                self._sequence = data
            else:
                self._iterator = iter(data)
        self.sized: bool = self._length is not None
        self.repeats: Repeats = Repeats(iterables)
        # Whether inputs are taken without running anybody's code, so that any thread may take them.
        self.quiet: bool = all(type(data) in _GONE_THROUGH or _is_array(data) for data in iterables)

    def gives_iterators(self, item: Any) -> bool:
        """Whether the inputs come from an iterator and are such themselves, as this one is."""
        parts = item if self.star else (item,)
        return not self.sized and any(hasattr(type(part), "__next__") for part in parts)

    def keep(self) -> list[Any]:
        """From now on keep every input that is taken; returns the list that fills."""
        self._kept = []
        return self._kept

    def take(self, count: int, *, brief: bool = False) -> list[Any]:
        """Take up to `count` inputs; fewer at the end, and with `brief` when an iterator takes its time.

        What an iterator raises comes after the inputs before it.
        """
        if self._back:
            items, self._back = self._back[:count], self._back[count:]
            if len(items) < count and not brief:
                items += self._pull(count - len(items), brief=False)
            return items
        return self._pull(count, brief=brief)

    def in_turn(self, count: int, seconds: float, *, timed: bool = False) -> list[Any] | InTurn:
        """Up to `count` inputs for calls on the caller's thread: of an iterator each is taken when its turn has come.

        None is taken after `seconds`. `timed` says to note what the iterator takes, too.
        """
        if self.sized or self._back or self._error is not None:
            return self.take(count, brief=True)
        until = perf_counter() + seconds
        first = self.take(1)
        if timed and first:
            self.repeats.see(first[0])
        if not first or count == 1:
            return first
        # Of tiny calls, to watch what they are given takes the most: what does next to nothing is taken for nothing.
        watched = timed and (self._swift < _SURE or self._kept is not None)
        self._trusting = not watched
        return InTurn(first, self._watched() if watched else self._iterator, count, until, self._passed_by)

    def trusted(self) -> bool:
        """Whether the last inputs of an iterator were not looked at; the next will be."""
        trusted, self._trusting = self._trusting, False
        if trusted:
            self._swift = 0
        return trusted

    def _passed_by(self, count: int, *, ended: bool) -> None:
        """Note that so many inputs were taken in their turn, and whether the iterator has come to its end."""
        self._taken += count
        self._ended = self._ended or ended

    def _watched(self) -> Iterator[Any]:
        """Go on with the iterator, and note what it takes."""
        iterator, slow = self._iterator, False
        while True:
            # The clock of the CPU takes a good part of a microsecond: only where the iterator takes far longer.
            busy = thread_time() if slow else 0.0
            began = perf_counter()
            item = next(iterator, self)
            took = spent = perf_counter() - began
            if item is self:
                return
            if self.star or type(item) not in FIXED:
                self.repeats.see(item)
                spent = perf_counter() - began
                self._swift = _NEVER
            elif took > _SWIFT:
                self._swift = 0
            self._swift += 1
            self.wall += spent
            lasted = took > _SLOW
            if slow:
                self.cpu += thread_time() - busy
            elif not lasted:
                # One that gives at once has computed; one that suddenly does not may have done either.
                self.cpu += spent
            slow = lasted
            if self._kept is not None:
                self._kept.append(item)
            yield item

    def stretch(self, count: int) -> list[Any] | range | Stretch:
        """Take up to `count` inputs as `take` does briefly; those of a range stay one: it is cheaper to go through.

        Many of a list stay where they are.
        """
        kind = type(self._sequence)
        many = kind is range or (kind is list and count >= _MANY)
        if not many or self._back or self._error is not None or self._kept is not None:
            return self.take(count, brief=True)
        while self._taken in self._holes:
            self._taken += 1
        upto = min((hole for hole in self._holes if hole > self._taken), default=len(self._sequence))
        start, end = self._taken, max(self._taken, min(self._taken + count, upto))
        items = self._sequence[start:end] if kind is range else Stretch(self._sequence, start, end)
        self._taken += len(items)
        self._ended = self._taken >= len(self._sequence)
        return items

    def _pull(self, count: int, *, brief: bool) -> list[Any]:
        if self._error is not None:
            error, self._error, self._ended = self._error, None, True
            raise error
        if self._sequence is not None:
            items = self._cut(count)
            whole = len(items) == count
        else:
            items = []
            whole = self._pull_from_iterator(items, count, _BRIEF if brief and not self.sized else float("inf"))
            self._taken += len(items)
        if not whole and self._error is None:
            self._ended = True
        if self._kept is not None:
            self._kept += items
        return items

    def _cut(self, count: int) -> list[Any]:
        """Take up to `count` inputs of the sequence, but for those that were taken before."""
        items: list[Any] = []
        while True:
            hole = next((hole for hole in self._holes if hole >= self._taken), None)
            upto = self._taken + count - len(items)
            part = self._sequence[self._taken : upto if hole is None else min(hole, upto)]
            items = part if not items and type(part) is list else [*items, *part]
            self._taken += len(part)
            if self._taken != hole:
                return items
            self._taken += 1

    def _pull_from_iterator(self, items: list[Any], count: int, seconds: float) -> bool:
        """Append up to `count` inputs; False at the end, or before an error."""
        iterator = self._iterator
        try:
            if seconds == float("inf"):
                # `extend` keeps what came before an exception.
                items.extend(islice(iterator, count))
                return len(items) == count
            deadline = perf_counter() + seconds
            for item in iterator:
                items.append(item)
                if len(items) == count or perf_counter() > deadline:
                    return True
        except BaseException as error:
            if not items:
                self._ended = True
                raise
            self._error = error
        return False

    def put_back(self, items: list[Any]) -> None:
        """Return inputs that were not run to the front."""
        self._back = items + self._back

    def left(self) -> int | None:
        """Inputs not taken yet; None when nobody can know."""
        if self._ended:
            return len(self._back)
        if self._length is None:
            return None
        return len(self._back) + max(0, self._length - self._taken - len(self._holes) + self._passed())

    @property
    def given(self) -> int:
        """Inputs taken in their order and not put back."""
        return self._taken - self._passed() - len(self._back)

    def _passed(self) -> int:
        """Holes before the next input."""
        return sum(hole < self._taken for hole in self._holes)

    @property
    def next_place(self) -> int:
        """Index of the next input among all inputs."""
        place = self.given
        for hole in self._holes:
            place += hole <= place
        return place

    @property
    def unbroken(self) -> int:
        """Inputs from the next on that follow each other among all inputs."""
        place = self.next_place
        return min((hole - place for hole in self._holes if hole > place), default=1 << 60)

    @property
    def ended(self) -> bool:
        """Whether nothing is left, as far as can be told without running the iterator."""
        if self._back or self._error is not None:
            return False
        return self._ended or (self._sequence is not None and self._taken >= len(self._sequence))

    def spread(self, count: int) -> list[Any]:
        """Return up to `count` inputs from all that is left, without taking them; none where that is impossible."""
        return [self._sequence[place] for place in self._places(count)]

    def kinds(self, step: int) -> list[tuple[Any, ...]]:
        """Return arguments of each combination of types in every `step`th input, if these are there; of many, some."""
        lists = [data[::step] for data in self._lists] if step > 1 else self._lists

        functions = any(id(FunctionType) in set(map(id, map(type, data))) for data in lists)
        kind_of = _kind if functions else type

        def types() -> Iterator[tuple[int, ...]]:
            # By identity: to hash a class may run code of its metaclass.
            return zip(*(map(id, map(kind_of, data)) for data in lists), strict=False)

        found: dict[tuple[int, ...], int] = {}
        most = min(_KINDS, len(set(types())))
        for place, kind in enumerate(types() if most > 1 else ()):
            if kind not in found:
                found[kind] = place
                if len(found) == most:
                    break
        return [tuple(data[place] for data in lists) for place in found.values()]

    @property
    def untouched(self) -> Any:
        """The list, tuple or range of inputs, if none was taken yet; else None."""
        return self._sequence if self.can_skip and not self._taken else None

    @property
    def can_skip(self) -> bool:
        """Whether inputs can be taken out of their order."""
        return type(self._sequence) in (list, tuple, range) and not self._back and self._error is None

    def ahead(self, count: int) -> list[tuple[int, Any]]:
        """Take up to `count` inputs from all that is left, with their places; the rest is given without them."""
        if not self.can_skip:
            return []
        places = self._places(count)
        self._holes = sorted({*self._holes, *places})
        return [(place, self._sequence[place]) for place in places]

    def restore(self, place: int) -> None:
        """Give an input that `ahead` took in its order, after all."""
        self._holes.remove(place)

    def _places(self, count: int) -> list[int]:
        """Places in the middle of as many equal parts of what is left of a sequence."""
        if self._sequence is None or count < 1:
            return []
        left = len(self._sequence) - self._taken
        count = min(count, left)
        places = (self._taken + (2 * part + 1) * left // (2 * count) for part in range(count))
        return [place for place in places if place not in self._holes]


class InTurn:
    """A stretch of an iterator's inputs, the next of which is taken when the call of the one before is over.

    What an iterator gives may depend on what calls do (a list of work to which they add), or be good only until the
    next is taken (the groups of `itertools.groupby`).
    """

    __slots__ = ("_count", "_first", "_given", "_passed", "_rest", "_until")

    def __init__(
        self, first: list[Any], rest: Iterator[Any], count: int, until: float, passed: Callable[..., None]
    ) -> None:
        self._first, self._rest, self._count, self._until, self._passed = first, rest, count, until, passed
        self._given = 1

    def __len__(self) -> int:
        return self._given

    def __getitem__(self, cut: slice) -> list[Any]:
        return self._first[cut]

    def parts(self, results: list[Any]) -> Iterator[Iterator[Any]]:
        """Go through the inputs in parts; for each, `results` has grown by as many before the next is asked for.

        To look at the clock after each input costs as much as a tiny call.
        """
        yield iter(self._first)
        ended, size, before = False, 1, len(results)
        try:
            now = perf_counter()
            while not ended and self._given < self._count and now <= self._until:
                size = min(size, self._count - self._given)
                yield islice(self._rest, size)
                given, began, now = len(results) - before, now, perf_counter()
                ended = given < size
                self._given += given
                before += given
                # What takes its time is not taken on trust.
                size = min(2 * size, _MOST_AT_ONCE) if now - began < _BRIEF else 1
        finally:
            self._passed(self._given - 1, ended=ended)

    def __iter__(self) -> Iterator[Any]:
        count, until = self._count, self._until
        yield self._first[0]
        ended = False
        try:
            if perf_counter() > until:
                return
            for item in self._rest:
                self._given += 1
                yield item
                if self._given == count or perf_counter() > until:
                    return
            ended = True
        finally:
            self._passed(self._given - 1, ended=ended)


def _is_array(data: object) -> bool:
    """Whether it is an array of numpy: looked at only if the program has imported that."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(data) is getattr(numpy, "ndarray", None)


def _kind(value: Any) -> Any:
    """What inputs that are alike have in common: their type, or of functions their code."""
    kind = type(value)
    return value.__code__ if kind is FunctionType else kind
