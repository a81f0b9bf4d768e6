"""Worker interpreters: what travels, what is barred, what `auto` does about it, and what older Pythons say.

The contract that they share with the other backends is in `test_contract.py`.
"""

import os
import sys
import textwrap
import threading

import pytest

import functions
import interpreter_functions
import pointsman
from pointsman import _default, _planner
from pointsman._edition import INTERPRETERS
from pointsman._engine import Run
from pointsman._job import Job
from pointsman._plan import Plan

pytestmark = pytest.mark.timeout(60)

needs_interpreters = pytest.mark.skipif(not INTERPRETERS, reason="interpreter pools came with CPython 3.14")


@pytest.mark.skipif(INTERPRETERS, reason="this Python has them")
@pytest.mark.parametrize(
    "ask",
    [
        lambda: pointsman.execute(abs, [1], backend="interpreters"),
        lambda: pointsman.map(abs, [1], backend="interpreters"),
        lambda: pointsman.options(backend="interpreters"),
        lambda: pointsman.Executor(backend="interpreters"),
    ],
    ids=["execute", "map", "options", "executor"],
)
def test_an_older_python_names_the_version_that_is_needed(ask):
    with pytest.raises(pointsman.InvalidArgumentError, match=r"CPython 3\.14 or later.*use backend='processes'"):
        ask()


@needs_interpreters
def test_calls_run_in_other_interpreters_of_this_process():
    ran = pointsman.execute(
        lambda _: (interpreter_functions.interpreter(), os.getpid()), range(8), backend="interpreters", max_workers=2
    )

    assert {process for _, process in ran} == {os.getpid()}
    assert interpreter_functions.interpreter() not in {place for place, _ in ran}


@needs_interpreters
def test_an_executor_runs_calls_in_as_many_interpreters_as_it_was_told(tmp_path):
    with pointsman.Executor(3, backend="interpreters") as executor:
        met = list(executor.map(functions.meet, [str(tmp_path)] * 3, [3] * 3, range(3)))
        workers = executor.get_stats().active_threads

    assert (met, workers) == ([True] * 3, 3)


@needs_interpreters
def test_an_executor_gives_the_results_of_map_in_chunks_and_singly():
    with pointsman.Executor(2, backend="interpreters") as executor:
        chunked = list(executor.map(functions.square, range(50), chunksize=7))
        single = list(executor.map(functions.add, range(20), range(20)))
        stats = executor.get_stats()

    assert (chunked, single) == ([x * x for x in range(50)], [2 * x for x in range(20)])
    assert (stats.failed_tasks, stats.completed_tasks) == (0, 8 + 20)


@needs_interpreters
def test_an_initializer_prepares_each_interpreter():
    with pointsman.Executor(2, initializer=os.putenv, initargs=("X", "1"), backend="interpreters") as executor:
        assert executor.submit(functions.square, 4).result() == 16


@needs_interpreters
def test_an_initializer_that_raises_breaks_the_executor():
    with pointsman.Executor(1, initializer=functions.fail, initargs=(1,), backend="interpreters") as executor:
        with pytest.raises(pointsman.PoolBrokenError, match="initializer fail raised"):
            executor.submit(functions.square, 4).result()
        with pytest.raises(pointsman.PoolBrokenError):
            executor.submit(functions.square, 4).result()


@needs_interpreters
def test_what_the_main_module_defines_comes_back_as_the_same_class(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import pointsman

        class Point:
            def __init__(self, x): self.x = x

        def double(point):
            return Point(2 * point.x)

        points = pointsman.execute(double, [Point(1), Point(2)], backend="interpreters")
        assert all(type(point) is Point for point in points)
        print([point.x for point in points], pointsman.options(backend="interpreters").run(lambda x: x + 1, 1))
        """)
    )
    import subprocess

    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=50, check=False)

    assert (done.stdout, done.stderr) == ("[2, 4] 2\n", "")


@needs_interpreters
def test_a_module_that_is_barred_is_a_clear_error_where_interpreters_were_asked_for():
    pytest.importorskip("numpy")

    with pytest.raises(pointsman.BarredError, match=r"with_numpy \(item 0\) needs numpy\S*, which cannot be loaded"):
        pointsman.execute(interpreter_functions.with_numpy, range(4), backend="interpreters")
    with pytest.raises(pointsman.BarredError, match="use backend='processes', or 'threads'"):
        pointsman.options(backend="interpreters").submit(interpreter_functions.with_numpy, 1).result()


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"timeout": 1}, "timeout="),
        ({"retries": 2}, "retries="),
        ({"kill_on_cancel": True}, "kill_on_cancel="),
    ],
)
@needs_interpreters
def test_what_only_a_process_can_keep_is_refused(keywords, what):
    with pytest.raises(pointsman.InvalidArgumentError, match=f"{what}.*use backend='processes'"):
        pointsman.execute(functions.square, range(3), backend="interpreters", **keywords)


@needs_interpreters
@pytest.mark.parametrize(
    "option", [{"max_tasks_per_child": 3}, {"memory_limit": 10**9}, {"shared_memory": 10**9}, {"mp_context": "spawn"}]
)
def test_what_belongs_to_worker_processes_is_refused_by_an_executor(option):
    with pytest.raises((pointsman.InvalidArgumentError, pointsman.InvalidTypeError)):
        pointsman.Executor(2, backend="interpreters", **option)


@needs_interpreters
def test_calls_that_raise_what_was_named_are_begun_again(tmp_path):
    def fails_once(path):
        first = not os.path.exists(path)
        functions.note(path, "called")
        if first:
            raise ValueError("once")
        return "well"

    view = pointsman.options(backend="interpreters", retries=2, retry_on=ValueError)

    assert view.submit(fails_once, str(tmp_path / "a")).result() == "well"
    assert view.execute(fails_once, [str(tmp_path / "b")]) == ["well"]


@needs_interpreters
def test_coroutines_run_to_their_end_on_one_loop_of_their_interpreter():
    with pointsman.Executor(1, backend="interpreters") as executor:
        ran = [executor.submit(interpreter_functions.add_later, x).result() for x in range(3)]

    assert [x for x, _ in ran] == [1, 2, 3]
    assert len({loop for _, loop in ran}) == 1


@needs_interpreters
def test_within_an_interpreter_jobs_are_plain_loops_and_what_needs_more_is_refused():
    def job(_):
        refused = []
        for ask in (
            lambda: pointsman.Executor(),
            lambda: pointsman.execute(abs, [1], backend="processes"),
            lambda: pointsman.execute(abs, [1], timeout=1),
        ):
            try:
                ask()
            except pointsman.InvalidArgumentError as error:
                refused.append("worker interpreter" in str(error))
        kept = pointsman.execute(functions.fail_if_odd, [1, 2], on_error="return")
        return (
            pointsman.execute(functions.square, [2], max_workers=3),
            list(pointsman.map(functions.add, [1], [2])),
            pointsman.run(interpreter_functions.add_later, 1)[0],
            pointsman.submit(functions.square, 3).result(),
            [type(kept[0]).__name__, kept[1]],
            refused,
        )

    (told,) = pointsman.execute(job, [0], backend="interpreters")

    assert told == ([4], [3], 2, 9, ["Boom", 2], [True] * 3)


def test_the_planner_prices_interpreters_only_where_there_are_some():
    from pointsman import _native

    seen = _native.Observation(calls=5, held=0.05)
    with_them = _native.decide(seen, _native.Machine(cores=4, interpreters=True), calls=100)
    without = _native.decide(seen, _native.Machine(cores=4), calls=100)

    assert _planner.machine().interpreters is INTERPRETERS
    assert "interpreters" in {candidate.backend for candidate in with_them.candidates}
    assert "interpreters" not in {candidate.backend for candidate in without.candidates}


def test_interpreters_are_chosen_when_they_are_predicted_to_be_faster():
    from pointsman import _native

    seen = _native.Observation(calls=5, held=0.05)
    slow_to_start = _native.Machine(cores=4, interpreters=True, process_first=60.0)
    decision = _native.decide(seen, slow_to_start, calls=100)
    struck = _native.decide(seen, slow_to_start, calls=100, struck={"interpreters": "it appends to rows"})

    assert decision.candidate.backend == "interpreters"
    assert struck.candidate.backend != "interpreters"
    assert any("interpreters are struck out: it appends to rows" in reason for reason in struck.reasons)


# ------------------------------------------------------------------------------------------- auto


def sent_to_interpreters(job):
    """Return the run of a job for which the planner has chosen two interpreters."""
    run = Run(job)
    run.plan = Plan(backend="interpreters", max_workers=3, processes=2, caller_shares=True, function=job.name)
    run._given = run.plan
    # What the planner would say next, were they struck out.
    run.decide = lambda **_: Plan(backend="inline", max_workers=1, function=job.name)
    return run


@needs_interpreters
def test_auto_takes_another_way_before_any_call_if_the_function_cannot_be_loaded_there(tmp_path):
    numpy = pytest.importorskip("numpy")
    path = str(tmp_path / "calls")

    def uses_it(x):
        functions.note(path, x)
        return int(numpy.sum([x, x]))

    run = sent_to_interpreters(Job(uses_it, (range(20),)))

    assert [x for values in run.stream() for x in values] == [2 * x for x in range(20)]
    assert run.plan.backend == "inline"
    assert "cannot be loaded in a worker interpreter" in run._struck["interpreters"]
    assert len((tmp_path / "calls").read_text().splitlines()) == 20


@needs_interpreters
def test_auto_sees_imports_in_the_functions_own_code():
    pytest.importorskip("numpy")
    run = sent_to_interpreters(Job(interpreter_functions.with_numpy, (range(20),)))

    assert [x for values in run.stream() for x in values] == [2 * x for x in range(20)]
    assert "interpreters" in run._struck


@needs_interpreters
def test_auto_makes_calls_here_that_meet_a_barred_module_in_their_course():
    pytest.importorskip("numpy")

    def hidden(x):
        from importlib import import_module

        return int(import_module("num" + "py").sum([x, x]))

    run = sent_to_interpreters(Job(hidden, (range(40),)))

    assert [x for values in run.stream() for x in values] == [2 * x for x in range(40)]


@needs_interpreters
def test_auto_runs_calls_in_interpreters_that_may_go_there():
    def places(x):
        threading.Event().wait(0.01)
        return x, interpreter_functions.interpreter()

    run = sent_to_interpreters(Job(places, (range(60),)))
    ran = [x for values in run.stream() for x in values]

    assert [x for x, _ in ran] == list(range(60))
    assert len({place for _, place in ran}) > 1


@needs_interpreters
def test_the_programs_interpreters_can_be_ended_and_come_back():
    pointsman.execute(functions.square, range(4), backend="interpreters")
    running = _default.interpreters_running()
    _default.shutdown()

    assert running > 0
    assert _default.interpreters_running() == 0
    assert pointsman.execute(functions.square, range(4), backend="interpreters") == [0, 1, 4, 9]


@needs_interpreters
def test_a_plan_says_that_it_uses_interpreters():
    _, plan = pointsman.execute(
        functions.square, range(4), backend="interpreters", max_workers=2, return_optimization_result=True
    )

    assert (plan.backend, plan.max_workers, plan.processes) == ("interpreters", 2, 2)
    assert "2 worker interpreters" in str(plan)


@needs_interpreters
def test_a_program_may_fork_after_it_has_used_interpreters():
    assert pointsman.execute(functions.square, range(4), backend="interpreters") == [0, 1, 4, 9]

    child = os.fork()
    if child == 0:
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pointsman.execute(functions.square, range(4), backend="interpreters") == [0, 1, 4, 9]
