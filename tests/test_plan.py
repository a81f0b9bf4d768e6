"""Plans: what a decision says of itself.

What it does not know: how the planner prices a candidate (its own tests), or whether the prediction was good (benches).
"""

import concurrent.futures
import json
import re
import time

import pytest

import functions
import pointsman
from pointsman._machine import facts

pytestmark = pytest.mark.timeout(60)


def burn(x: int) -> int:
    """Compute for about ten milliseconds, the GIL held."""
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        x += 1
    return x


def rest(x: int) -> int:
    time.sleep(0.01)
    return x


@pytest.fixture(scope="module")
def measured():
    return pointsman.optimize(burn, range(200))


def test_a_plan_names_a_backend_and_positive_counts(measured):
    assert measured.backend in {"inline", "threads", "processes"}
    assert measured.max_workers >= 1
    assert measured.chunksize >= 1
    assert measured.threads_per_worker >= 1
    assert measured.estimated_seconds > 0
    assert measured.estimated_speedup > 0


def test_every_candidate_has_its_predicted_seconds(measured):
    assert {"inline", "threads", "processes"} <= {candidate.backend for candidate in measured.candidates}
    assert all(candidate.seconds > 0 for candidate in measured.candidates)


def test_the_plan_is_the_cheapest_of_its_candidates_but_for_a_tie(measured):
    open_ones = [candidate for candidate in measured.candidates if not candidate.struck_out]
    [chosen] = [
        candidate
        for candidate in open_ones
        if (candidate.backend, candidate.workers, candidate.processes, candidate.threads_per_worker)
        == (measured.backend, measured.max_workers, measured.processes, measured.threads_per_worker)
    ]

    assert chosen.seconds <= 1.1 * min(candidate.seconds for candidate in open_ones)
    assert measured.estimated_seconds == pytest.approx(chosen.seconds)


def test_candidates_are_sorted_with_the_fastest_first(measured):
    seconds = [candidate.seconds for candidate in measured.candidates if not candidate.struck_out]

    assert seconds == sorted(seconds)


def test_a_waiting_function_is_seen_as_waiting_and_goes_to_threads():
    plan = pointsman.optimize(rest, range(200))

    assert plan.workload == "io-bound"
    assert plan.backend == "threads"
    assert plan.max_workers > 2
    assert plan.observation.wait > 0.8 * (plan.observation.wait + plan.observation.held + plan.observation.free)
    assert plan.estimated_speedup > 2


@pytest.mark.skipif(not facts().gil, reason="this interpreter runs without the GIL")
def test_a_computing_function_is_seen_as_holding_the_gil(measured):
    # A machine that stalls for a moment makes some calls look as if they waited, too.
    plans = [measured, *(pointsman.optimize(burn, range(200)) for _ in range(2))]

    assert "cpu-bound" in {plan.workload for plan in plans}
    assert all(plan.observation.held > plan.observation.free for plan in plans)


def test_a_hashing_function_is_seen_as_free_of_the_gil():
    import hashlib

    data = bytes(8_000_000)

    def digest(n):
        return hashlib.sha256(data).hexdigest() + str(n)

    # A machine that stalls for a moment makes some calls look as if they waited, too.
    plans = [pointsman.optimize(digest, range(100)) for _ in range(3)]

    assert "gil-free" in {plan.workload for plan in plans}
    assert all(plan.observation.free > plan.observation.held for plan in plans)


def test_tiny_work_stays_inline():
    assert pointsman.optimize(functions.square, range(20)).backend == "inline"


@pytest.mark.parametrize("data", [[], [1]])
def test_with_nothing_left_to_run_the_plan_is_inline(data):
    assert pointsman.optimize(burn, data).backend == "inline"


def test_the_work_measured_is_counted_in_the_plan():
    plan = pointsman.optimize(burn, range(50))

    assert plan.calls == 50
    assert 1 <= plan.observation.calls < 50
    assert plan.function == "burn"


@pytest.mark.parametrize("size", [1, 3, 10])
def test_as_many_calls_are_measured_as_asked_for(size):
    assert pointsman.optimize(rest, range(50), sample_size=size).observation.calls == size


def test_optimize_does_not_run_the_rest(tmp_path):
    path = tmp_path / "calls"

    pointsman.optimize(lambda x: functions.note_and_nap(str(path), x), range(500))

    assert 1 <= len(path.read_text().splitlines()) < 50


def test_a_plan_for_a_generator_gives_back_every_input():
    plan = pointsman.optimize(burn, (x for x in range(40)))

    assert list(plan.data) == list(range(40))


def test_a_plan_for_a_generator_of_trifles_gives_back_every_input():
    plan = pointsman.optimize(functions.square, (x for x in range(2000)))

    assert list(plan.data) == list(range(2000))


def test_a_plan_for_a_list_gives_back_the_list():
    data = list(range(40))

    assert pointsman.optimize(burn, data).data is data


@pytest.mark.parametrize(
    ("options", "backend", "workers"),
    [
        ({"backend": "inline"}, "inline", 1),
        ({"backend": "threads", "max_workers": 3}, "threads", 3),
        ({"backend": "processes", "max_workers": 3}, "processes", 3),
        ({"max_workers": 1}, "inline", 1),
    ],
)
def test_what_was_asked_for_is_planned(options, backend, workers):
    plan = pointsman.optimize(functions.nap, range(50), **options)

    assert (plan.backend, plan.max_workers) == (backend, workers)


def test_no_plan_uses_more_workers_than_allowed():
    plan = pointsman.optimize(rest, range(200), max_workers=3)

    assert plan.max_workers <= 3
    assert all(candidate.workers <= 3 for candidate in plan.candidates if not candidate.struck_out)


def test_the_words_of_the_seed_read_the_plan():
    waiting = pointsman.optimize(rest, range(200))
    serial = pointsman.optimize(functions.square, [1])

    assert (waiting.executor_type, waiting.n_jobs) == ("thread", waiting.max_workers)
    assert (serial.executor_type, serial.n_jobs) == ("process", 1)
    with pytest.raises(AttributeError):
        serial.n_jobs = 4


# ---------------------------------------------------------------------------------------------- shown


def test_a_printed_plan_shows_the_figures_that_decided(measured):
    text = str(measured)

    assert "burn" in text
    assert "GIL-held" in text
    assert "waiting" in text
    assert "200 calls" in text
    assert "plain loop" in text
    assert all(reason in text for reason in measured.reasons)
    assert all(warning in text for warning in measured.warnings)


def test_a_printed_plan_marks_exactly_one_candidate_as_chosen(measured):
    rows = [line for line in str(measured).splitlines() if line.startswith("> ")]

    assert len(rows) == 1


def test_a_plan_that_was_not_measured_can_be_printed():
    assert "processes" in str(pointsman.optimize(functions.square, [1], backend="processes")).replace(
        "worker process", "processes"
    )


def test_a_plan_is_priced_anew_by_what_a_later_one_says_of_its_place(measured):
    plan = pointsman.Plan.from_json(measured.to_json())
    loop = next(candidate for candidate in measured.candidates if candidate.backend == "inline")
    cheapest = min(c.seconds for c in measured.candidates if c.place == plan.place)
    plan.estimated_seconds = plan.estimated_speedup = 0.0

    plan.price_again(measured)

    assert plan.estimated_seconds == cheapest
    assert plan.estimated_speedup == pytest.approx(loop.seconds / cheapest)
    assert "anew" in plan.reasons[-1]


def test_after_a_run_the_plan_says_what_it_took():
    _results, plan = pointsman.execute(rest, range(50), return_optimization_result=True)

    assert plan.actual.calls == 50
    assert plan.actual.backend == plan.backend
    assert plan.actual.seconds >= 0.01
    assert "50 calls" in str(plan).splitlines()[-1]


def test_a_plan_draws_itself_in_a_notebook(measured):
    html = measured._repr_html_()

    assert html.count("<tr") > 2
    assert "burn" in html


def test_names_of_the_users_are_escaped_in_a_notebook():
    plan = pointsman.optimize(lambda x: x, [1])

    assert "&lt;lambda&gt;" in plan._repr_html_()
    assert "<lambda>" not in plan._repr_html_()


# ----------------------------------------------------------------------------------------------- JSON


def test_a_plan_survives_json(measured):
    again = pointsman.Plan.from_json(measured.to_json())

    assert again == measured
    assert str(again) == str(measured)


def test_a_plan_that_was_run_survives_json():
    _results, plan = pointsman.execute(rest, range(20), return_optimization_result=True)

    assert pointsman.Plan.from_json(plan.to_json(indent=2)) == plan


def test_the_json_of_a_plan_is_plain_json(measured):
    fields = json.loads(measured.to_json())

    assert fields["backend"] == measured.backend
    assert len(fields["candidates"]) == len(measured.candidates)
    assert "data" not in fields


def test_a_plan_read_from_json_can_be_followed():
    plan = pointsman.Plan.from_json(pointsman.optimize(rest, range(50)).to_json())

    assert pointsman.execute(rest, range(50), plan=plan) == list(range(50))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not json", '{"backend": "threads"}', '{"observation": 5}'])
def test_text_that_is_no_plan_is_a_value_error_that_says_so(text):
    with pytest.raises(ValueError, match="plan") as caught:
        pointsman.Plan.from_json(text)

    assert isinstance(caught.value, pointsman.PointsmanError)


def test_a_plan_in_json_that_lacks_fields_or_has_others_is_told_which():
    fields = json.loads(pointsman.Plan(backend="threads", max_workers=2).to_json())
    others = {name: value for name, value in fields.items() if name not in ("backend", "observation")}

    with pytest.raises(pointsman.InvalidArgumentError, match="it has no 'backend', 'observation'"):
        pointsman.Plan.from_json(json.dumps(others))
    with pytest.raises(pointsman.InvalidArgumentError, match="a plan has no 'workers'"):
        pointsman.Plan.from_json(json.dumps({**fields, "workers": 2}))
    with pytest.raises(pointsman.InvalidArgumentError, match="'list'"):
        pointsman.Plan.from_json("[]")


def test_a_plan_that_was_followed_differs_from_its_copy_by_what_happened(measured):
    copy = pointsman.Plan.from_json(measured.to_json())
    pointsman.execute(functions.square, range(3), plan=copy)

    assert measured.actual is None
    assert copy.actual is not None
    assert pointsman.Plan.from_json(copy.to_json()) == copy != measured


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("max_workers", value) for value in (-3, 0, "x", None, True, 1.5, 1 << 70)],
        *[("chunksize", value) for value in ("a", 0, None)],
        *[("backend", value) for value in ("zzz", "auto", "", None, ["threads"])],
        *[("processes", value) for value in (-1, "2", None)],
        *[("threads_per_worker", value) for value in (-1, None)],
        ("executor", "zzz"),
        ("executor", ["thread"]),
        ("caller_shares", "yes"),
    ],
)
def test_a_plan_in_json_that_cannot_be_followed_names_the_field(field, value):
    fields = json.loads(pointsman.Plan(backend="threads", max_workers=2).to_json())

    with pytest.raises(pointsman.InvalidArgumentError, match=f"{field}.* of a plan in JSON"):
        pointsman.Plan.from_json(json.dumps({**fields, field: value}))


def test_a_plan_in_json_for_processes_needs_some():
    text = pointsman.Plan(backend="processes", max_workers=2).to_json()

    with pytest.raises(pointsman.InvalidArgumentError, match="'processes' of a plan"):
        pointsman.Plan.from_json(text)


@pytest.mark.parametrize("backend", ["inline", "threads", "processes", "asyncio", "dask", "ray", "auto"])
@pytest.mark.parametrize("data", [[], [1], range(50)])
def test_every_plan_that_is_made_can_be_read(backend, data):
    async def later(x):
        return x

    plan = pointsman.optimize(later if backend == "asyncio" else functions.square, data, backend=backend)

    assert pointsman.Plan.from_json(plan.to_json()) == plan


def test_a_plan_is_not_equal_to_one_for_another_job(measured):
    assert measured != pointsman.optimize(functions.square, [1])
    assert measured != "a plan"


def test_records_in_a_plan_do_not_change(measured):
    with pytest.raises(AttributeError):
        measured.observation.held = 0
    with pytest.raises(AttributeError, match="no_such"):
        _ = measured.observation.no_such


# ----------------------------------------------------------------------------------------------- followed


def follow(plan, **options):
    """Whether `execute` and `map` follow a plan, with the same answer."""
    said = []
    for run in (lambda: pointsman.execute(functions.square, range(9), plan=plan, **options),
                lambda: list(pointsman.map(functions.square, range(9), plan=plan, **options))):  # fmt: skip
        try:
            assert run() == [number**2 for number in range(9)]
            said.append(None)
        except pointsman.InvalidArgumentError as error:
            said.append(str(error))
    assert said[0] == said[1]
    return said[0]


@pytest.mark.parametrize(
    ("plan", "options", "words"),
    [
        ({"backend": "threads", "max_workers": 64}, {"max_workers": 1}, "64 threads.*max_workers=1"),
        ({"backend": "threads", "max_workers": 64}, {"backend": "inline"}, "64 threads.*backend='inline'"),
        ({"backend": "threads", "max_workers": 2}, {"backend": "processes"}, "2 threads.*backend='processes'"),
        ({"backend": "inline", "max_workers": 1}, {"backend": "processes"}, "plain loop.*backend='processes'"),
        (
            {"backend": "inline", "max_workers": 1},
            {"backend": "threads", "max_workers": 4},
            "plain loop.*backend='threads' and max_workers=4",
        ),
        ({"backend": "threads", "max_workers": 2}, {"timeout": 0.3}, "2 threads.*timeout=0.3"),
        ({"backend": "threads", "max_workers": 2}, {"kill_on_cancel": True}, "kill_on_cancel.*'threads'"),
        (
            {"backend": "processes", "max_workers": 2, "processes": 2, "chunksize": 4},
            {"chunksize": 2},
            "2 worker processes, and chunks of 4.*chunksize=2",
        ),
        ({"backend": "asyncio", "max_workers": 0}, {}, "event loop.*square is no coroutine function"),
        ({"backend": "dask", "max_workers": 0}, {"max_workers": 2}, "dask cluster.*max_workers=2"),
        ({"backend": "zzz", "max_workers": 2}, {}, "backend must be one of.*'zzz'"),
        ({"backend": "Pool", "max_workers": 2, "executor": "thread"}, {}, "caller's own Pool.*no executor was given"),
    ],
)
def test_what_contradicts_a_plan_is_refused_with_both_named(plan, options, words):
    assert re.search(words, follow(pointsman.Plan(**plan), **options) or "")


def test_an_executor_beside_a_plan_for_a_backend_of_ours_is_refused():
    plan = pointsman.Plan(backend="threads", max_workers=2)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert "the ThreadPoolExecutor" in follow(plan, backend=executor)


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        ({"backend": "threads", "max_workers": 2}, {"max_workers": 2, "backend": "threads"}),
        ({"backend": "threads", "max_workers": 2, "chunksize": 3}, {"max_workers": 8, "chunksize": 3}),
        ({"backend": "inline", "max_workers": 1}, {"backend": "threads"}),
        ({"backend": "inline", "max_workers": 1}, {"max_workers": 4}),
        ({"backend": "processes", "max_workers": 1, "processes": 1}, {"timeout": 30}),
    ],
)
def test_what_agrees_with_a_plan_is_fine(plan, options):
    assert follow(pointsman.Plan(**plan), **options) is None


@pytest.mark.parametrize("options", [{"backend": "threads"}, {"max_workers": 3}, {"chunksize": 2}])
def test_a_plan_can_be_followed_with_the_options_that_it_was_made_with(options):
    plan = pointsman.optimize(functions.square, range(9), **options)

    assert follow(plan, **options) is None
