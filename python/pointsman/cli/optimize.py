"""`pointsman optimize`: measures the first calls and prints the plan, with the figure at each branch.

What it does not know: how the plan was made, or what it looks like as text or JSON: the plan draws itself.
"""

from pathlib import Path
from typing import Any

import click

import pointsman

from ._failures import reported
from ._inputs import Function, job_options, read_data


@click.command()
@job_options
def optimize(
    function: Function,
    data_range: range | None,
    data_file: Path | None,
    data_stdin: bool,
    read_as: str | None,
    output: str,
    **options: Any,
) -> None:
    """Measure the first calls of MODULE:FUNCTION and print where the rest should run."""
    data = read_data(data_range, data_file, data_stdin, read_as)
    chosen = {name: value for name, value in options.items() if value is not None}
    with reported():
        plan = pointsman.optimize(function, data, **chosen)
    click.echo(plan.to_json() if output == "json" else str(plan))
