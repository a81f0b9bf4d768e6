"""The probe tells computing from waiting, and a held GIL from a free one.

Every share is compared with CPU clocks that the observed call reads itself, so a busy machine
changes the figures on both sides.
"""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from pointsman import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = bytes(4_000_000)


@pytest.fixture
def probe() -> _native.Probe:
    """Give a fresh probe, where the GIL can be seen."""
    fresh = _native.Probe()
    if not fresh.supported:
        pytest.skip(f"the GIL cannot be seen here: {_native.probe_method()}")
    return fresh


@pytest.fixture
def gil_enabled() -> None:
    """Skip where no GIL is in force, so that nothing ever holds it."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("this interpreter runs without the GIL")


@pytest.fixture
def bystander() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Start threads, and wait for them when the test ends."""
    threads: list[threading.Thread] = []

    def start(body: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=body)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join()


def compute(cpu_seconds: float) -> float:
    """Compute in Python until this thread has used so much CPU; return what it used."""
    begun = time.thread_time()
    while (used := time.thread_time() - begun) < cpu_seconds:
        for _ in range(100):
            pass
    return used


def compute_without_gil(cpu_seconds: float) -> float:
    """Hash until this thread has used so much CPU; return what it used."""
    begun = time.thread_time()
    while (used := time.thread_time() - begun) < cpu_seconds:
        hashlib.sha256(DATA).digest()
    return used


def observe(probe: _native.Probe, call: Callable[[], object]) -> _native.Sample:
    """Observe one call from its first moment."""
    probe.begin(arm_after=0.0)
    try:
        call()
    finally:
        sample = probe.end()
    return sample


def settle(probe: _native.Probe) -> None:
    """Wait until the threads of earlier tests, which were joined, have left the process too."""
    counts = [-1]
    while len(counts) < 4 or len(set(counts[-3:])) > 1:
        time.sleep(0.02)
        counts.append(observe(probe, lambda: None).threads_before)


@pytest.mark.usefixtures("gil_enabled")
def test_pure_python_holds_the_gil(probe: _native.Probe) -> None:
    """A loop in Python holds the GIL all the time."""
    sample = observe(probe, lambda: compute(0.1))

    assert sample.held_share > 0.9
    assert sample.held == pytest.approx(sample.held_share * sample.cpu)
    assert sample.on_cpu_samples > 10
    assert sample.flip < 0.5


def test_hashing_large_data_lets_the_gil_go(probe: _native.Probe) -> None:
    """A hash of much data is computed without the GIL."""
    sample = observe(probe, lambda: compute_without_gil(0.1))

    assert sample.held_share < 0.1
    assert sample.cpu >= 0.1
    assert sample.on_cpu_samples > 10


def test_sleep_is_neither_held_nor_computed(probe: _native.Probe) -> None:
    """A sleeping call costs wall time only."""
    sample = observe(probe, lambda: time.sleep(0.1))

    assert sample.wall >= 0.1
    assert sample.cpu < 0.02
    assert sample.held < 0.02
    assert sample.samples > 10


@pytest.mark.usefixtures("gil_enabled")
@pytest.mark.parametrize("slice_seconds", [0.02, 0.002], ids=["coarse", "fine"])
def test_a_mixed_call_shows_the_share_that_it_really_held(probe: _native.Probe, slice_seconds: float) -> None:
    """Half held and half free is seen as what the call's own clocks say."""

    def error() -> float:
        held = free = 0.0

        def mixed() -> None:
            nonlocal held, free
            while held + free < 0.2:
                held += compute(slice_seconds)
                free += compute_without_gil(slice_seconds)

        return abs(observe(probe, mixed).held_share - held / (held + free))

    # On a machine whose cores are taken the looks come late, and one call may tell little.
    assert min(error() for _ in range(3)) < 0.2


def test_a_call_that_ends_before_the_looks_begin_has_no_samples(probe: _native.Probe) -> None:
    """Short calls get their clocks, and the careful guess that all of it was held."""
    for _ in range(100):
        probe.begin(arm_after=60.0)
        compute(0.0001)
        sample = probe.end()

        assert (sample.samples, sample.on_cpu_samples) == (0, 0)
        assert sample.held_share == 1.0
        assert 0.0 < sample.cpu <= sample.wall


def test_an_infinite_delay_never_looks(probe: _native.Probe) -> None:
    """The clocks alone can be had by asking for no look ever."""
    probe.begin(arm_after=math.inf)
    compute(0.02)

    assert probe.end().samples == 0


@pytest.mark.usefixtures("gil_enabled")
def test_one_probe_serves_many_calls_without_mixing_them(probe: _native.Probe) -> None:
    """Nothing of one call shows in the next."""
    for _ in range(5):
        held = observe(probe, lambda: compute(0.02))
        free = observe(probe, lambda: compute_without_gil(0.02))

        assert held.held_share > free.held_share
        assert free.cpu < 0.02 + held.cpu * 3


def test_peek_tells_from_another_thread_what_happened_so_far(
    probe: _native.Probe, bystander: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """Figures of a running call grow, and stop with it."""
    seen: list[_native.Sample | None] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.append(probe.peek())
            time.sleep(0.01)
        seen.append(probe.peek())

    probe.begin(arm_after=0.0)
    watcher = bystander(watch)
    compute_without_gil(0.2)
    final = probe.end()
    ended.set()
    watcher.join()
    walls = [sample.wall for sample in seen if sample is not None]

    assert len(walls) >= 2
    assert walls == sorted(walls)
    assert walls[-1] <= final.wall
    assert any(sample is not None and sample.cpu > 0.01 for sample in seen)
    assert seen[-1] is None


def test_a_checkpoint_comes_when_the_call_has_lasted_that_long(
    probe: _native.Probe, bystander: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """A pilot thread that waits gets the figures of the running call."""
    seen: list[_native.Sample | None] = []
    reached = threading.Event()

    def pilot() -> None:
        seen.append(probe.wait_checkpoint(0.05))
        reached.set()

    probe.begin()
    bystander(pilot)
    assert reached.wait(timeout=30)
    probe.end()

    assert seen[0] is not None
    assert seen[0].wall >= 0.05


def test_a_checkpoint_beyond_the_end_of_the_call_gives_none(
    probe: _native.Probe, bystander: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """A pilot thread does not wait for a call that has ended, nor take the next one for it."""
    seen: list[_native.Sample | None] = []
    waiting = threading.Event()

    def pilot() -> None:
        waiting.set()
        seen.append(probe.wait_checkpoint(math.inf))

    probe.begin()
    thread = bystander(pilot)
    waiting.wait()
    time.sleep(0.05)
    probe.end()
    probe.begin()
    thread.join(timeout=30)
    still_waiting = thread.is_alive()
    probe.end()

    assert not still_waiting
    assert seen == [None]


def test_nothing_is_seen_when_nothing_is_observed(probe: _native.Probe) -> None:
    """Asking an idle probe is no error."""
    assert probe.peek() is None
    assert probe.wait_checkpoint(60.0) is None


def test_begin_and_end_must_alternate(probe: _native.Probe) -> None:
    """Misuse is refused with a message that says what to do."""
    with pytest.raises(RuntimeError, match="begin"):
        probe.end()
    probe.begin()
    with pytest.raises(RuntimeError, match="end"):
        probe.begin()
    probe.end()


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_a_time_that_is_none_is_refused(probe: _native.Probe, seconds: float) -> None:
    """Neither a negative time nor NaN starts anything."""
    with pytest.raises(ValueError, match="arm_after"):
        probe.begin(arm_after=seconds)
    with pytest.raises(ValueError, match="seconds"):
        probe.wait_checkpoint(seconds)

    assert probe.peek() is None


def test_threads_that_the_call_starts_are_counted(probe: _native.Probe) -> None:
    """Nested parallelism shows in the peak, and its work in the CPU time of others."""

    def nested() -> None:
        threads = [threading.Thread(target=compute_without_gil, args=(0.1,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    settle(probe)
    # Idle threads of other tests may end meanwhile.
    for _ in range(5):
        sample = observe(probe, nested)
        if sample.threads_peak == sample.threads_before + 3:
            break

    assert sample.threads_peak == sample.threads_before + 3
    assert sample.other_cpu == pytest.approx(0.3, abs=0.1)
    assert sample.cpu < 0.1


def test_the_probes_own_thread_is_not_counted() -> None:
    """A second probe adds nothing to the threads and the CPU time that the first one sees."""
    probe = _native.Probe()
    settle(probe)
    for _ in range(20):
        idle = observe(probe, lambda: compute(0.05))
        others = [_native.Probe() for _ in range(4)]
        for other in others:
            other.begin(arm_after=0.0)
        watched = observe(probe, lambda: compute(0.05))
        for other in others:
            other.end()
        # Idle threads of other tests end meanwhile.
        if observe(probe, lambda: None).threads_before == idle.threads_before:
            break

    assert watched.threads_before == idle.threads_before
    assert watched.threads_peak == idle.threads_peak
    assert watched.other_cpu < 0.02


def test_a_thread_that_another_call_holds_up_does_not_hold_the_gil_itself(
    probe: _native.Probe, bystander: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """The GIL held by a thread beside it does not count for the observed one."""
    stop = threading.Event()

    def hog() -> None:
        while not stop.is_set():
            compute(0.001)

    bystander(hog)
    try:
        sample = observe(probe, lambda: hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000))
    finally:
        stop.set()

    assert sample.held_share < 0.3


def test_the_observed_thread_may_die_before_the_end(
    probe: _native.Probe, bystander: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """An observation that its thread left open can be ended by another."""
    bystander(lambda: probe.begin(arm_after=0.0)).join()
    time.sleep(0.02)
    peeked = probe.peek()
    sample = probe.end()

    assert peeked is not None
    assert 0.0 <= sample.cpu <= sample.wall
    assert sample.on_cpu_samples <= sample.samples


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.usefixtures("gil_enabled")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("observing", [False, True], ids=["idle", "while observing"])
def test_a_probe_works_in_a_forked_child(probe: _native.Probe, observing: bool) -> None:
    """The child has a sampler of its own; the parent's goes on."""
    observe(probe, lambda: compute(0.01))
    if observing:
        probe.begin(arm_after=0.0)
        compute(0.01)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            inherited = probe.end() if observing else None
            clean = inherited is None or (inherited.samples == 0 and inherited.cpu <= inherited.wall)
            # More than once: on a loaded machine the sampler may hardly get a core.
            before = psutil.Process().num_threads()
            samples = [observe(probe, lambda: compute(0.05)) for _ in range(5)]
            # Not the parent's threads; other packages may start some of their own in every child.
            alone = 1 <= samples[0].threads_before <= before
            seen = any(sample.held_share > 0.9 and sample.samples > 5 for sample in samples)
            code = 0 if clean and alone and seen else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if observing:
        compute(0.02)
        assert probe.end().samples > 5

    assert os.waitstatus_to_exitcode(status) == 0
    assert observe(probe, lambda: compute(0.05)).held_share > 0.9


@pytest.mark.parametrize(
    "ending",
    ["", "probe.end()", "del probe", "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"],
    ids=["observing", "ended", "dropped", "with a daemon thread"],
)
def test_the_interpreter_ends_cleanly_whatever_the_probe_does(ending: str) -> None:
    """The native thread neither delays nor disturbs the end of the program."""
    program = f"""
import threading, time
from pointsman import _native
probe = _native.Probe()
probe.begin(arm_after=0.0)
time.sleep(0.01)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_closing_all_descriptors_does_not_mislead_the_probe() -> None:
    """A program that turns itself into a daemon closes descriptors that are not its own."""
    program = """
import os
from pointsman import _native
probe = _native.Probe()
probe.begin(); before = probe.end().threads_before
os.closerange(3, 64)
files = [open(os.devnull) for _ in range(8)]
probe.begin(); after = probe.end().threads_before
assert before == after, (before, after)
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_the_method_is_named(probe: _native.Probe) -> None:
    """The command line's doctor can say how the GIL is seen."""
    assert _native.probe_method() in repr(probe)
    assert "not seen" not in _native.probe_method()


def test_a_sample_shows_its_figures(probe: _native.Probe) -> None:
    """A sample can be read in a log, and not be changed."""
    sample = observe(probe, lambda: compute(0.001))

    assert repr(sample).startswith("Sample(wall=")
    with pytest.raises(AttributeError):
        sample.wall = 0.0  # type: ignore[misc]


def test_the_time_of_programs_that_the_call_ran_is_seen_apart(probe: _native.Probe) -> None:
    """A program's CPU time is its own: the call only waited for it."""
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.1: pass"
    sample = observe(probe, lambda: subprocess.run([sys.executable, "-I", "-S", "-c", burn], check=True))

    assert sample.children_cpu >= 0.1
    assert sample.cpu < sample.children_cpu
    assert observe(probe, lambda: compute(0.02)).children_cpu < 0.05
