"""The command line: `demo`, `optimize`, `execute`, `validate`, `report`, `doctor`, `guide`, one file each.

What it does not know: how anything is measured, decided or run. It calls the public API and prints.

Invariants:
    C1. Results go to standard output; progress, plans of a run and complaints to standard error.
    C2. Exit codes: 0 done, 1 the function failed, 2 bad arguments, with a message that says which.
"""

import click

import pointsman

from .demo import demo
from .doctor import doctor
from .execute import execute
from .guide import guide
from .optimize import optimize
from .report import report
from .validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pointsman.__version__, prog_name="pointsman")
def commands() -> None:
    """Decides where Python calls should run, and runs them there."""


for _command in (demo, optimize, execute, validate, report, doctor, guide):
    commands.add_command(_command)
