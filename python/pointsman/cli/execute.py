"""`pointsman execute`: runs the function over all inputs and prints the results, one per line.

What it does not know: where the calls ran, but from the plan that comes back.

Invariants:
    E1. Standard output holds the results and nothing else (as JSON: one object with results, plan and seconds).
    E2. The progress display is shown on a terminal only.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import pointsman

from ._failures import reported
from ._inputs import Function, job_options, read_data


@click.command()
@job_options
@click.option("--quiet", is_flag=True, help="Print the results only: no progress, no plan.")
def execute(
    function: Function,
    data_range: range | None,
    data_file: Path | None,
    data_stdin: bool,
    read_as: str | None,
    output: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Run MODULE:FUNCTION over the inputs where that is cheapest, and print the results in their order."""
    data = read_data(data_range, data_file, data_stdin, read_as)
    chosen = {name: value for name, value in options.items() if value is not None}
    with reported(), _progress(show=not quiet) as report:
        results, plan = pointsman.execute(
            function, data, progress_callback=report, return_optimization_result=True, **chosen
        )
    # The calls are over, so this is for what is printed only: nothing that they gave shall be lost for its form.
    sys.set_int_max_str_digits(0)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if output == "json":
        seconds = plan.actual.seconds if plan.actual is not None else None
        answer = {"results": results, "seconds": seconds, "plan": json.loads(plan.to_json())}
        click.echo(json.dumps(answer, default=repr))
        return
    for result in results:
        click.echo("None" if result is None else result)
    if not quiet:
        click.echo(str(plan), err=True)


@contextlib.contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[str, float], None] | None]:
    if not (show and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)

        def report(phase: str, fraction: float) -> None:
            progress.update(task, description=phase, completed=fraction)

        yield report
