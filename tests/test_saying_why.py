"""A plan says why: as text, in a notebook, as a chart; and its options change what it says and chooses.

What it does not know: how the planner prices a candidate.
"""

import hashlib
import sys
import time

import pytest

import functions
import pointsman
from pointsman._advice import advise
from pointsman._job import Job
from pointsman._plan import Candidate, Observation, Plan

pytestmark = pytest.mark.timeout(60)


def burn(x):
    until = time.perf_counter() + 0.003
    while time.perf_counter() < until:
        x += 1
    return x


def rest(x):
    time.sleep(0.005)
    return x


def rest_and_burn(x):
    time.sleep(0.003)
    return burn(x)


def forgets_to_return(x):
    burn(x)


def way(backend, workers, seconds, *, processes=0, threads=1):
    return Candidate(
        backend=backend,
        workers=workers,
        processes=processes,
        threads_per_worker=threads,
        chunksize=1,
        seconds=seconds,
        start_up=0.0,
        rate=1.0,
        limit="workers",
        struck_out=None,
    )


def seen(**figures):
    fields = {"calls": 4, "held": 0.0, "free": 0.0, "wait": 0.0, "argument_bytes": 0, "result_bytes": 0}
    return Observation(**{**fields, "other_threads": 0.0, "partial": False, **figures})


def priced(candidates, observation, workload, chosen):
    return Plan(
        backend=chosen.backend,
        max_workers=chosen.workers,
        processes=chosen.processes,
        threads_per_worker=chosen.threads_per_worker,
        workload=workload,
        estimated_seconds=chosen.seconds,
        observation=observation,
        candidates=tuple(sorted(candidates, key=lambda one: one.seconds)),
        reasons=("priced", "the one taken"),
        function="f",
        calls=10,
    )


# ---------------------------------------------------------------------------------------------- as text


def test_the_tree_gives_the_figure_of_the_best_of_each_way_on_mixed_work():
    plan = pointsman.optimize(rest_and_burn, range(200))
    branch = str(plan).split("which way is cheapest?")[1].split("=>")[0]

    assert "threads" in branch
    assert "plain loop" in branch
    assert "processes" in branch
    assert branch.count("▶") == 1


def test_every_backend_is_in_the_table_however_slow():
    fast = [way("threads", n, 0.001 * n) for n in range(2, 30)]
    slow = [way("inline", 1, 9.0), way("processes", 2, 8.0, processes=2)]
    text = str(priced(fast + slow, seen(wait=1.0), "io-bound", fast[0])).split("candidate  ")[1]

    assert "plain loop" in text
    assert "processes 2" in text


def test_a_trifling_job_is_drawn_as_one_with_nothing_to_choose():
    plan = pointsman.optimize(functions.square, range(20))

    assert plan.observation is not None
    assert "is there enough to gain?" in str(plan)
    assert "candidate" not in str(plan)
    assert plan.workload in {"cpu-bound", "gil-free", "mixed", "io-bound"}


def test_a_plan_made_while_a_call_runs_says_so():
    loop = way("inline", 1, 9.0)
    text = str(priced([loop], seen(wait=0.5, partial=True), "io-bound", loop))

    assert "over 500 ms" in text
    assert "still ran" in text


def test_threads_that_a_job_itself_starts_are_not_taken_for_those_of_its_calls():
    def long(x):
        time.sleep(0.05)
        return x

    _results, plan = pointsman.execute(long, range(20), return_optimization_result=True)

    assert plan.backend == "threads"
    assert not [warning for warning in plan.warnings if "threads of its own" in warning]


def test_what_the_code_suggests_stands_beside_what_was_measured():
    plan = pointsman.optimize(rest, range(200))

    assert plan.hints == ("sleeps",)
    assert "what does the code say?" in str(plan)
    assert "sleeps: a weak prior; measured:" in str(plan)
    assert pointsman.Plan.from_json(plan.to_json()).hints == plan.hints


def test_verbose_prints_the_same_to_standard_error(capsys):
    plan = pointsman.optimize(rest, range(50), verbose=True)

    assert capsys.readouterr().err == f"{plan}\n"


def test_after_a_run_the_prediction_stands_beside_what_it_took():
    _results, plan = pointsman.execute(rest, range(100), return_optimization_result=True)

    assert "were predicted" in str(plan).splitlines()[-1]


# ------------------------------------------------------------------------------------------- in a notebook


def test_the_drawing_for_a_notebook_asks_nobody_for_anything():
    html = pointsman.optimize(burn, range(200))._repr_html_()

    assert not [word for word in ("http", "src=", "<script", "<link", "@import", "url(") if word in html]


def test_exactly_one_row_is_chosen_in_a_notebook():
    html = pointsman.optimize(burn, range(200))._repr_html_()

    assert html.count("<tr class=chosen>") == 1


def test_a_notebook_shows_warnings_and_turning_points_escaped():
    loop = way("inline", 1, 9.0)
    plan = priced([loop], seen(wait=0.5), "io-bound", loop)
    plan.warnings, plan.turning_points = ("a <b>",), ("with <2 calls",)

    assert "a &lt;b&gt;" in plan._repr_html_()
    assert "with &lt;2 calls" in plan._repr_html_()


# --------------------------------------------------------------------------------------------- as a chart


def test_a_chart_has_a_line_for_each_backend_with_the_predicted_seconds():
    pytest.importorskip("matplotlib")
    plan = pointsman.optimize(burn, range(200))
    left, right = plan.plot().axes
    [loop] = [line for line in left.get_lines() if line.get_label() == "plain loop"]
    inline = next(one for one in plan.candidates if one.backend == "inline")

    assert {"plain loop", "threads", "processes", "chosen"} <= {line.get_label() for line in left.get_lines()}
    assert list(loop.get_ydata()) == [inline.seconds]
    assert right.get_ylabel() == "times the plain loop's speed"


def test_without_matplotlib_the_error_has_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    plan = pointsman.optimize(burn, range(200))

    with pytest.raises(pointsman.MissingExtraError, match=r"pip install 'pointsman\[plot\]'"):
        plan.plot()


def test_a_plan_without_candidates_cannot_be_plotted_and_says_why():
    with pytest.raises(pointsman.InvalidArgumentError, match="too little is left"):
        pointsman.optimize(functions.square, range(20)).plot()


# ------------------------------------------------------------------------------------------------ options


def test_a_profile_has_every_sampled_call_with_seconds_and_bytes():
    plan = pointsman.optimize(lambda x: burn(x) and b"x" * 1000, range(50), profile=True, sample_size=5)

    assert len(plan.samples) >= 5
    assert all(sample.seconds >= 0.003 for sample in plan.samples)
    assert all(1000 < sample.result_bytes < 1100 for sample in plan.samples)
    assert all(0 < sample.argument_bytes < 100 for sample in plan.samples)
    assert "plan.samples" in str(plan)
    assert pointsman.Plan.from_json(plan.to_json()) == plan


def test_a_run_keeps_its_profile_and_its_results():
    results, plan = pointsman.execute(rest, range(50), profile=True, return_optimization_result=True)

    assert results == list(range(50))
    assert plan.samples


def test_without_profile_no_samples_are_kept():
    assert pointsman.optimize(rest, range(50)).samples == ()


def test_a_profile_of_what_is_not_measured_says_so():
    plan = pointsman.optimize(rest, range(50), backend="inline", profile=True)

    assert plan.samples == ()
    assert "nothing was measured" in str(plan)


def test_a_sample_size_where_nothing_is_measured_says_so_and_only_there():
    fixed = pointsman.optimize(rest, range(50), backend="processes", max_workers=2, sample_size=3)
    measured = pointsman.optimize(rest, range(50), sample_size=3)
    few = pointsman.optimize(functions.square, range(20), sample_size=3)

    assert "sample_size" in str(fixed)
    assert not any("sample_size" in warning for plan in (measured, few) for warning in plan.warnings)


@pytest.mark.parametrize("option", ["profile", "prefer_threads_for_io", "auto_adjust_for_nested_parallelism"])
@pytest.mark.parametrize("value", [1, 0, "yes", None])
@pytest.mark.parametrize("call", [pointsman.optimize, pointsman.execute])
def test_a_switch_is_a_bool_and_nothing_else(call, option, value):
    with pytest.raises(TypeError, match=option):
        call(rest, [1], **{option: value})


CLOSE = [way("processes", 64, 1.0, processes=2, threads=32), way("threads", 64, 1.05), way("inline", 1, 50.0)]
FAR = [way("processes", 64, 1.0, processes=2, threads=32), way("threads", 64, 1.5), way("inline", 1, 50.0)]


@pytest.mark.parametrize(
    ("ways", "prefer", "backend"),
    [(CLOSE, True, "threads"), (CLOSE, False, "processes"), (FAR, True, "processes")],
)
def test_waiting_work_takes_threads_if_they_are_preferred_and_close(ways, prefer, backend):
    plan = priced(ways, seen(wait=0.1), "io-bound", ways[0])
    advise(plan, Job(rest, ([1],), prefer_threads=prefer), None, 0, only_none=False)

    assert plan.backend == backend
    assert ("prefer_threads_for_io" in plan.reasons[-1]) == (backend == "threads")
    assert plan.estimated_seconds == next(one.seconds for one in ways if one.backend == backend)


NESTED = [way("threads", 8, 1.0), way("threads", 2, 1.1), way("inline", 1, 1.2)]


@pytest.mark.parametrize(("adjust", "workers"), [(True, 1), (False, 8)])
def test_thread_counts_follow_the_threads_of_the_calls(adjust, workers, monkeypatch):
    from pointsman import _machine

    facts = _machine.facts()._replace(cores=2)
    monkeypatch.setattr(_machine, "facts", lambda: facts)
    plan = priced(NESTED, seen(free=0.1, other_threads=0.09), "gil-free", NESTED[0])
    advise(plan, Job(rest, ([1],), nested=adjust), None, 0, only_none=False)

    assert plan.max_workers == workers
    assert any("1.9 cores busy" in warning for warning in plan.warnings) == adjust


def test_a_function_that_only_returns_none_though_it_only_computes_is_warned_of():
    # On a busy machine a call may seem to wait, and not to compute.
    plans = (pointsman.optimize(forgets_to_return, range(200)) for _ in range(20))

    assert any("`return` missing" in warning for plan in plans for warning in plan.warnings)


@pytest.mark.parametrize("function", [burn, rest, lambda x: hashlib.sha256(bytes(3_000_000 + x)).digest()])
def test_functions_that_return_something_are_not_warned_of(function):
    plan = pointsman.optimize(function, range(200))

    assert not any("missing" in warning for warning in plan.warnings)


def test_a_function_that_writes_what_others_read_may_return_none():
    gathered = []

    def gather(x):
        burn(x)
        gathered.append(x)

    assert not any("missing" in warning for warning in pointsman.optimize(gather, range(200)).warnings)
