"""Turns command-line words into a function and its inputs.

What it does not know: what is done with them.

Invariants:
    A1. Whatever is wrong with an argument ends in `click.UsageError`, which names the argument (exit code 2).
    A2. An error inside the user's module is shown in its own words, never as "not found".
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import pointsman
from pointsman._job import BACKENDS

Function = Callable[..., Any]
READERS: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float, "json": json.loads}


def find_function(context: click.Context, parameter: click.Parameter, value: str) -> Function:
    """Import `MODULE:FUNCTION`, looking in the working directory too, as `python -m` does."""
    module_name, _, path = value.partition(":")
    if not (module_name and path):
        message = f"{value!r} is not of the form MODULE:FUNCTION, such as math:factorial"
        raise click.BadParameter(message, context, parameter)
    if module_name.startswith(".") or "/" in module_name or "\\" in module_name:
        message = (
            f"{module_name!r} is a path: give the module's name, as in an import, such as {Path(module_name).stem!r}"
        )
        raise click.BadParameter(message, context, parameter)
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        absent = error.name or module_name
        ours = module_name == absent or module_name.startswith(f"{absent}.")
        message = (
            f"there is no module {absent!r}; the working directory was searched too"
            if ours
            else f"module {module_name!r} imports {absent!r}, which is not installed"
        )
        raise click.BadParameter(message, context, parameter) from error
    except Exception as error:
        message = f"module {module_name!r} failed to import: {type(error).__name__}: {error}"
        raise click.BadParameter(message, context, parameter) from error
    for step in path.split("."):
        if not hasattr(found, step):
            message = f"{getattr(found, '__name__', found)!r} has no {step!r}"
            raise click.BadParameter(message, context, parameter)
        found = getattr(found, step)
    if not callable(found):
        message = f"{value!r} cannot be called: it is of type {type(found).__name__}"
        raise click.BadParameter(message, context, parameter)
    # For commands that start another interpreter for it.
    context.meta["pointsman.function"] = value
    function: Function = found
    return function


def read_range(context: click.Context, parameter: click.Parameter, value: str | None) -> range | None:
    """Read `N` (from 0), `A:B` or `A:B:STEP` as Python's `range` would take them."""
    if value is None:
        return None
    try:
        return range(*map(int, value.split(":")))
    except (TypeError, ValueError) as error:
        message = f"{value!r} is neither N, nor START:STOP, nor START:STOP:STEP, in whole numbers"
        raise click.BadParameter(message, context, parameter) from error


def read_data(numbers: range | None, file: Path | None, stdin: bool, reader: str | None) -> Sequence[Any]:
    """Read the inputs from the one source that was given."""
    given = [
        option
        for option, is_given in (
            ("--data-range", numbers is not None),
            ("--data-file", file is not None),
            ("--data-stdin", stdin),
        )
        if is_given
    ]
    if len(given) != 1:
        raise click.UsageError(
            "say where the inputs come from: --data-range N, --data-file FILE or --data-stdin"
            if not given
            else f"{' and '.join(given)} were given, but the inputs can come from one place only"
        )
    if numbers is not None:
        if reader is not None:
            raise click.UsageError("--read-as is for --data-file and --data-stdin; --data-range gives whole numbers")
        return numbers
    if file is None:
        return _parse(sys.stdin, "standard input", reader or "text")
    try:
        with file.open(encoding="utf-8") as lines:
            return _parse(lines, str(file), reader or "text")
    except OSError as error:
        raise click.UsageError(f"--data-file: {file}: {error.strerror}") from error


def _parse(lines: Iterable[str], source: str, reader: str) -> list[Any]:
    data = []
    number = 0
    try:
        for number, line in enumerate(lines, 1):  # noqa: B007 - the error message needs it
            data.append(READERS[reader](line.rstrip("\r\n")))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{source} is not UTF-8 text: {error.reason}") from error
    except ValueError as error:
        raise click.UsageError(f"{source}, line {number}: cannot be read as {reader}: {error}") from error
    return data


def begin_trace(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Trace until the command ends, however it ends."""
    if value is None:
        return
    try:
        context.with_resource(pointsman.trace(value))
    except pointsman.InvalidArgumentError as error:
        raise click.BadParameter(str(error), context, parameter) from error


# Of every command that runs calls.
trace_option = click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    callback=begin_trace,
    expose_value=False,
    help="Write what every call did to this file, for Perfetto and `pointsman report`.",
)


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments that `optimize` and `execute` share."""
    for decorate in reversed(
        (
            click.argument("function", metavar="MODULE:FUNCTION", callback=find_function),
            click.option(
                "--data-range",
                metavar="N",
                callback=read_range,
                help="The inputs are 0 to N-1; START:STOP and START:STOP:STEP work too.",
            ),
            click.option(
                "--data-file",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="One input per line of this file.",
            ),
            click.option("--data-stdin", is_flag=True, help="One input per line of standard input."),
            click.option(
                "--read-as",
                type=click.Choice(list(READERS)),
                help="What each line is.  [default: text]",
            ),
            click.option(
                "--backend",
                type=click.Choice(BACKENDS),
                default="auto",
                show_default=True,
                help="Where the calls run.",
            ),
            click.option("--max-workers", type=click.IntRange(min=1), help="At most this many at once."),
            click.option("--chunksize", type=click.IntRange(min=1), help="Calls handed out together."),
            click.option("--sample-size", type=click.IntRange(min=1), help="Calls measured before the decision."),
            trace_option,
            click.option(
                "--format",
                "output",
                type=click.Choice(["text", "json"]),
                default="text",
                show_default=True,
                help="For people or for programs.",
            ),
        )
    ):
        command = decorate(command)
    return command
