"""`pointsman.trace`: what the file says of calls, wherever they ran and however they ended."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import functions
import pointsman
from pointsman import _native
from pointsman._machine import facts


def double(number):
    return 2 * number


def nap(number):
    time.sleep(0.002)
    return number


def fail_at_three(number):
    if number == 3:
        raise ValueError(number)
    return number


def die_at_three(number):
    if number == 3:
        os._exit(7)
    return number


def compute(loops):
    total = 0
    for number in range(loops):
        total += number
    return total


def here(_):
    return os.getpid()


async def rest(number):
    await asyncio.sleep(0.001)
    return number


def outer(number):
    return sum(pointsman.execute(double, range(number + 1), backend="inline"))


def begin_and_leave(file):
    """A call that dies the first time."""
    if not os.path.exists(file):
        with open(file, "w"):
            pass
        os._exit(9)
    return "second"


class Read:
    """A trace that was read."""

    def __init__(self, path):
        self.whole = json.loads(path.read_text(encoding="utf-8"))
        self.events = self.whole["traceEvents"]
        self.calls = [event for event in self.events if event.get("cat") == "call"]
        self.jobs = self.whole["otherData"]["jobs"]

    def of(self, name):
        return [call for call in self.calls if call["name"] == name]

    def indices(self, name):
        return sorted(call["args"]["index"] for call in self.of(name))

    def endings(self, name):
        return {call["args"]["index"]: call["args"].get("ending", "value") for call in self.of(name)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.json"


native = pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("POINTSMAN_PROCESSES") == "stdlib",
    reason="what is asked here only the native worker processes tell",
)
WAYS = [("inline", None), ("threads", 3), pytest.param("processes", 2, marks=native), ("auto", None)]


@pytest.mark.parametrize(("backend", "workers"), WAYS)
def test_every_call_is_in_the_trace_once(path, backend, workers):
    with pointsman.trace(path):
        pointsman.execute(double, range(300), backend=backend, max_workers=workers)

    assert Read(path).indices("double") == list(range(300))


@pytest.mark.parametrize(("backend", "workers"), WAYS)
def test_the_calls_of_a_worker_do_not_overlap(path, backend, workers):
    with pointsman.trace(path):
        pointsman.execute(nap, range(40), backend=backend, max_workers=workers)

    rows = {}
    for call in Read(path).calls:
        rows.setdefault((call["pid"], call["tid"]), []).append((call["ts"], call["ts"] + call["dur"]))
    # The ends are rounded to nanoseconds.
    overlaps = [
        (one, other)
        for row in rows.values()
        for one, other in zip(sorted(row), sorted(row)[1:], strict=False)
        if other[0] < one[1] - 0.01
    ]
    assert not overlaps


@pytest.mark.parametrize(("backend", "workers"), WAYS)
def test_figures_of_a_call_fit_into_its_time(path, backend, workers):
    with pointsman.trace(path):
        pointsman.execute(compute, [3000] * 200, backend=backend, max_workers=workers)

    odd = [
        call
        for call in Read(path).of("compute")
        if not 0 <= call["args"].get("gil", 0) <= call["args"]["cpu"] + 0.01 <= call["dur"] + 0.02
        or min(call["args"].get("queue", 0), call["args"].get("dispatch", 0), call["args"].get("transfer", 0)) < 0
    ]
    assert not odd


@native
def test_a_call_that_waits_uses_little_of_the_cpu_and_one_that_computes_most_of_it(path):
    with pointsman.trace(path):
        pointsman.execute(nap, range(10), backend="threads", max_workers=2)
        pointsman.execute(compute, [300_000] * 4, backend="processes", max_workers=2)

    read = Read(path)
    share = {
        name: sum(call["args"]["cpu"] for call in read.of(name)) / sum(call["dur"] for call in read.of(name))
        for name in ("nap", "compute")
    }
    assert share["nap"] < share["compute"]


@pytest.mark.skipif(not facts().gil, reason="this interpreter runs without the GIL")
@native
@pytest.mark.skipif(not _native.Probe().supported, reason="the GIL cannot be seen from outside here")
def test_a_long_call_says_how_much_of_it_held_the_gil(path):
    with pointsman.trace(path):
        pointsman.execute(compute, [2_000_000] * 6, backend="processes", max_workers=2)

    # Together: on a loaded machine a single call may be looked at rarely, and one that follows short ones not at all.
    calls = [call["args"] for call in Read(path).of("compute") if "gil" in call["args"]]
    assert len(calls) >= 2
    assert sum(call["gil"] for call in calls) > 0.5 * sum(call["cpu"] for call in calls)


@native
def test_calls_in_worker_processes_are_on_rows_of_those(path):
    with pointsman.trace(path):
        pids = set(pointsman.execute(here, range(20), backend="processes", max_workers=2))

    seen = {call["pid"] for call in Read(path).calls}
    assert seen - {os.getpid()} == pids - {os.getpid()}


@pytest.mark.parametrize(("backend", "workers"), WAYS[:3])
def test_an_exception_is_the_ending_of_its_call_and_the_file_is_whole(path, backend, workers):
    with pytest.raises(ValueError, match="3"), pointsman.trace(path):
        pointsman.execute(fail_at_three, range(20), backend=backend, max_workers=workers)

    read = Read(path)
    assert read.endings("fail_at_three")[3] == "raised"
    assert read.jobs[0]["failure"].startswith("ValueError")


@native
def test_a_call_whose_worker_dies_is_shown_as_died_and_the_others_are_not(path):
    with pointsman.trace(path):
        pointsman.execute(die_at_three, range(8), backend="processes", max_workers=2, on_error="return")

    endings = Read(path).endings("die_at_three")
    assert endings == {index: "died" if index == 3 else "value" for index in range(8)}


@native
def test_a_call_that_is_begun_again_after_a_death_is_there_twice(path, tmp_path):
    with pointsman.trace(path):
        got = pointsman.execute(begin_and_leave, [str(tmp_path / "begun")], backend="processes", retries=1)

    endings = [call["args"].get("ending", "value") for call in Read(path).of("begin_and_leave")]
    assert (got, sorted(endings)) == (["second"], ["died", "value"])


def test_a_map_that_is_left_half_way_leaves_a_whole_file(path):
    with pointsman.trace(path):
        results = pointsman.map(nap, iter(range(1000)), backend="threads", max_workers=2)
        first = [next(results), next(results)]
        results.close()

    read = Read(path)
    assert first == [0, 1]
    assert {0, 1} <= set(read.indices("nap"))
    assert read.jobs[0]["failure"] == "left early"


def test_coroutines_are_traced_and_have_rows_on_which_they_do_not_overlap(path):
    with pointsman.trace(path):
        pointsman.execute(rest, range(50))

    read = Read(path)
    rows = {}
    for call in read.of("rest"):
        rows.setdefault(call["tid"], []).append((call["ts"], call["ts"] + call["dur"]))
    assert read.indices("rest") == list(range(50))
    assert all(
        one[1] <= other[0] + 0.01
        for row in rows.values()
        for one, other in zip(sorted(row), sorted(row)[1:], strict=False)
    )


def test_calls_of_an_executor_are_traced(path):
    with pointsman.trace(path), pointsman.Executor(2, backend="threads") as pool:
        one = pool.submit(double, 1)
        assert (one.result(), list(pool.map(nap, range(10)))) == (2, list(range(10)))

    read = Read(path)
    assert len(read.of("double")) == 1
    assert read.indices("nap") == list(range(10))
    assert all(call["args"]["queue"] >= 0 for call in read.calls)


@native
def test_calls_of_an_executor_of_processes_and_of_coroutines_are_traced(path):
    with pointsman.trace(path), pointsman.Executor(1, backend="processes") as pool:
        values = [
            pool.submit(double, 4).result(functions.PATIENCE),
            pointsman.submit(rest, 5).result(functions.PATIENCE),
        ]

    read = Read(path)
    assert values == [8, 5]
    assert (len(read.of("double")), len(read.of("rest"))) == (1, 1)


def test_a_call_within_a_call_lies_within_its_time(path):
    with pointsman.trace(path):
        pointsman.execute(outer, range(5), backend="threads", max_workers=2)

    read = Read(path)
    spans = [(call["tid"], call["ts"], call["ts"] + call["dur"]) for call in read.of("outer")]
    outside = [
        call
        for call in read.of("double")
        if not any(
            call["tid"] == tid and began <= call["ts"] + 0.01 and call["ts"] + call["dur"] <= ended + 0.01
            for tid, began, ended in spans
        )
    ]
    assert (len(read.of("double")), outside) == (15, [])


def test_calls_from_several_threads_are_all_traced(path):
    def work(count):
        return pointsman.execute(double, range(count), backend="inline")

    with pointsman.trace(path), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [100] * 8))

    read = Read(path)
    assert len(read.of("double")) == 800
    assert len(read.jobs) == 8


def test_the_plan_and_what_came_of_it_are_in_the_file(path):
    with pointsman.trace(path):
        pointsman.execute(compute, [3000] * 500)

    job = Read(path).jobs[0]
    plan = job["plans"][-1]["plan"]
    assert (job["function"], plan["actual"]["calls"]) == ("compute", 500)
    assert plan["candidates"]
    assert job["began"] <= job["plans"][-1]["at"] <= job["ended"]


def test_traces_may_overlap_and_each_has_what_happened_while_it_was_open(tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    with pointsman.trace(first):
        pointsman.execute(double, range(3), backend="inline")
        with pointsman.trace(second):
            pointsman.execute(double, range(5), backend="inline")

    assert (len(Read(first).calls), len(Read(second).calls)) == (8, 5)


def test_nothing_is_recorded_before_or_after(path):
    pointsman.execute(double, range(3))
    with pointsman.trace(path):
        pass
    pointsman.execute(double, range(3))

    assert Read(path).calls == []
    assert not _native.tracing()


def test_a_job_that_outlives_its_trace_goes_on(path):
    with pointsman.trace(path):
        results = pointsman.map(double, range(1000), backend="inline")
        next(results)

    assert list(results) == [2 * number for number in range(1, 1000)]


def test_odd_names_are_no_danger_to_the_file(path):
    def odd(number):
        return number

    odd.__qualname__ = 'a "b" \\ \n\t\x00 ü'
    with pointsman.trace(path):
        pointsman.execute(odd, range(3), backend="threads", max_workers=2)

    assert {call["name"] for call in Read(path).calls} == {odd.__qualname__}


def test_a_file_that_exists_is_replaced_only_by_a_whole_one(path):
    path.write_text("before")
    with pointsman.trace(path):
        pointsman.execute(double, range(3))
        during = path.read_text()

    assert during == "before"
    assert Read(path).calls
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_path_that_is_none_or_has_no_directory_is_refused_at_once(tmp_path):
    with pytest.raises(pointsman.InvalidTypeError, match="path"):
        pointsman.trace(7)
    with pytest.raises(pointsman.InvalidArgumentError, match="no directory"):
        pointsman.trace(tmp_path / "nowhere" / "run.json")


def test_a_trace_is_for_one_block(path):
    trace = pointsman.trace(path)
    with trace, pytest.raises(pointsman.InvalidArgumentError, match="begun"):
        trace.__enter__()

    assert not _native.tracing()


def test_an_error_of_the_file_does_not_cover_up_that_of_the_block(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.raises(KeyError), pointsman.trace(folder / "run.json"):
        folder.rmdir()
        raise KeyError
    folder.mkdir()
    with pytest.raises(OSError, match="run.json"), pointsman.trace(folder / "run.json"):
        folder.rmdir()

    assert not _native.tracing()


PROGRAM = """
import os, sys
import pointsman
def double(n):
    return 2 * n
pointsman.execute(double, range(10), backend="processes", max_workers=2)
assert "POINTSMAN_TRACE" not in os.environ
if sys.argv[1:] == ["fail"]:
    raise SystemExit("an error")
"""


@native
@pytest.mark.parametrize("arguments", [[], ["fail"]])
def test_the_environment_variable_traces_a_whole_program(path, tmp_path, arguments):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "POINTSMAN_TRACE": str(path)},
        timeout=60,
        check=False,
        capture_output=True,
    )

    assert Read(path).indices("double") == list(range(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_traces_nothing_and_leaves_the_file_alone(path):
    with pointsman.trace(path):
        pointsman.execute(double, range(4), backend="inline")
        child = os.fork()
        if not child:
            traced = _native.tracing()
            os._exit(1 if traced else 0)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(Read(path).calls) == 4


def test_threads_have_their_names(path):
    def work():
        pointsman.execute(double, range(4), backend="inline")

    with pointsman.trace(path):
        thread = threading.Thread(target=work, name="the-reader")
        thread.start()
        thread.join(functions.PATIENCE)

    names = {event["args"]["name"] for event in Read(path).events if event["name"] == "thread_name"}
    assert "the-reader" in names


def test_the_command_line_traces_too(path, tmp_path):
    pytest.importorskip("click", reason="click is not installed: pip install 'pointsman[cli]'")
    (tmp_path / "sums.py").write_text("def double(n):\n    return 2 * n\n")
    command = [sys.executable, "-m", "pointsman", "execute", "sums:double", "--data-range", "5", "--trace", str(path)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (answer.stdout, answer.returncode) == ("0\n2\n4\n6\n8\n", 0)
    assert Read(path).indices("double") == list(range(5))
