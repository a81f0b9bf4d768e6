"""Traces of calls that workers of other pools and engines have timed: the standard library's, interpreters, other hosts.

What it does not know: the file's own format beyond the figures of its calls. Clusters are in `test_clusters.py`.
"""

import json
import os
import subprocess
import sys

import pytest

import pointsman
from pointsman import _native, _trace
from pointsman._edition import INTERPRETERS
from pointsman._times import Times

PROGRAM = """
import os
import sys
import pointsman

def work(number):
    if number == 7:
        raise ValueError(number)
    return sum(range(20_000))

def die(_):
    os._exit(3)

backend, path = sys.argv[1:]
with pointsman.trace(path) as trace:
    pointsman.execute(work, range(40), backend=backend, max_workers=2, on_error="return")
    with pointsman.Executor(2, backend=backend) as executor:
        for future in [executor.submit(work, number) for number in range(5)]:
            future.result()
        if backend == "processes":
            executor.submit(die, 1).exception()
print(trace.calls)
"""

needs_interpreters = pytest.mark.skipif(not INTERPRETERS, reason="interpreter pools came with CPython 3.14")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["processes", pytest.param("interpreters", marks=needs_interpreters)])
def test_calls_of_other_pools_are_in_the_trace_one_by_one_with_where_they_ran(tmp_path, backend):
    script, path = tmp_path / "program.py", tmp_path / "run.json"
    script.write_text(PROGRAM)
    answer = subprocess.run(
        [sys.executable, str(script), backend, str(path)], capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "POINTSMAN_PROCESSES": "stdlib"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr

    whole = json.loads(path.read_text())
    calls = [event for event in whole["traceEvents"] if event.get("cat") == "call" and event["name"] == "work"]
    of_job = {call["args"]["index"]: call for call in calls if call["args"]["job"]}
    assert sorted(of_job) == list(range(40))
    assert {index for index, call in of_job.items() if call["args"].get("ending") == "raised"} == {7}
    assert len(calls) == 45
    assert all(call["args"]["cpu"] > 0 for call in calls if call["args"].get("index") != 7)
    end = whole["otherData"]["seconds"] * 1e6
    assert all(0 < call["ts"] <= call["ts"] + call["dur"] < end for call in calls)
    rows = {}
    for call in calls:
        rows.setdefault((call["pid"], call["tid"]), []).append((call["ts"], call["ts"] + call["dur"]))
    assert not [
        (one, other)
        for row in rows.values()
        for one, other in zip(sorted(row), sorted(row)[1:], strict=False)
        if other[0] < one[1] - 0.01
    ]
    if backend == "processes":
        died = [event for event in whole["traceEvents"] if event["name"] == "die" and event.get("cat") == "call"]
        assert [call["args"]["ending"] for call in died] == ["died"]


def test_the_clock_of_another_host_is_laid_over_that_of_the_program(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    with pointsman.trace(path) as trace:
        posted = _native.trace_now()
        # A worker that was started long after this machine: its clock says what no clock here says.
        times = Times("far.example", 77, 78, 1000, 9000, [(2000, 4000, 1500, True), (5000, 8000, 100, False)])
        with monkeypatch.context() as arrival:
            arrival.setattr(_native, "trace_now", lambda: posted + 50_000)
            _trace.ran("dask", "work", posted, times, job=3, first=10)

    assert trace.calls == 2
    whole = json.loads(path.read_text())
    first, second = (event for event in whole["traceEvents"] if event.get("cat") == "call")
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in whole["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert names[first["pid"], 78].startswith("dask ")
    assert names[first["pid"], 78].endswith(" on far.example")
    assert first["pid"] not in (77, os.getpid())
    assert (first["dur"], first["args"]["cpu"], first["args"]["dispatch"]) == (2, 1.5, 1)
    assert (second["dur"], second["args"]["ending"], second["args"]["transfer"]) == (3, "raised", 1)
    assert (first["args"]["index"], second["args"]["index"], round(second["ts"] - first["ts"], 3)) == (10, 11, 3)
    # Of 50 us, 8 were the worker's: as long on the way there as on the way back.
    assert first["args"]["queue"] == 21


def test_times_of_a_worker_are_dropped_once_nobody_traces():
    _trace.ran("dask", "work", 1, Times("here", 1, 1, 1, 2, [(1, 2, 1, True)]))

    assert not _native.tracing()
