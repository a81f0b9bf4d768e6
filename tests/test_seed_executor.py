"""Every example of the document that `Executor` follows runs with only its import changed, and means what it says.

What it does not know: how the executor works (test_executor.py).

Invariants:
    S1. The examples are one program, as a reader takes them: what one defines the next ones use. What none of them defines
        (`some_function`, ...) is in `PRELUDE`.
    S2. Only figures are changed that would take minutes: each is named in `SMALLER`.
"""

import functools
import re
import threading
import time
from pathlib import Path

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(120)

TEXT = (Path(__file__).parent / "seeds" / "executor.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (\d+\. .*?)\n\n```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

SMALLER = {
    "range(n * 1000000)": "range(n * 100)",
    "time.sleep(duration)": "time.sleep(duration / 20)",
    "        time.sleep(1)": "        time.sleep(0.01)",
}

PRELUDE = """
import os, threading, time
processed, stole = [], set()
def some_function(i): return i * 2
def process_result(result): processed.append(result)
def important_task(): return "important"
def normal_task(): return "normal"
def background_task(): return "background"
def quick_task(i): return i
def slow_task(i): stole.add(threading.get_ident()); time.sleep(0.005); return -i
def task_func(i): return i
def another_task(): return "done"
def process_item(item): return item + 1
large_dataset = list(range(250))
"""


@pytest.fixture(scope="module")
def program():
    """The examples that ran so far, as one namespace."""
    namespace = {"__name__": "seed_examples"}
    exec(PRELUDE, namespace)
    return namespace


def test_there_are_all_of_them():
    assert len(EXAMPLES) == 20


def made_smaller(code):
    for figure, smaller in SMALLER.items():
        code = code.replace(figure, smaller)
    return code.replace("from pyferris import", "from pointsman import")


@pytest.mark.parametrize("title", [title for title, _ in EXAMPLES])
def test_an_example_runs_and_means_what_it_says(title, program, capsys):
    code = made_smaller(dict(EXAMPLES)[title])
    assert "pyferris" not in code

    exec(compile(code, title, "exec"), program)

    check = CHECKS.get(int(title.split(".")[0]))
    if check is not None:
        check(program, capsys.readouterr().out)


def _made(program, _out):
    executor = program["executor"]
    assert (executor._max_workers, executor._queue_capacity) == (16, 1000)
    assert executor.submit(pow, 2, 5).result() == 32


def _numbers(program, _out):
    assert program["results"] == [sum(range(n * 100)) for n in range(10, 20)]


def _chunks(program, out):
    assert program["results"] == [sum(x**2 for x in range(at, at + 1000)) for at in range(0, 10_000, 1000)]
    assert "Processed 10 chunks" in out


def _completed(_program, out):
    assert "Completed 5 tasks within timeout" in out
    assert out.count("Got result: Task") == 5


def _block(program, _out):
    assert sorted(program["processed"]) == [2 * i for i in range(100)]


def _errors(_program, out):
    assert "Task 14 failed: Value 14 is divisible by 7!" in out
    assert "Task 19: 361" in out
    assert out.count("failed") == 3


def _stats(program, out):
    stats = program["stats"]
    assert stats.completed_tasks + stats.queued_tasks + stats.running_tasks == 100
    assert stats.failed_tasks == 0
    assert 0 <= stats.active_threads <= 8
    assert stats.total_execution_time >= 0
    assert "Total execution time: " in out


def _monitor(_program, out):
    done = [int(count) for count in re.findall(r"Progress: (\d+)/20 tasks", out)]
    assert done == sorted(done)
    assert all(float(percent) >= 0 for percent in re.findall(r"CPU Usage: ([\d.]+)%", out))
    assert all(1 < float(megabytes) < 1e6 for megabytes in re.findall(r"Memory Usage: ([\d.]+) MB", out))
    assert "All tasks completed in" in out


def _priorities(program, _out):
    futures = [program[name] for name in ("high_priority_future", "normal_future", "low_priority_future")]
    assert [future.result(10) for future in futures] == ["important", "normal", "background"]


def _stealing(program, _out):
    assert program["results"] == [*range(50), *(-i for i in range(10))]
    assert len(program["stole"]) > 1


def _async(_program, out):
    assert f"Async result: {sum(i * i for i in range(1_000_000))}" in out


def _pipeline(program, out):
    assert program["results"] == [2 * i + 1 for i in range(100)]
    assert "Pipeline processed 100 items" in out


def _workers(program, _out):
    assert program["executor"].submit(pow, 2, 5).result() == 32


def _memory(program, _out):
    executor = program["MemoryAwareExecutor"](max_workers=2, memory_limit_gb=1024)
    assert executor.submit_with_memory_check(pow, 2, 4).result() == 16


def _closed(program, _out):
    assert program["results"] == list(range(100))
    with pytest.raises(RuntimeError):
        program["executor"].submit(pow, 2, 2)


def _strategy(program, _out):
    with pointsman.Executor(2) as executor:
        good, bad = program["robust_task_execution"](executor, [(pow, (2, 3)), (divmod, (1, 0))])
    assert (good, bad) == ([8], ["divmod"])


def _batches(program, _out):
    program["optimize_executor_performance"]()
    assert isinstance(program["os"].cpu_count(), int)


def _out_of_memory(program, _out):
    assert program["results"][-1] == 250


def _nested(program, _out):
    program["executor"] = pointsman.Executor(1)
    outer = program["executor"].submit(program["bad_nested_task"])
    assert outer.result(10) == "done"
    assert program["good_approach"]() == "done"


def _profile(program, out):
    assert program["results"] == list(range(1000))
    assert "Execution efficiency" in out


CHECKS = {
    1: _made, 2: _numbers, 3: _chunks, 4: _completed, 5: _block, 6: _errors, 7: _stats, 8: _monitor, 9: _priorities, 10: _stealing,
    11: _async, 12: _pipeline, 13: _workers, 14: _memory, 15: _closed, 16: _strategy, 17: _batches, 18: _out_of_memory,
    19: _nested, 20: _profile,
}  # fmt: skip


def test_the_priorities_of_the_example_decide_the_order(program, monkeypatch):
    (title,) = (title for title, _ in EXAMPLES if title.startswith("9."))
    order, gate, begun = [], threading.Event(), threading.Event()
    busy = pointsman.Executor(1)
    busy.submit(lambda: (begun.set(), gate.wait(functions.PATIENCE)))
    assert begun.wait(functions.PATIENCE)
    # The example's own pool has four idle threads, which take each call as it comes.
    monkeypatch.setattr(pointsman, "Executor", lambda **_options: busy)
    tasks = {f"{name}_task": functools.partial(order.append, name) for name in ("background", "normal", "important")}

    exec(compile(made_smaller(dict(EXAMPLES)[title]), title, "exec"), program | tasks)
    gate.set()
    busy.shutdown()

    assert order == ["important", "normal", "background"]


def test_no_example_leaves_its_threads_for_long(program):
    executors = [value for value in program.values() if isinstance(value, pointsman.Executor)]
    for executor in executors:
        executor.shutdown()

    assert all(executor.get_stats().queued_tasks == 0 for executor in executors)
    time.sleep(0)
