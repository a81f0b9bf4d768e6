"""Spans and metrics of OpenTelemetry for the calls that pointsman runs.

    from pointsman.integrations import otel

    otel.instrument()

A span for each `execute`, `map` and `submit`, current while its calls run: on threads, on event loops, and in worker
processes, where it arrives as the carrier of the propagator that is set: spans made there have the right parent if the
worker sets up an SDK of its own. Without `instrument()` nothing is imported or measured.

Does not know how calls run, or where spans and figures go.

Invariants:
    O1. `uninstrument` leaves everything as it was; jobs that run on end their spans.
    O2. A span is ended once, however its job or call ends.
"""

from __future__ import annotations

import functools
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pointsman import _log
from pointsman._executor import Executor
from pointsman._executor_options import ExecutorOptions
from pointsman._job import is_async, name_of

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.trace import Status, StatusCode
except ModuleNotFoundError as _error:
    _message = "pointsman.integrations.otel needs opentelemetry; install it with: pip install 'pointsman[otel]'"
    raise ModuleNotFoundError(_message, name=_error.name) from _error

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPE = "pointsman"
_lock = threading.Lock()


class Carried:
    """A function whose calls have a span for their context, in whichever process they run."""

    def __init__(self, function: Callable[..., Any], around: Any) -> None:
        self.function = function
        self._around = around
        self.__qualname__ = name_of(function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function within the context."""
        token = context.attach(self._around)
        try:
            return self.function(*args, **kwargs)
        finally:
            context.detach(token)

    def __reduce__(self) -> Any:
        """Travel with the context as a carrier."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier, self._around)
        return _arrive, (type(self), self.function, carrier)


class CarriedAsync(Carried):
    """The same for coroutine functions."""

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Await the call within the context."""
        token = context.attach(self._around)
        try:
            return await self.function(*args, **kwargs)
        finally:
            context.detach(token)


def _arrive(kind: type[Carried], function: Any, carrier: dict[str, str]) -> Carried:
    return kind(function, propagate.extract(carrier))


class _Told:
    """The span of one job."""

    def __init__(self, instruments: _Instruments, job: Any) -> None:
        self._instruments = instruments
        self._job = job
        self._began = perf_counter()
        self._plan: Any = None
        kind = "map" if job.lazy else "execute"
        attributes = {"code.function.name": job.name, "pointsman.operation": kind}
        total = job.source.left()
        if total is not None:
            attributes["pointsman.inputs"] = total
        self._span = instruments.tracer.start_span(f"pointsman.{kind} {job.name}", attributes=attributes)
        around = trace.set_span_in_context(self._span)
        job.function = (CarriedAsync if job.awaits else Carried)(job.function, around)

    def decided(self, plan: Any, before: Any) -> None:
        """Note a plan on the span."""
        moved = before is not None and before.place != plan.place
        figures = {"pointsman.backend": plan.backend, "pointsman.workers": plan.max_workers}
        if plan.estimated_seconds is not None:
            figures["pointsman.estimated_seconds"] = float(plan.estimated_seconds)
        reasons = {"pointsman.reasons": tuple(plan.reasons)}
        self._span.add_event("pointsman.moved" if moved else "pointsman.decided", {**figures, **reasons})
        if moved:
            self._instruments.moves.add(1, {"pointsman.backend": plan.backend})
        self._plan = plan

    def ended(self, calls: int, _seconds: float, error: BaseException | None) -> None:
        """End the span."""
        plan = self._plan
        labels = {"code.function.name": self._job.name, "pointsman.backend": plan.backend if plan else "inline"}
        self._span.set_attribute("pointsman.results", calls)
        if plan is not None:
            self._span.set_attributes(
                {
                    "pointsman.backend": plan.backend,
                    "pointsman.workers": plan.max_workers,
                    "pointsman.workload": plan.workload or "unknown",
                }
            )
        _finish(self._span, error)
        outcome = "left" if isinstance(error, GeneratorExit) else ("raised" if error is not None else "value")
        if calls:
            self._instruments.calls.add(calls, {**labels, "pointsman.outcome": "value"})
        if outcome == "raised":
            self._instruments.calls.add(1, {**labels, "pointsman.outcome": "raised"})
        self._instruments.jobs.record(perf_counter() - self._began, {**labels, "pointsman.outcome": outcome})


def _finish(span: Any, error: BaseException | None) -> None:
    # A `map` that is left half-way has not failed.
    if error is not None and not isinstance(error, GeneratorExit):
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    span.end()


class _Instruments:
    """The tracer and the meters, and what the package calls."""

    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self.calls = meter.create_counter("pointsman.calls", "{call}", "Calls that have ended.")
        self.jobs = meter.create_histogram("pointsman.job.duration", "s", "Time of an execute or a map.")
        self.single = meter.create_histogram(
            "pointsman.call.duration", "s", "Time of a submitted call, with its queueing."
        )
        self.moves = meter.create_counter("pointsman.moves", "{move}", "Jobs that were moved to another backend.")
        self.deaths = meter.create_counter("pointsman.worker.deaths", "{process}", "Worker processes that died.")

    def begins(self, job: Any) -> _Told:
        """A job begins."""
        return _Told(self, job)

    def worker_died(self, cause: str, _pid: int) -> None:
        """A worker process has died."""
        self.deaths.add(1, {"pointsman.cause": cause.partition(":")[0]})

    def submitting(self, original: Any) -> Any:
        """Return a `submit` that makes a span for each call, which ends with it."""

        @functools.wraps(original)
        def submit(owner: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not callable(fn):
                return original(owner, fn, *args, **kwargs)
            return self._submit(original, owner, fn, args, kwargs)

        return submit

    def _submit(self, original: Any, owner: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, began = name_of(fn), perf_counter()
        labels = {"code.function.name": name}
        span = self.tracer.start_span(
            f"pointsman.submit {name}", attributes={**labels, "pointsman.operation": "submit"}
        )
        # Threads and event loops carry the variables of whoever submits; processes get the function with its carrier.
        token = context.attach(trace.set_span_in_context(span))
        try:
            away = getattr(owner, "_executor", owner)._backend == "processes"  # noqa: SLF001 - our own class
            future = original(owner, _carried(fn) if away else fn, *args, **kwargs)
        except BaseException as error:
            _finish(span, error)
            raise
        finally:
            context.detach(token)

        def ended(done: Any) -> None:
            error = None if done.cancelled() else done.exception()
            outcome = "cancelled" if done.cancelled() else ("value" if error is None else "raised")
            span.set_attribute("pointsman.outcome", outcome)
            _finish(span, error)
            self.calls.add(1, {**labels, "pointsman.outcome": outcome})
            self.single.record(perf_counter() - began, {**labels, "pointsman.outcome": outcome})

        future.add_done_callback(ended)
        return future


# What was replaced: the class, the name, and what was there.
_originals: list[tuple[type, str, Any]] = []


def instrument(*, tracer_provider: Any = None, meter_provider: Any = None) -> None:
    """Make spans and metrics of what pointsman runs from now on. Once more: with other providers.

    Parameters
    ----------
    tracer_provider, meter_provider
        Where spans and figures go; None for the global ones.

    """
    with _lock:
        _uninstrument()
        instruments = _Instruments(tracer_provider, meter_provider)
        for home, name in ((Executor, "submit"), (ExecutorOptions, "submit")):
            _replace(home, name, instruments.submitting(getattr(home, name)))
        _replace(Executor, "_submit_to_process", _carrying(Executor._submit_to_process))  # noqa: SLF001 - our own class
        _log.listener = instruments


def uninstrument() -> None:
    """Make no more spans or metrics."""
    with _lock:
        _uninstrument()


def _replace(home: type, name: str, by: Any) -> None:
    _originals.append((home, name, getattr(home, name)))
    setattr(home, name, by)


def _uninstrument() -> None:
    while _originals:
        setattr(*_originals.pop())
    _log.listener = None


def _carrying(original: Any) -> Any:
    """What sends a call to a worker process, with the context that is current here."""

    @functools.wraps(original)
    def send(self: Any, fn: Any, *rest: Any) -> Any:
        return original(self, _carried(fn), *rest)

    return send


def _carried(fn: Any) -> Carried:
    return (CarriedAsync if is_async(fn) else Carried)(fn, context.get_current())
