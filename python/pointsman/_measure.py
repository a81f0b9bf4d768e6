"""Measures calls while they run: GIL-held, GIL-free and waiting seconds, and the bytes that would travel.

Reads the clocks for a decision (`_spinning` those of other threads), and is the only module that sizes values. Does not
know plans or backends.
"""

from __future__ import annotations

from _thread import get_native_id
from time import perf_counter
from types import BuiltinFunctionType, FunctionType

from pointsman import _native, _switching
from pointsman._plan import Sample
from pointsman._spinning import LONGEST, Spinners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_idle_probes: list[_native.Probe] = []

# Looks at a running thread from which on the rate at which the GIL changes hands tells anything; with fewer a single
# change weighs as much as a habit. Arbitrary between 20 and 100.
_LOOKS_FOR_FLIP = 40
# A rate at which the GIL is passed on that fewer looks are enough to see, and those. Arbitrary: the rows of sqlite pass
# it on at 0.6 to 1.2 of the looks, and a look at 1 ms has come 11 to 14 times before.
_OFTEN, _LOOKS_FOR_OFTEN = 0.3, 10
# Share of its CPU time from which on a call holds the GIL. Arbitrary from 0.3 to 0.7.
_HOLDS = 0.5
# The share of a core from which on other threads count as busy; those of a BLAS that a call imports spin for a while.
_NESTED = 0.25
# Share of its time for which a call computes that then waits for the GIL, or a core, once it has company.
_COMPUTES = 0.5
# Times the CPU time that a call had during a look for which it may have waited for the GIL: 0.9 to 3.1 where calls
# computed throughout.
_TURNS = 3.0
# Share of a look's CPU time that a call had which did not sleep. Arbitrary from 0.2 to 0.5.
_AWAKE = 0.25
# Share of its time up to which a call that was looked at only seems to wait. Arbitrary from 0.1 to 0.2, by how true the
# figure above is.
_SEEMS = 0.15
# How far the first call's seconds, in all and on the CPU, may each be from those of the next, as a share of the latter,
# for it to be like that. Arbitrary from 0.2 to 0.5.
_APART = 0.3
# Times the CPU time of a call before which another may use and still be like it, and the least share of that for which
# the one before waited. Arbitrary from 1.1 to 1.5 and from 0.1 to 0.3.
_LIKE, _SOME = 1.2, 0.2
# Calls beside a measured one from which on theirs say more than that one. Arbitrary from 2 to 5.
_ENOUGH_BESIDE = 3
# Calls and seconds of them from which on it is known that they wait, if they compute for less than this share of the
# time. Arbitrary from 2 to 5, and from 0.1 to 0.3.
_A_FEW, _A_WHILE, _IDLE = 3, 1e-3, 0.2
# Other threads for which a thread may have to wait in its turns at a core. Arbitrary from 1 to 4: some kernels say of a
# thread that sleeps that it waits for a core (Linux 6.12: it leaves the run queue late).
_OTHERS = 2.0
# Seconds of calls from which on they may have been looked at: the pilot's first look comes then.
_LOOKED_AT = 0.9e-3
# Seconds that it takes to be given a page of memory. Calls that were given 600 to 2,000 of them took 1.7 to 2.7 us less
# for each when they were not (`os/heap.rs` of pointsman-shm says when that is); 1.5 us where nothing but that is timed.
_FAULT = 1.5e-6
# Values of a sample that are pickled to learn their size, and the most seconds that may take.
_SIZED = 3
_SIZING_SECONDS = 0.5e-3
# Seconds up to which a pickling is done twice more, for its time. Arbitrary: a third of what is allowed in all.
_ONCE_MORE = 0.1e-3
# Bytes of a value that takes no longer than a fraction of a millisecond to pickle once more, whatever it took first.
_LITTLE = 1 << 16
# Seconds that unpickling takes for each of pickling. Measured: 0.7 (objects) to 2.1 (a dictionary of floats), mostly 1.
_UNPICKLED = 1.0
# Types of values that travel without pickle in nine bytes; how long a tuple of such is looked through, and how long a
# text or bytes may be to cost what its bytes do, and not what fresh memory does.
_WORDS = frozenset((int, float, bool, type(None)))
_SHORT, _SMALL = 8, 1 << 16
# What a class may say of how its objects are pickled.
_OF_PICKLING = ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
# What the planner takes for values that travel as they are (`Machine.bytes_per_second`).
_BYTES_PER_SECOND = 1.2e9
# Times that speed at which large buffers of arguments travel: their memory is used again and again, that of results
# is the caller's. Measured with arrays of 128 KB to 8 MB: 6 to 13.
_WARM = 8.0


class Meter:
    """Adds up what was seen of a function's calls."""

    __slots__ = (
        "_awake",
        "_began",
        "_crowded",
        "_dropped",
        "_excused",
        "_heard",
        "_last_look",
        "_last_wall",
        "_queued",
        "_queued_then",
        "_since",
        "_stopped",
        "_switches",
        "_thread",
        "_usual_others",
        "argument_bytes",
        "calls",
        "cannot_travel",
        "children",
        "company",
        "computing",
        "cpu",
        "disturbed",
        "flip",
        "held",
        "inputs",
        "longest",
        "looked",
        "looked_twice",
        "looking",
        "lost",
        "others",
        "pack",
        "probe",
        "result_bytes",
        "result_stays",
        "samples",
        "spinners",
        "squares",
        "threads",
        "wall",
    )

    def __init__(self, since: float | None = None) -> None:
        """Be of a job that began at `since` (seconds of `perf_counter`); now, if nothing is said."""
        self.calls = 0
        self.wall = self.cpu = self.held = self.flip = 0.0
        # CPU seconds of the programs that calls started and waited for.
        self.children = 0.0
        # CPU seconds that other threads used per second of the last call, or since the last look at it.
        self.others = self._usual_others = 0.0
        # Whether helpers of ours run calls in this process, too: what other threads use is theirs then.
        self.company = False
        self._since = perf_counter() if since is None else since
        self.spinners = Spinners(self._since)
        # Wall, other threads' CPU, own CPU, and what was lost to looks and to other programs, at the last look.
        self._last_look = (0.0, 0.0, 0.0, 0.0)
        # Share of the time for which the call that runs has computed since the look before.
        self.computing = 0.0
        self.longest = 0.0
        self.squares = 0.0
        self.argument_bytes = self.result_bytes = 0.0
        self.pack: float | None = None
        self.threads = 0
        # Whether any call has been measured to its end, and whether the first was dropped as not typical.
        self.looked = self.looked_twice = False
        # Seconds that looks at the call that runs took, their CPU time, and those that it waited for the GIL for them.
        self.disturbed = self.looking = self.lost = 0.0
        # For how long the thread has waited for a core, as the system says: at `begin`, at the last look, and in looks.
        self._queued = self._heard = self._excused = 0.0
        # Seconds that the inputs of the last calls took, in all and on the CPU, where they were taken between those.
        self.inputs: tuple[float, float] = (0.0, 0.0)
        self._began = self._since
        # When the calls were over that a look outlasted, and what the system said then.
        self._stopped = self._queued_then = 0.0
        self._thread = 0
        # How often the thread had given up its core when the calls began; and whether it did not while they ran.
        self._switches: int | None = None
        self._awake = False
        # Whether an argument or a result of those that were pickled for their size could not be.
        self.cannot_travel = self.result_stays = False
        self.samples: list[_native.Sample] = []
        self._last_wall = 0.0
        self._crowded: tuple[float, float] | None = None
        self._dropped: tuple[int, float, float, float, float, float, float] | None = None
        self.probe = _idle_probes.pop() if _idle_probes else _native.Probe()

    def forget(self) -> None:
        """Drop what was seen so far, unless the next calls are like it: it may not have been typical."""
        self._dropped = (self.calls, self.wall, self.cpu, self.held, self.children, self.squares, self.longest)
        self.calls = 0
        self.wall = self.cpu = self.held = self.flip = self.children = 0.0
        self.longest = self.squares = 0.0
        self.samples.clear()
        self.looked_twice = True

    def close(self) -> None:
        """Give the probe back for the next job."""
        # One that still observes was left by a Ctrl-C between its beginning and its end: of no use to the next job.
        if self.probe.peek() is None:
            _idle_probes.append(self.probe)

    def begin(self, *, look: bool) -> None:
        """Start to observe the calling thread; with `look` the probe looks at the GIL, too."""
        self._began = perf_counter()
        self._thread = get_native_id() if look else 0
        self._queued = _queued_seconds(self._thread)
        self._switches = _switching.of_thread() if look else None
        self.spinners.begin()
        self.disturbed = self.looking = self.lost = self._stopped = self._excused = 0.0
        self._last_look = (0.0, 0.0, 0.0, 0.0)
        self.probe.begin(100e-6 if look else float("inf"))

    def stop(self) -> None:
        """Note that the calls are over, though a look at them may last."""
        self._stopped = now = perf_counter()
        # To ask takes longer than short calls do, and nobody has looked at those.
        self._queued_then = _queued_seconds(self._thread) if now - self._began > _LOOKED_AT else self._queued

    def _late(self) -> float:
        """Seconds for which the calls have been over."""
        return perf_counter() - self._stopped if self._stopped else 0.0

    def note_look(self, seen: _native.Sample, took: float, busy: float) -> None:
        """Note that a look at the call that runs, which began when it was as `seen`, took so many seconds, `busy` ones.

        While both want the GIL they have it about in turns, so a call that got little of it beside a look that computes
        did not wait for it: it slept.
        """
        now, late = self.probe.peek(), self._late()
        self.looking += busy
        took = max(0.0, took - late)
        busy = min(busy, took)
        self.disturbed += took
        ran = busy if now is None else now.cpu - seen.cpu
        self.lost += min(busy, _TURNS * ran)
        if ran > _AWAKE * busy:
            # It would have run: the seconds in which neither did were other programs'.
            self.lost += max(0.0, took - busy - ran)
        # What is said of the time of a look does not count: a call that sleeps then may be said to wait for its core.
        self._excused += _queued_seconds(self._thread) - self._heard

    def end(self, calls: int, *, keep: bool) -> None:
        """Note, if it is to be kept, what `calls` calls took since `begin`."""
        late = self._late()
        sample = self.probe.end()
        if keep:
            until = self._queued_then if self._stopped else _queued_seconds(self._thread)
            # Who has never given up the core has waited for nothing: the machine stood still, or another had it.
            self._awake = self._switches is not None and self._switches == _switching.of_thread()
            self._add(sample, calls, late + self._credited(until, sample.cpu))
            self.looked = True
            if not self.company:
                self._usual_others = self.others

    def end_of_one(self) -> tuple[float, float, float]:
        """Return wall, CPU and GIL-held seconds of the call since `begin`, which is not kept."""
        sample = self.probe.end()
        wall = max(sample.cpu, sample.wall - self._waited_for_a_core(sample.cpu))
        return wall, sample.cpu, min(1.0, sample.held_share if sample.samples else self.held_share()) * sample.cpu

    def _waited_for_a_core(self, cpu: float) -> float:
        """Seconds since `begin` for which the thread was ready to run and others had the cores, but for looks at it.

        It has computed for `cpu` seconds.
        """
        self._heard = _queued_seconds(self._thread)
        return self._credited(self._heard, cpu)

    def _credited(self, heard: float, cpu: float) -> float:
        """What is believed of it: whoever wants a core gets turns, and waits only while some others have theirs."""
        return min(max(0.0, heard - self._queued - self._excused), _OTHERS * cpu)

    def _hear_others(self, sample: _native.Sample) -> None:
        """Note what other threads use now: not from the beginning, since a BLAS spins for a while after its import."""
        wall, other = sample.wall, max(0.0, sample.other_cpu - self.looking - self.spinners.used())
        away = self.disturbed + self._waited_for_a_core(sample.cpu)
        wall_before, other_before, cpu_before, away_before = self._last_look
        self._last_look = (wall, other, sample.cpu, away)
        if wall <= wall_before:
            return
        if not self.company:
            self.others = max(0.0, other - other_before) / (wall - wall_before)
        ours = max(wall - wall_before - (away - away_before), 1e-9)
        self.computing = min(1.0, (sample.cpu - cpu_before) / ours)

    @property
    def unsettled(self) -> bool:
        """Whether other threads compute, and it is too early to say that the calls have them do it."""
        return self.others > _NESTED and perf_counter() - self._since < LONGEST

    def like_the_first(self, first: _native.Observation, part: _native.Observation) -> _native.Observation | None:
        """Return what a call is expected to be of which `part` is known; None if the first one does not tell.

        One that computes so far may wait later on, as the first did.
        """
        busy = first.held + first.free
        exceeds = part.held + part.free > _LIKE * busy or part.wait > _LIKE * first.wait
        if exceeds or self.computing < _COMPUTES or not _SOME * busy < first.wait < 2 * busy:
            return None
        return _native.Observation(
            calls=first.calls + 1,
            held=first.held,
            free=first.free,
            wait=first.wait,
            flip=self.flip,
            longest=first.longest,
            argument_bytes=self.argument_bytes,
            result_bytes=self.result_bytes,
            pack=self.pack,
            other_threads=part.other_threads,
        )

    def crowd(self, seen: _native.Sample) -> None:
        """Others begin beside the call that runs. If it computes, what it waits for from now on are those."""
        self._crowded = (seen.wall, seen.cpu) if self.company and self.computing > _COMPUTES else None

    def _add(self, sample: _native.Sample, calls: int, away: float) -> None:
        # Waiting for a core is not waiting: it would be no shorter on another thread. Nor is waiting for our own looks.
        # What an iterator computed is not always known: what it may have is not the calls' beyond their time.
        cpu = max(0.0, min(sample.cpu - self.inputs[1], sample.wall - self.inputs[0]))
        wall = max(cpu, sample.wall - away - self.lost - self.inputs[0])
        if self._awake or (self.disturbed and wall - cpu < _SEEMS * wall):
            wall = cpu
        if self._crowded is not None:
            wall = max(cpu, min(wall, self._crowded[0] + cpu - self._crowded[1]))
            self._crowded = None
        self._last_wall = wall
        mean = wall / calls
        self.calls += calls
        self.wall += wall
        self.cpu += cpu
        self.held += sample.held * (cpu / sample.cpu if sample.cpu > 0 else 1.0)
        if not self.company:
            self.children += sample.children_cpu
        self._hear_others(sample)
        self.squares += calls * mean * mean
        self.longest = max(self.longest, mean)
        self.threads = max(self.threads, sample.threads_peak - sample.threads_before)
        self._see_flip(sample)
        self.samples.append(sample)
        self._take_back()

    def _take_back(self) -> None:
        """Count what was dropped if it turns out to have been typical."""
        if self._dropped is None:
            return
        (calls, wall, cpu, held, children, squares, longest), self._dropped = self._dropped, None
        busy, before = self.cpu / self.calls, cpu / calls
        if abs(wall / calls - self.mean) < _APART * self.mean and abs(before - busy) < _APART * busy:
            self.calls += calls
            self.wall += wall
            self.cpu += cpu
            self.held += held
            self.children += children
            self.squares += squares
            self.longest = max(self.longest, longest)

    def _see_flip(self, sample: _native.Sample) -> None:
        # In company the GIL of calls that hold it changes hands with that.
        looks = _LOOKS_FOR_FLIP if sample.flip < _OFTEN else _LOOKS_FOR_OFTEN
        if sample.on_cpu_samples >= looks and (not self.company or sample.held_share < _HOLDS):
            self.flip = max(self.flip, sample.flip)

    @property
    def mean(self) -> float:
        """Seconds per call."""
        return self.wall / self.calls if self.calls else 0.0

    @property
    def waits(self) -> bool:
        """Whether the calls clearly wait, so that nobody needs to know what they do meanwhile."""
        if self.calls < _A_FEW or self.wall < _A_WHILE or self.cpu >= _IDLE * self.wall:
            return False
        # One sample alone may have met a machine that stood still.
        return sum(sample.cpu < _IDLE * sample.wall for sample in self.samples) > 1

    def held_share(self) -> float:
        """Share of the CPU time with the GIL held, by the samples that have looks; else the careful guess 1."""
        looked = [sample for sample in self.samples if sample.samples]
        cpu = sum(sample.cpu for sample in looked)
        return sum(sample.held for sample in looked) / cpu if cpu > 0 else 1.0

    @property
    def faulting(self) -> float:
        """Share of the CPU time for which the system gave out memory, if all calls are like those that were looked at.

        The first ones may have been given what others find.
        """
        looked = [sample for sample in self.samples if sample.faults]
        later = looked[1:] or looked
        cpu = sum(sample.cpu for sample in later)
        if self.company or cpu <= 0:
            return 0.0
        share = sum(sample.faults for sample in later) * _FAULT / cpu
        return min(1.0, share if len(looked) > 1 else share / 2)

    def size(self, arguments: list[Any], results: list[Any]) -> None:
        """Learn what a call would send and receive, by pickling a few arguments and results."""
        argument, seconds_in, cut = _sizes(arguments, sent=True)
        result, seconds_out, cut_out = _sizes(results)
        self.argument_bytes, self.result_bytes = argument, result
        self.cannot_travel, self.result_stays = cut or cut_out, cut_out
        if not self.cannot_travel:
            self.pack = seconds_in + seconds_out

    def last(self, calls: int, arguments: list[Any], results: list[Any]) -> Sample:
        """Return what was kept last, of `calls` calls, as the raw figures per call, and their bytes once pickled.

        Waiting for a core that other programs had is in `seconds` and nowhere else.
        """
        sample, wall = self.samples[-1], self._last_wall
        held = min(1.0, sample.held_share if sample.samples else 1.0) * sample.cpu
        return Sample(
            seconds=sample.wall / calls,
            held=held / calls,
            free=max(0.0, sample.cpu - held) / calls,
            wait=max(0.0, wall - sample.cpu) / calls,
            argument_bytes=_sizes(arguments)[0],
            result_bytes=_sizes(results)[0],
        )

    def observation(self, *, partial: bool = False) -> _native.Observation:
        """Return the figures per call, as the planner takes them."""
        calls = max(1, self.calls)
        cpu, wall = self.cpu / calls, self.wall / calls
        held = min(1.0, self.held_share()) * cpu
        variance = max(0.0, self.squares / calls - wall * wall)
        return _native.Observation(
            calls=calls,
            held=held,
            free=max(0.0, cpu - held),
            wait=max(0.0, wall - cpu),
            cv=variance**0.5 / wall if wall > 0 else 0.0,
            longest=self.longest,
            argument_bytes=self.argument_bytes,
            result_bytes=self.result_bytes,
            pack=self.pack,
            other_threads=self.others * wall + self.children / calls,
            faulting=self.faulting * cpu,
            flip=self.flip,
            partial=partial,
        )

    def corrected(self, calls: int, wall: float, cpu: float) -> _native.Observation | None:
        """Return the figures of `calls` calls that ran beside the measured one, if that took longer than they did.

        `wall` and `cpu` are their seconds in all. None if the measured call stands.
        """
        # Calls that compute wait for each other beside a measured one, which tells nothing.
        wall = cpu if self.cpu > _COMPUTES * self.wall else max(cpu, wall)
        if calls < _ENOUGH_BESIDE or wall / calls >= self.mean:
            return None
        mean, busy = wall / calls, cpu / calls
        held = min(1.0, self.held_share()) * busy
        return _native.Observation(
            calls=self.calls + calls,
            held=held,
            free=busy - held,
            wait=mean - busy,
            flip=self.flip,
            longest=max(mean, min(self.longest, 2 * mean)),
            argument_bytes=self.argument_bytes,
            result_bytes=self.result_bytes,
            pack=self.pack,
            other_threads=(self.children / max(1, self.calls)) * mean / max(self.mean, 1e-9),
        )

    def peek(self) -> _native.Sample | None:
        """Return the figures of the call that runs now, from another thread; None if none does."""
        return self.probe.peek()

    def partial(self, sample: _native.Sample, calls: int, *, partial: bool) -> _native.Observation:
        """Return what is known of a batch that still runs, in its `calls`th call; with `partial` lower bounds."""
        held = sample.held_share * sample.cpu if sample.samples else sample.cpu
        again = self._last_look[0] > 0
        self._hear_others(sample)
        self._see_flip(sample)
        return _native.Observation(
            calls=calls,
            flip=self.flip,
            held=held / calls,
            free=max(0.0, sample.cpu - held) / calls,
            wait=max(0.0, sample.wall - sample.cpu - self.lost - self._waited_for_a_core(sample.cpu)) / calls,
            longest=sample.wall / calls,
            argument_bytes=self.argument_bytes,
            result_bytes=self.result_bytes,
            pack=self.pack,
            # A call that has not come to what others did with threads of their own will do so, too.
            other_threads=max(self.others, self._usual_others) * sample.wall / calls,
            faulting=0.0 if self.company else min(sample.cpu, sample.faults * _FAULT / 2) / calls,
            partial=partial,
            recent=self.computing if partial and again else None,
        )


def _queued_seconds(thread: int) -> float:
    """Seconds that a thread has spent ready to run while others had the cores; 0 where nobody looks."""
    return _native.queued_seconds(thread) if thread else 0.0


def _sizes(values: list[Any], *, sent: bool = False) -> tuple[float, float, bool]:
    """Mean bytes of a few values, mean seconds to pack and unpack one, and whether some could not be packed at all.

    Those that are `sent` are packed many at a time, into memory that has been used before.
    """
    total, seconds, count, cut = 0, 0.0, 0, False
    for value in values[:_SIZED]:
        size = _tagged(value)
        if size is not None:
            seconds += size / _BYTES_PER_SECOND
        else:
            size, buffers, took, stays = _pickled(value)
            begins = _pickled(None)[2] if sent and took < _ONCE_MORE else 0.0
            seconds += max(0.0, took - begins) + buffers / (_BYTES_PER_SECOND * (_WARM if sent else 1.0))
            cut = cut or stays
        total += size
        count += 1
        if seconds > _SIZING_SECONDS:
            break
    return (total / count, seconds / count, cut) if count else (0.0, 0.0, False)


def _tagged(value: Any) -> int | None:
    """Bytes of a value that travels without pickle; None for one that does not."""
    kind = type(value)
    if kind in _WORDS:
        return 9
    if (kind is str or kind is bytes) and len(value) <= _SMALL:
        return 9 + len(value)
    if kind is tuple and len(value) <= _SHORT:
        sizes = [_tagged(item) for item in value]
        return None if None in sizes else 2 + sum(size or 0 for size in sizes)
    return None


def carried(function: Any) -> tuple[float, float]:
    """Bytes that a function has with it (in a partial, a closure or an object), and the seconds to pickle them."""
    from pointsman._functions import pack
    from pointsman._naming import is_importable

    kind = type(function)
    if (kind is FunctionType or kind is BuiltinFunctionType) and is_importable(function):
        return 0.0, 0.0
    if kind is FunctionType and (packed := pack(function)) is not None:
        return float(len(packed[0])), 0.0
    size, _buffers, seconds, _stays = _pickled(function)
    return float(size), seconds / (1 + _UNPICKLED)


def _pickled(value: Any) -> tuple[int, int, float, bool]:
    """Bytes of a value once pickled, those of them in large buffers, seconds to pickle and unpickle it without those.

    At the end, whether it could not be pickled, or not all of it.

    It is not unpickled, which would run code of the program's for nothing: that takes about as long (`_UNPICKLED`).
    """
    from pointsman._transport import dumps_with_buffers

    began = perf_counter()
    try:
        size, buffers = dumps_with_buffers(value)
        took = perf_counter() - began
        for _ in range(2 if took < _ONCE_MORE else 1 if size < _LITTLE else 0):
            # What was slow may have been the first use of the pickler, or a class that workers are told of once.
            began = perf_counter()
            dumps_with_buffers(value)
            took = min(took, perf_counter() - began)
        return size + buffers, buffers, (1 + _UNPICKLED) * took, _is_cut_short(value)
    except Exception:  # noqa: BLE001 - it may travel by value all the same
        try:
            size, buffers = dumps_with_buffers(value, by_value=True)
            return size + buffers, buffers, (1 + _UNPICKLED) * (perf_counter() - began), False
        except Exception:  # noqa: BLE001 - then it cannot travel; the planner hears of it elsewhere
            return 0, 0, perf_counter() - began, True


def _is_cut_short(value: Any) -> bool:
    """Whether pickle leaves out attributes of an object, by its own `__getstate__`, and nothing puts them back."""
    kind = type(value)
    own = {name for name in _OF_PICKLING if type(getattr(kind, name, None)) is FunctionType}
    if own != {"__getstate__"}:
        return False
    state = value.__getstate__()
    return type(state) is dict and not getattr(value, "__dict__", {}).keys() <= state.keys()
