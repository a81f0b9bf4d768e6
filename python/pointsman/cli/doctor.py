"""`pointsman doctor`: what pointsman knows about this machine, and since when.

What it does not know: how the facts are found. It asks the modules that the planner asks.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import platform
import sys
import time
from typing import Any

import click

import pointsman
from pointsman import _edition, _machine, _native, _planner

from ._words import ago, human_bytes, human_seconds


@click.command()
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
def doctor(output: str) -> None:
    """Say what this machine is: cores, memory, GIL, start methods, measured constants and their age."""
    found = _examine()
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for title, lines in _sections(found):
        click.echo(title)
        width = max(len(name) for name, _ in lines)
        for name, text in lines:
            click.echo(f"  {name:<{width}}  {text}")
        click.echo()


def _examine() -> dict[str, Any]:
    """Collect the facts, as JSON can hold them."""
    facts = _machine.facts()
    measured = _planner.measured_constants()
    constants = _planner.machine().constants
    return {
        "pointsman": pointsman.__version__,
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "gil": "on" if facts.gil else "off",
            "free_threaded_build": facts.free_threaded_build,
            "interpreters": _edition.INTERPRETERS,
        },
        "platform": facts.platform,
        "cores": {
            "usable": facts.cores,
            "affinity": facts.affinity,
            "cgroup_quota": None if facts.quota is None or math.isinf(facts.quota) else facts.quota,
        },
        "memory": {"limit_bytes": facts.memory_limit, "available_bytes": facts.memory_available},
        "start_methods": multiprocessing.get_all_start_methods(),
        "workers": "forked from a clean helper process, over shared memory"
        if sys.platform == "linux"
        else "the standard library's process pool",
        "probe": _native.probe_method(),
        "constants": {
            name: {
                "value": value,
                "source": "measured here" if name in measured else "built in",
                "age_seconds": time.time() - measured[name][1] if name in measured else None,
            }
            for name, (value, _) in sorted(constants.items())
        },
    }


def _sections(found: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lay the facts out for people: a title and its lines."""
    python, cores, memory = found["python"], found["cores"], found["memory"]
    quota = cores["cgroup_quota"]
    return [
        (
            f"pointsman {found['pointsman']}",
            [
                (
                    "python",
                    f"{python['implementation']} {python['version']}, the GIL is {python['gil']}"
                    + (" (free-threaded build)" if python["free_threaded_build"] else ""),
                ),
                (
                    "interpreters",
                    'worker interpreters can be used: backend="interpreters"'
                    if python["interpreters"]
                    else "none: worker interpreters came with CPython 3.14",
                ),
                ("executable", python["executable"]),
                ("platform", found["platform"]),
                ("probe", found["probe"]),
            ],
        ),
        (
            "machine",
            [
                (
                    "cores",
                    f"{cores['usable']:g} usable: {cores['affinity']} by affinity, "
                    + ("no cgroup quota" if quota is None else f"a cgroup quota of {quota:g}"),
                ),
                (
                    "memory",
                    f"limit {human_bytes(memory['limit_bytes'])}, {human_bytes(memory['available_bytes'])} available",
                ),
                ("workers", found["workers"]),
                ("start methods", f"{', '.join(found['start_methods'])} (of multiprocessing)"),
            ],
        ),
        (
            "constants of the cost model",
            [(name.replace("_", " "), _constant(name, constant)) for name, constant in found["constants"].items()],
        ),
    ]


def _constant(name: str, constant: dict[str, Any]) -> str:
    value = constant["value"]
    shown = f"{human_bytes(value)}/s" if name == "bytes_per_second" else human_seconds(value)
    age = constant["age_seconds"]
    return f"{shown:<12}{constant['source']}" + ("" if age is None else f" {ago(age)}")
