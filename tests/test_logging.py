"""The logger `pointsman`: what is said at which level, and that nobody hears it who does not listen."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

import functions
import pointsman
from fixtures import wait_until


def double(number):
    return 2 * number


def nap(number):
    time.sleep(0.003)
    return number


def die_at_three(number):
    if number == 3:
        os._exit(7)
    return number


native = pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("POINTSMAN_PROCESSES") == "stdlib",
    reason="the standard library's worker processes do not tell of one that died",
)


def said(caplog, level):
    return [record.getMessage() for record in caplog.records if record.name == "pointsman" and record.levelno == level]


def test_a_decision_is_info_with_its_reason(caplog):
    caplog.set_level(logging.DEBUG, "pointsman")
    pointsman.execute(nap, range(60))

    decisions = said(caplog, logging.INFO)
    assert any(text.startswith("nap: runs on") and "because" not in text for text in decisions), decisions
    assert any("waited for" in text for text in said(caplog, logging.DEBUG))


def test_what_was_asked_for_is_said_too(caplog):
    caplog.set_level(logging.INFO, "pointsman")
    pointsman.execute(double, range(5), backend="inline")

    assert said(caplog, logging.INFO) == [
        "double: runs on the caller's thread: backend='inline' and max_workers=None were asked for"
    ]


def test_a_change_of_mind_is_a_warning(caplog):
    caplog.set_level(logging.DEBUG, "pointsman")
    from pointsman import _log
    from pointsman._plan import Plan

    class Job:
        name = "work"

    before, after = Plan(backend="threads", max_workers=4), Plan(backend="processes", max_workers=2, processes=2)
    _log.decided(Job, after, before)

    assert [text[:43] for text in said(caplog, logging.WARNING)] == ["work: moves from 4 threads to 2 processes: "]


@native
def test_the_death_of_a_worker_is_a_warning_that_says_what_becomes_of_its_place(caplog):
    caplog.set_level(logging.WARNING, "pointsman")
    # A pool of its own: how a worker ended is known to the zygote that forked it, and other tests kill zygotes.
    with pointsman.Executor(2, backend="processes") as pool:
        with pytest.raises(pointsman.WorkerDied):
            pool.submit(die_at_three, 3).result(functions.PATIENCE)
        # Who watches the process tells of its end, which may be later than its call's.
        until = time.monotonic() + functions.PATIENCE
        while not any("ended itself with code 7" in text for text in said(caplog, logging.WARNING)):
            assert time.monotonic() < until
            pool.submit(double, 2).result(functions.PATIENCE)
    # Workers of other pools may have died meanwhile.
    (text,) = [text for text in said(caplog, logging.WARNING) if "ended itself with code 7" in text]
    assert text.endswith(": another takes its place")


@native
def test_the_death_of_an_idle_worker_is_told_though_nobody_asks_for_anything(caplog):
    caplog.set_level(logging.WARNING, "pointsman")
    with pointsman.Executor(1, backend="processes") as pool:
        worker = pool.submit(os.getpid).result(functions.PATIENCE)
        os.kill(worker, signal.SIGKILL)

        assert wait_until(
            lambda: any(f"process {worker} was killed by signal 9" in text for text in said(caplog, logging.WARNING))
        )
    (text,) = [text for text in said(caplog, logging.WARNING) if str(worker) in text]
    assert text.endswith(": another takes its place")


def test_workers_that_end_in_order_are_no_warning(caplog):
    caplog.set_level(logging.WARNING, "pointsman")
    with pointsman.Executor(2, backend="processes") as pool:
        assert pool.submit(double, 2).result() == 4

    assert said(caplog, logging.WARNING) == []


def test_an_error_is_said_at_the_end_of_its_job(caplog):
    caplog.set_level(logging.DEBUG, "pointsman")
    with pytest.raises(TypeError):
        pointsman.execute(double, [1, None], backend="inline")

    assert any("double: ended by TypeError after" in text for text in said(caplog, logging.DEBUG))


SILENT = """
import logging, os, sys
import pointsman
def die(n):
    if n == 3:
        os._exit(7)
    return n
pointsman.execute(die, range(8), backend="processes", max_workers=2, on_error="return")
pointsman.execute(die, range(3))
"""


def test_nothing_is_written_unless_somebody_listens(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(SILENT)
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)

    assert (answer.stdout, answer.stderr) == ("", "")


def test_a_program_without_logging_is_spared_its_import(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, pointsman\n"
        "assert pointsman.execute(abs, range(1000), backend='inline') == list(range(1000))\n"
        "assert 'logging' not in sys.modules\n"
    )
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)

    assert answer.returncode == 0, answer.stderr


DAMAGED = """
import sys
import pointsman
pointsman.remember(sys.argv[1])
print(pointsman.execute(abs, range(3)))
"""


@pytest.mark.parametrize(("strict", "shown"), [((), True), (("-W", "error"), False)])
def test_a_damaged_file_is_a_warning_that_names_it_and_the_line_and_never_an_error(tmp_path, strict, shown):
    script, learnt = tmp_path / "program.py", tmp_path / "learnt.json"
    script.write_text(DAMAGED)
    learnt.write_text("{")
    answer = subprocess.run(
        [sys.executable, *strict, str(script), str(learnt)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (answer.returncode, answer.stdout) == (0, "[0, 1, 2]\n"), answer.stderr
    assert (f"program.py:4: RuntimeWarning: ignored the damaged file {learnt}" in answer.stderr) == shown, answer.stderr
    assert answer.stderr.count("Warning:") == shown


def test_a_damaged_cache_of_the_machine_is_a_warning_too(tmp_path):
    program = "from pathlib import Path; import pointsman._machine as m; Path(m._store().path).write_text('{')"
    environ = {**os.environ, "POINTSMAN_CACHE_DIR": str(tmp_path)}
    for command in (program, "import pointsman._machine as m; m._store(); print(len(m.constants()))"):
        answer = subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=True, env=environ
        )

    assert answer.stdout == "0\n"
    assert f"RuntimeWarning: ignored the damaged cache file {tmp_path}" in answer.stderr
