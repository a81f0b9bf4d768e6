"""A job of many calls on the standard library's worker processes, in chunks; the caller may take part.

Does not know how large a chunk should be.

Invariants:
    J1. Chunks lie in the order of their inputs; results are taken in that order, or chunk by chunk as they are ready.
    J2. A chunk that is taken back was cancelled first: no worker has begun it or will.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from pointsman import _trace
from pointsman._job import name_of
from pointsman._standard_worker import run_chunk
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from pointsman._standard import StandardProcesses
    from pointsman._standard_worker import Sent

# Longest wait without a look for signals, in seconds.
_SLICE = 0.1


class Chunk:
    """Some calls that travel together."""

    __slots__ = ("calls", "first", "items", "opened", "place", "posted", "ready", "sent", "taken")

    def __init__(self, first: int, calls: int, items: list[Any] | None) -> None:
        self.first: int = first
        # Index of its first input in the whole job.
        self.place: int = first
        self.calls: int = calls
        self.items: list[Any] | None = items
        self.sent: concurrent.futures.Future[Any] | None = None
        # (value, exception) of calls that have not been taken.
        self.ready: deque[tuple[Any, BaseException | None]] = deque()
        self.opened: bool = False
        self.taken: int = 0
        # When it was sent, if somebody traces; else 0.
        self.posted: int = 0

    @property
    def finished(self) -> bool:
        return self.opened or (self.sent is not None and self.sent.done())


class StandardJob:
    """What `_native.ProcessJob` is elsewhere, and with its methods."""

    def __init__(
        self,
        pool: StandardProcesses,
        function: Callable[..., Any],
        *,
        star: bool,
        keep_going: bool,
        base: int,
        number: int = 0,
        ordered: bool = True,
    ) -> None:
        self._pool, self._star, self._keep_going, self._base = pool, star, keep_going, base
        self._ordered = ordered
        self._number = number
        self._name = name_of(function)
        self._function = dumps_anyway(function)
        self._chunks: deque[Chunk] = deque()
        self._news = threading.Condition()
        self._pushed = self._taken = 0
        self._calls, self._seconds = 0, 0.0

    def push(self, items: list[Any], index: int | None = None) -> int:
        """Send a chunk of inputs; returns the bytes that went with it.

        `index` is that of the first of them in the whole job, if not as many came before.
        """
        packed, posted = dumps_anyway(items), _trace.posted()
        # Before the chunk is one of the job: what cannot be sent is none.
        sent = self._pool.send(run_chunk, self._function, packed, len(items), self._star, posted != 0)
        chunk = self._append(len(items), items)
        if index is not None:
            chunk.place = index
        chunk.posted, chunk.sent = posted, sent
        sent.add_done_callback(self._tell)
        return len(packed)

    def _append(self, calls: int, items: list[Any] | None) -> Chunk:
        chunk = Chunk(self._pushed, calls, items)
        chunk.place += self._base
        self._chunks.append(chunk)
        self._pushed += calls
        return chunk

    def _tell(self, _done: object) -> None:
        with self._news:
            self._news.notify_all()

    def reserve(self, calls: int) -> int:
        """Keep a place for results that the caller computes itself."""
        return self._append(calls, None).first

    def fill(self, first: int, values: list[Any], raised: BaseException | None) -> None:
        """Store the results that the caller computed for a chunk; `raised` comes after them."""
        # A copy: others may send meanwhile.
        chunk = next(chunk for chunk in tuple(self._chunks) if chunk.first == first)
        chunk.ready.extend((value, None) for value in values)
        if raised is not None:
            chunk.ready.append((None, raised))
        chunk.opened = True

    def steal(self) -> tuple[int, list[Any]] | None:
        """Take the last chunk back that no worker has begun."""
        for chunk in reversed(self._chunks):
            if chunk.sent is not None and not chunk.opened and chunk.sent.cancel():
                chunk.sent = None
                return chunk.first, chunk.items or []
        return None

    def stop(self) -> list[tuple[int, list[Any]]]:
        """Cancel what no worker has begun."""
        back = []
        while (stolen := self.steal()) is not None:
            back.append(stolen)
        return back

    def kill(self, grace: float) -> None:
        """End the calls that run, after `grace` seconds, with every worker of the pool."""
        until = monotonic() + grace
        while self._runs() and monotonic() < until:
            with self._news:
                self._news.wait(max(0.0, min(_SLICE, until - monotonic())))
        if self._runs():
            self._pool.renew(kill=True)

    def _runs(self) -> bool:
        return any(chunk.sent is not None and not chunk.finished for chunk in self._chunks)

    def give_back(self) -> list[Any]:
        """Take back the chunks at the end that no worker has begun; they are no part of the job any more."""
        back: list[Any] = []
        while self._chunks:
            last = self._chunks[-1]
            if last.sent is None or last.opened or not last.sent.cancel():
                break
            self._chunks.pop()
            self._pushed -= last.calls
            back[:0] = last.items or []
        return back

    def take(self) -> tuple[list[Any], BaseException | None]:
        """Return the results that are ready, and the exception that comes after them, if one does."""
        self._pool.pause()
        values: list[Any] = []
        while (chunk := self._ready()) is not None:
            self._open(chunk)
            while chunk.ready:
                value, error = chunk.ready.popleft()
                chunk.taken += 1
                self._taken += 1
                if error is None:
                    values.append(value)
                elif self._keep_going and isinstance(error, Exception):
                    values.append(error)
                else:
                    return values, error
            self._chunks.remove(chunk)
        return values, None

    def _ready(self) -> Chunk | None:
        """The chunk whose results come next, if they are there."""
        # A copy: others may send meanwhile.
        looked_at = tuple(self._chunks) if not self._ordered else self._chunks and (self._chunks[0],)
        return next((chunk for chunk in looked_at if chunk.finished), None)

    def _open(self, chunk: Chunk) -> None:
        """Unpack the outcomes of a chunk that is over."""
        if chunk.opened or chunk.sent is None:
            return
        chunk.opened = True
        why = chunk.sent.exception()
        first = chunk.place
        if why is not None:
            _trace.died(self._pool.kind, self._name, chunk.posted, job=self._number, first=first)
            errors = [self._pool.explain(why, self._name, first + n) for n in range(chunk.calls)]
            chunk.ready.extend((None, error) for error in errors)
            return
        outcomes, seconds, times = chunk.sent.result()
        _trace.ran(self._pool.kind, self._name, chunk.posted, times, job=self._number, first=first)
        self._calls += chunk.calls
        self._seconds += seconds
        chunk.ready.extend(self.unpack(sent, chunk, n) for n, sent in enumerate(outcomes))

    def unpack(self, sent: Sent, chunk: Chunk, number: int) -> tuple[Any, BaseException | None]:
        """Return the value or the exception of a call of a chunk."""
        return self._pool.unpack(sent, self._name, chunk.place + number)

    def wait(self, seconds: float | None = None, pending: int = 0) -> bool:
        """Wait until a result can be taken, or `pending` or fewer chunks are unfinished, for at most `seconds`."""
        until = None if seconds is None else monotonic() + seconds

        def news() -> bool:
            if not self._chunks or self._ready() is not None:
                return True
            return pending > 0 and sum(not chunk.finished for chunk in self._chunks) <= pending

        with self._news:
            while not news():
                left = _SLICE if until is None else min(_SLICE, until - monotonic())
                if left <= 0:
                    return False
                self._news.wait(left)
        return True

    def figures(self) -> tuple[int, int, int, int]:
        """Chunks under way to workers, calls whose results have not been taken, calls pushed, results taken."""
        unfinished = sum(chunk.sent is not None and not chunk.finished for chunk in self._chunks)
        return unfinished, sum(chunk.calls - chunk.taken for chunk in self._chunks), self._pushed, self._taken

    def known(self) -> float | None:
        """Seconds that a call took in earlier jobs: nobody has kept them."""
        return None

    def observed(self) -> tuple[int, float, float]:
        """Calls, and seconds by the clock, over the chunks that have come back; CPU time is not known."""
        return self._calls, self._seconds, 0.0
