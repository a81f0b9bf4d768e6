"""Measures calls from all over a list before it is decided where the rest shall run: a list may be sorted by cost.

The results and errors of calls that were made before their turn wait here for it. Does not know plans or backends.

Invariants:
    H1. A call is made before its turn only if nobody can see that: its function was read, writes to nothing that others
        see, and reaches nothing that does; its inputs are plain data.
    H2. It is made once. What it gives or raises takes its place in the order; after an earlier error it is dropped.
"""

from __future__ import annotations

from collections import deque

from pointsman import _native, _terms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pointsman._job import Job
    from pointsman._measure import Meter

# Calls made ahead at most, and the calls left for each: with fewer they would be a good part of the work. Arbitrary.
_MOST = 4
_EACH = 25
# The share of all the work, as far as is known by then, after which no further call is made ahead. Less than the
# 5 % by which an automatic choice may be slower than the plain loop (DESIGN 5.3).
_SHARE = 0.04
# Calls from all over the list that take this many times what the first took, or as little, correct them. Arbitrary
# between 1.3 and 3: single calls vary, and the first ones are more.
_ALIKE = 2.0
# Seconds below which a call that is measured alone tells nothing: to measure it takes some 20 us.
_TELLING = 2e-4


class Ahead:
    """Calls of one job that were made before their turn."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._waiting: deque[tuple[int, Any, BaseException | None]] = deque()
        self._walls: list[float] = []
        # What had measured the calls before these.
        self._meter: Meter | None = None
        self._cpu = self._held = 0.0

    def run(self, meter: Meter) -> None:
        """Make a few calls, evenly from all that is left; `meter` has measured the first ones."""
        source, self._meter = self._job.source, meter
        left = source.left() or 0
        expected = meter.mean * left
        for place, item in source.ahead(min(_MOST, left // _EACH)):
            if sum(self._walls) > _SHARE * expected:
                source.restore(place)
                continue
            self._waiting.append((place, *self._call(item, meter)))
            expected = max(expected, self.mean * left)

    def _call(self, item: Any, meter: Meter) -> tuple[Any, BaseException | None]:
        value, raised = None, None
        meter.begin(look=True)
        try:
            value = self._job.function(item)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised in its turn (H2)
            raised = error
        finally:
            wall, cpu, held = meter.end_of_one()
            self._walls.append(wall)
            self._cpu += cpu
            self._held += held
        return value, raised

    @property
    def mean(self) -> float:
        """Seconds per call."""
        return sum(self._walls) / len(self._walls) if self._walls else 0.0

    def corrects(self, meter: Meter) -> bool:
        """Whether these calls say something else than the first ones, if it was those that `meter` has measured."""
        mean = meter.mean
        told = meter is self._meter and len(self._walls) > 1 and max(mean, self.mean) > _TELLING
        return told and not mean / _ALIKE <= self.mean <= mean * _ALIKE

    def correct(self, seen: _native.Observation) -> _native.Observation:
        """Return what was seen of the first calls, made true for the whole list."""
        calls, mean = len(self._walls), self.mean
        variance = sum((wall - mean) ** 2 for wall in self._walls) / calls
        figures = {name: getattr(seen, name) for name in ("argument_bytes", "result_bytes", "pack", "flip")}
        return _native.Observation(
            calls=seen.calls + calls,
            held=self._held / calls,
            free=max(0.0, self._cpu - self._held) / calls,
            wait=max(0.0, mean - self._cpu / calls),
            cv=float(variance**0.5 / mean) if mean > 0 else 0.0,
            longest=max(self._walls),
            other_threads=seen.other_threads,
            faulting=seen.faulting,
            **figures,
        )

    def merge(self, values: list[Any], delivered: int) -> Iterator[list[Any]]:
        """Yield `values`, the first of which is result number `delivered`, and what waits for its turn between them."""
        waiting, start = self._waiting, 0
        __tracebackhide__ = True
        while True:
            end = len(values)
            if waiting:
                end = min(end, start + max(0, waiting[0][0] - delivered))
            # A copy costs a good part of a tiny call.
            part = values[start:end] if waiting or start else values
            # Who gets a list may empty it.
            delivered += end - start
            start = end
            if part:
                yield part
            if not waiting or waiting[0][0] != delivered:
                return
            _place, value, raised = waiting.popleft()
            if raised is not None:
                if not (self._job.keep_going and isinstance(raised, Exception)):
                    raise raised
                value = raised
            yield [value]
            delivered += 1


# Work from which on a few calls from all over the list are made first: ten times what it takes to read the function.
_WORTH = 0.05
# Share of its time for which a call has computed that is worth it.
_BUSY = 0.5
# Seconds of a call below which it is not: the plain loop is the likely answer, which notices when calls change.
_DEAR = 10e-6


def is_worth_it(meter: Meter, left: int) -> bool:
    """Whether calls are dear enough for that."""
    if not meter.calls or meter.mean < _DEAR:
        return False
    return meter.cpu > _BUSY * meter.wall and left * meter.mean > _WORTH


def may_be(job: Job) -> bool:
    """Whether calls of this job may be made before their turn, if their function allows it."""
    return (
        job.backend == "auto"
        and not job.lazy
        and job.number == 0
        and job.here is None
        and job.sample_size is None
        and not job.profile
        and job.terms is _terms.NONE
        and job.source.can_skip
    )


def nobody_sees(job: Job, first: list[Any]) -> bool:
    """Whether the function reaches nothing outside, as far as it can be read; `first` are inputs that were called."""
    from pointsman._meaning._quiet import are_plain, is_quiet

    return are_plain([*first, *job.source.spread(_MOST)]) and is_quiet(job.asked)
