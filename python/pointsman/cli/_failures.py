"""Turns what went wrong into an exit code and a message.

Invariants:
    F1. A wrong argument exits with 2 and names the argument; a call that raised exits with 1 and shows its traceback.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator

import click

import pointsman

FAILED = 1


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Report what is raised inside, and exit."""
    try:
        yield
    except (pointsman.InvalidArgumentError, pointsman.InvalidTypeError) as error:
        raise click.UsageError(str(error)) from error
    except click.ClickException:
        raise
    except Exception as error:  # noqa: BLE001 - the user's function may raise anything
        traceback.print_exception(error)
        click.echo(f"pointsman: the function failed: {type(error).__name__}: {error}", err=True)
        sys.exit(FAILED)
