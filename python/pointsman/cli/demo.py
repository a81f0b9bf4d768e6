"""`pointsman demo`: the automatic choice beside every fixed one, on work that every machine has.

What it does not know: how to decide or run. It asks pointsman for each choice and times the whole call from outside.

Invariants:
    D1. Every choice runs the same calls over the same inputs, and the results are compared with the plain loop's.
    D2. The plain loop is a list comprehension, without pointsman.
    D3. The automatic choice runs before any fixed one with workers, so it finds none of theirs already started.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

import pointsman
from pointsman import _machine

from . import pages
from ._failures import FAILED
from ._inputs import trace_option
from ._show import show
from .workloads import Workload, workloads

DELAY = 0.020
NAMES = ("compress", "parse", "fetch", "both", "tiny", "large")


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A fixed choice: its name, its predicted seconds where the plan has them, and its actual seconds."""

    name: str
    predicted: float | None
    actual: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """What one workload showed. All times in seconds; those of `one_call` per call."""

    name: str
    title: str
    calls: int
    workload: str
    one_call: dict[str, float] | None
    decision: str
    reasons: list[str]
    predicted: float | None
    actual: float
    fixed: list[Choice]
    same_results: bool

    @property
    def best(self) -> Choice:
        """The fastest of the fixed choices."""
        return min(self.fixed, key=lambda choice: choice.actual)


def _number(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if value != value:  # noqa: PLR0124 - what is not a number is within any range, and unlike itself
        message = f"{value} is not a number"
        raise click.BadParameter(message)
    return value


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@trace_option
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Run this workload only; may be repeated.")
@click.option(
    "--scale",
    type=click.FloatRange(min=0, min_open=True, max=1000),
    default=1.0,
    show_default=True,
    callback=_number,
    help="How many calls, as a share of the usual number.",
)
def demo(as_json: bool, only: tuple[str, ...], scale: float) -> None:
    """Run everyday work, and show each decision beside what every fixed choice costs here.

    The work: hash and compress the files of Python's standard library, parse them, fetch pages from a loopback server
    that answers after 20 ms, fetch and parse, square numbers, and rewrite large blocks of bytes.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    began = time.perf_counter()
    with (
        pages.serving(DELAY) as port,
        Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as progress,
    ):
        chosen = [job for job in workloads(port, scale) if not only or job.name in only]
        task = progress.add_task("starting", total=len(chosen) * (2 + len(_fixed())))

        def note(text: str) -> None:
            progress.update(task, description=text, advance=1)

        comparisons = [_compare(job, note) for job in chosen]
    seconds = time.perf_counter() - began
    if as_json:
        rows = [dataclasses.asdict(comparison) for comparison in comparisons]
        click.echo(json.dumps({"cores": _cores(), "seconds": seconds, "workloads": rows}, indent=2))
    else:
        show(comparisons, _cores(), seconds)
    different = [comparison.title for comparison in comparisons if not comparison.same_results]
    if different:
        click.echo(f"pointsman: results differ from the plain loop's: {', '.join(different)}", err=True)
        sys.exit(FAILED)


def _cores() -> int:
    """Whole cores that this process may use, at least 2: one process beside an idle caller would compare nothing."""
    return max(2, round(_machine.facts().cores))


def _fixed() -> list[tuple[str, str, int]]:
    """Name, backend and worker count of each fixed choice but the plain loop."""
    threads = [(f"{count} threads", "threads", count) for count in (2, 8, 32)]
    return [*threads, (f"{_cores()} processes", "processes", _cores())]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def _compare(job: Workload, note: Callable[[str], None]) -> Comparison:
    """Run one workload under every choice."""
    note(f"{job.title}: plain loop")
    expected, loop = _timed(lambda: [job.func(item) for item in job.data])
    note(f"{job.title}: pointsman")
    execute = functools.partial(pointsman.execute, job.func, job.data)
    (results, plan), actual = _timed(functools.partial(execute, return_optimization_result=True))
    same = results == expected
    fixed = [Choice("plain loop", _predicted(plan, "inline", 1), loop)]
    for name, backend, workers in _fixed():
        note(f"{job.title}: {name}")
        results, seconds = _timed(functools.partial(execute, backend=backend, max_workers=workers))
        same = same and results == expected
        fixed.append(Choice(name, _predicted(plan, backend, workers), seconds))
    return Comparison(
        name=job.name,
        title=job.title,
        calls=len(job.data),
        workload=plan.workload,
        one_call=plan.observation and {name: getattr(plan.observation, name) for name in ("held", "free", "wait")},
        decision=_decision(plan),
        reasons=list(plan.reasons),
        predicted=None if plan.estimated_seconds is None else _measuring(plan) + plan.estimated_seconds,
        actual=actual,
        fixed=fixed,
        same_results=same,
    )


def _decision(plan: pointsman.Plan) -> str:
    """Say the choice in a few words."""
    if plan.backend == "inline":
        return "plain loop"
    if plan.backend == "threads":
        return f"{plan.max_workers} threads"
    if plan.backend == "interpreters":
        return f"{plan.processes} interpreters" + (" and the caller" if plan.caller_shares else "")
    processes = "1 process" if plan.processes == 1 else f"{plan.processes} processes"
    threads = f" x {plan.threads_per_worker} threads" if plan.threads_per_worker > 1 else ""
    return processes + threads + (" and the caller" if plan.caller_shares else "")


def _predicted(plan: pointsman.Plan, backend: str, workers: int) -> float | None:
    """Seconds that the plan predicted for a fixed choice: those of the calls left, and those spent on measuring."""
    for candidate in plan.candidates:
        if candidate.backend != backend:
            continue
        if backend == "processes":
            matches = (candidate.processes, candidate.threads_per_worker) == (workers, 1)
        else:
            matches = candidate.workers == workers
        if matches:
            return _measuring(plan) + float(candidate.seconds)
    return None


def _measuring(plan: pointsman.Plan) -> float:
    """Seconds of the calls that were measured before the decision: they are part of the run."""
    one = plan.observation
    return 0.0 if one is None else float(one.calls * (one.held + one.free + one.wait))
