"""OpenTelemetry: the spans and figures of jobs and calls, and the context that reaches the calls."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

import functions
import pointsman

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pointsman.integrations import otel


def double(number):
    return 2 * number


def seen(_):
    """The trace and the span that are current in a call."""
    found = trace.get_current_span().get_span_context()
    return found.trace_id, found.span_id


async def seen_on_a_loop(_):
    await asyncio.sleep(0)
    return seen(_)


def fail_at_three(number):
    if number == 3:
        raise ValueError(number)
    return number


def die(_):
    os._exit(5)


class Collected:
    def __init__(self):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def spans(self):
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def only(self):
        (span,) = self.exporter.get_finished_spans()
        return span

    def figures(self, name):
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [(dict(point.attributes), point) for metric in metrics for point in metric.data.data_points]


@pytest.fixture
def collected():
    made = Collected()
    otel.instrument(tracer_provider=made.tracers, meter_provider=made.meters)
    yield made
    otel.uninstrument()
    made.meters.shutdown()
    made.tracers.shutdown()


def test_execute_makes_a_span_with_what_was_decided(collected):
    pointsman.execute(double, range(30), backend="threads", max_workers=2)

    span = collected.only()
    wanted = {
        "code.function.name": "double",
        "pointsman.operation": "execute",
        "pointsman.inputs": 30,
        "pointsman.results": 30,
        "pointsman.backend": "threads",
        "pointsman.workers": 2,
    }
    assert span.name == "pointsman.execute double"
    assert wanted.items() <= dict(span.attributes).items()
    assert [event.name for event in span.events] == ["pointsman.decided"]


def test_map_makes_a_span_that_ends_with_it(collected):
    results = pointsman.map(double, iter(range(100)), backend="inline")
    next(results)
    before = len(collected.exporter.get_finished_spans())
    results.close()

    span = collected.only()
    assert (before, span.name, span.status.status_code.name) == (0, "pointsman.map double", "UNSET")


def test_an_error_is_the_status_of_its_span(collected):
    with pytest.raises(ValueError, match="3"):
        pointsman.execute(fail_at_three, range(9), backend="inline")

    span = collected.only()
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", "ValueError")
    assert "exception" in [event.name for event in span.events]


@pytest.mark.parametrize(("backend", "workers"), [("inline", None), ("threads", 2), ("processes", 2), ("auto", None)])
def test_the_span_of_a_job_is_current_in_its_calls(collected, backend, workers):
    found = set(pointsman.execute(seen, range(20), backend=backend, max_workers=workers))

    span = collected.only().get_span_context()
    assert found == {(span.trace_id, span.span_id)}


def test_the_span_of_a_job_of_coroutines_is_current_in_them(collected):
    found = set(pointsman.execute(seen_on_a_loop, range(20)))

    span = collected.only().get_span_context()
    assert found == {(span.trace_id, span.span_id)}


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.parametrize("call", [seen, seen_on_a_loop])
def test_the_span_of_a_submitted_call_is_current_in_it(collected, backend, call):
    with pointsman.Executor(1, backend=backend) as pool:
        found = pool.submit(call, 0).result(functions.PATIENCE)

    span = collected.only()
    assert span.name == f"pointsman.submit {call.__name__}"
    assert found == (span.get_span_context().trace_id, span.get_span_context().span_id)


def test_calls_on_terms_have_spans_too(collected):
    with pointsman.Executor(1, backend="processes") as pool:
        assert pool.options(timeout=60).submit(double, 4).result(functions.PATIENCE) == 8

    assert collected.only().attributes["pointsman.outcome"] == "value"


def test_a_span_that_is_current_is_the_parent(collected):
    with collected.tracers.get_tracer("test").start_as_current_span("mine"):
        pointsman.execute(double, range(3))
        pointsman.submit(double, 3).result(functions.PATIENCE)

    spans = collected.spans()
    parents = {name: span.parent.span_id for name, span in spans.items() if name != "mine"}
    assert parents == dict.fromkeys(
        ["pointsman.execute double", "pointsman.submit double"], spans["mine"].get_span_context().span_id
    )


def test_figures_count_calls_and_time_jobs(collected):
    pointsman.execute(double, range(30), backend="inline")
    with pytest.raises(ValueError, match="3"):
        pointsman.execute(fail_at_three, range(9), backend="inline")

    counted = {
        (of["code.function.name"], of["pointsman.outcome"]): point.value
        for of, point in collected.figures("pointsman.calls")
    }
    timed = {of["code.function.name"]: point.count for of, point in collected.figures("pointsman.job.duration")}
    assert (counted["double", "value"], counted["fail_at_three", "raised"]) == (30, 1)
    assert timed == {"double": 1, "fail_at_three": 1}


def test_a_submitted_call_is_counted_and_timed(collected):
    with pointsman.Executor(1, backend="threads") as pool:
        pool.submit(double, 2).result()
        with pytest.raises(ValueError, match="3"):
            pool.submit(fail_at_three, 3).result()

    ((_, good), (_, bad)) = sorted(
        ((of["pointsman.outcome"], point.count) for of, point in collected.figures("pointsman.call.duration")),
        reverse=True,
    )
    assert (good, bad) == (1, 1)


@pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("POINTSMAN_PROCESSES") == "stdlib",
    reason="the standard library's worker processes do not tell of one that died",
)
def test_deaths_of_workers_are_counted(collected):
    pointsman.execute(die, range(1), backend="processes", max_workers=1, on_error="return")

    # Who watches the process tells of its end, which may be later than its call's.
    until = time.monotonic() + functions.PATIENCE
    while not (figures := collected.figures("pointsman.worker.deaths")) and time.monotonic() < until:
        pointsman.execute(double, range(2), backend="processes", max_workers=1)
    assert [point.value for _, point in figures] == [1]


def test_nothing_is_made_after_uninstrument():
    made, plain = Collected(), pointsman.Executor.submit
    otel.instrument(tracer_provider=made.tracers, meter_provider=made.meters)
    otel.uninstrument()
    pointsman.execute(double, range(3))
    pointsman.submit(double, 3).result(functions.PATIENCE)

    assert made.exporter.get_finished_spans() == ()
    assert pointsman.Executor.submit is plain


def test_instrumenting_twice_makes_one_span(collected):
    otel.instrument(tracer_provider=collected.tracers, meter_provider=collected.meters)
    pointsman.submit(double, 3).result(functions.PATIENCE)

    assert len(collected.exporter.get_finished_spans()) == 1


def test_without_opentelemetry_the_error_says_how_to_install_it():
    code = "import sys; sys.modules['opentelemetry'] = None\nfrom pointsman.integrations import otel"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert "pip install 'pointsman[otel]'" in answer.stderr
