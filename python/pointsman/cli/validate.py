"""`pointsman validate`: runs every candidate of a plan and holds its prediction against what it took.

What it does not know: how a prediction is made, or how calls are run.

Invariants:
    W1. Each candidate runs in a fresh interpreter, so that none finds the workers of another already started.
    W2. What is timed is what was predicted: the calls that were left after measuring, start-up included.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click

import pointsman
from pointsman._drawing import label_of
from pointsman._plan import Candidate, Plan

from ._failures import FAILED, reported
from ._inputs import Function, find_function, job_options, read_data
from ._words import human_seconds

# Started with `-c`, so that the working directory is searched as for the command itself.
CHILD = "from pointsman.cli.validate import run_one; run_one()"


@click.command()
@job_options
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each; the median.")
@click.option("--most", type=click.IntRange(min=1), default=12, show_default=True, help="Candidates at most.")
@click.pass_context
def validate(
    context: click.Context,
    /,
    function: Function,
    data_range: range | None,
    data_file: Path | None,
    data_stdin: bool,
    read_as: str | None,
    output: str,
    rounds: int,
    most: int,
    **options: Any,
) -> None:
    """Run every choice for MODULE:FUNCTION and compare what was predicted with what it took.

    The function runs over the inputs once for each candidate and round.
    """
    data = read_data(data_range, data_file, data_stdin, read_as)
    chosen = {name: value for name, value in options.items() if value is not None}
    with reported():
        plan = pointsman.optimize(function, data, **chosen)
    ways = _worth_running(plan, most)
    if not ways:
        raise click.ClickException(f"there is nothing to compare: {'; '.join(plan.reasons)}")
    task = {"function": context.meta["pointsman.function"], "data": list(data), "left": plan.calls_left}
    taken: dict[Candidate, list[float]] = {way: [] for way in ways}
    # Round by round, so that whatever else the machine does falls on all of them.
    for _ in range(rounds):
        for way in ways:
            taken[way].append(_run(task, _plan_of(way, plan)))
    rows = [(way, median(taken[way])) for way in ways]
    click.echo(_as_json(plan, rows) if output == "json" else _as_text(plan, rows))


def _worth_running(plan: Plan, most: int) -> list[Candidate]:
    """The fastest candidates, and the best of each backend: the ones that the plan's table shows."""
    first: dict[str, Candidate] = {}
    for way in plan.candidates:
        if not way.struck_out:
            first.setdefault(way.backend, way)
    best = list(first.values())
    others = [way for way in plan.candidates if not way.struck_out and way not in best]
    chosen = [way for way in others if way.place == plan.place and way.workers == plan.max_workers]
    kept = [*chosen, *best, *(way for way in others if way not in chosen)][: max(most, len(best) + len(chosen))]
    return sorted(kept, key=lambda way: way.seconds)


def _plan_of(way: Candidate, plan: Plan) -> Plan:
    return Plan(
        backend=way.backend,
        max_workers=way.workers,
        processes=way.processes,
        threads_per_worker=way.threads_per_worker,
        chunksize=way.chunksize,
        workload=plan.workload,
        observation=plan.observation,
        function=plan.function,
        calls=plan.calls,
        caller_shares=way.backend != "inline",
    )


def _run(task: dict[str, Any], plan: Plan) -> float:
    """Seconds that the calls which were left take by this plan (W1)."""
    answer = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", CHILD],
        input=json.dumps({**task, "plan": plan.to_json()}),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        sys.stderr.write(answer.stderr)
        click.echo(f"pointsman: the function failed in {plan.backend}", err=True)
        sys.exit(FAILED)
    # Whatever the function prints comes before.
    return float(answer.stdout.rpartition("\n")[2])


def run_one() -> None:
    """Be the fresh interpreter: read a task, run it, print the seconds."""
    task = json.load(sys.stdin)
    with click.Context(validate) as context:
        function = find_function(context, validate.params[0], task["function"])
    plan, data = Plan.from_json(task["plan"]), task["data"]
    left = len(data) if task["left"] is None else task["left"]
    # What had been measured when the prediction was made has been imported and opened by then.
    for item in data[: len(data) - left]:
        function(item)
    rest = data[len(data) - left :]
    # To ask for it imports what it needs.
    execute = pointsman.execute
    began = perf_counter()
    execute(function, rest, plan=plan)
    sys.stdout.write(f"\n{perf_counter() - began}")
    sys.stdout.flush()


def _is_chosen(way: Candidate, plan: Plan) -> bool:
    return way.place == plan.place and way.workers == plan.max_workers


def _as_json(plan: Plan, rows: list[tuple[Candidate, float]]) -> str:
    candidates = [
        {**way.as_dict(), "actual": actual, "ratio": actual / way.seconds, "chosen": _is_chosen(way, plan)}
        for way, actual in rows
    ]
    return json.dumps({"plan": json.loads(plan.to_json()), "candidates": candidates, "regret": _regret(plan, rows)})


def _as_text(plan: Plan, rows: list[tuple[Candidate, float]]) -> str:
    lines = [f"{plan.calls_left} calls of {plan.function}, each choice in a fresh interpreter", ""]
    lines.append(f"  {'candidate':<26}{'predicted':>12}{'actual':>12}{'actual/predicted':>19}")
    for way, actual in rows:
        mark = ">" if _is_chosen(way, plan) else " "
        figures = f"{human_seconds(way.seconds):>12}{human_seconds(actual):>12}{actual / way.seconds:>19.2f}"
        lines.append(f"{mark} {label_of(way):<26}{figures}")
    errors = sorted(abs(way.seconds / actual - 1) for way, actual in rows)
    lines += ["", f"The predictions were off by {median(errors):.0%} (median)."]
    regret = _regret(plan, rows)
    if regret is not None:
        fastest = min(rows, key=lambda row: row[1])
        lines.append(f"The choice took {regret:.2f} times as long as the fastest, {label_of(fastest[0])}.")
    return "\n".join(lines)


def _regret(plan: Plan, rows: list[tuple[Candidate, float]]) -> float | None:
    """What the choice took over what the fastest took."""
    mine = [actual for way, actual in rows if _is_chosen(way, plan)]
    return mine[0] / min(actual for _way, actual in rows) if mine else None
