"""`pointsman guide`: a few questions about the work, what to use for it, and what pointsman would do.

What it does not know: how anything is measured or decided. It says by rule of thumb what `optimize` says by figures.

Invariants:
    G1. Every question can be answered by an option; without a terminal, what is not answered is an error, not a wait.
    G2. A question is asked only if its answer can change the advice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import click

KINDS = {
    "waiting": "it waits: network, disk, database, sleep",
    "python": "it computes in Python code",
    "native": "it computes in C code that releases the GIL: numpy, hashlib, zlib, images",
    "async": "it is an async function",
    "unknown": "I do not know, or some of each",
}
LENGTHS = {"short": "under 1 ms", "medium": "1 ms to 1 s", "long": "over 1 s"}


@dataclass(frozen=True)
class Advice:
    """What to use, why, what pointsman would do, and how to write it."""

    choice: str
    why: str
    ours: str
    code: str


def advise(kind: str, calls: int, length: str, *, shares: bool, killable: bool) -> Advice:
    """The advice for one set of answers; a pure function."""
    execute = "pointsman.execute(function, data)"
    if kind == "async":
        return Advice(
            "an event loop: await the calls with asyncio.gather",
            "an async function waits without a thread; only an event loop can run it",
            "pointsman.run(function) runs one to its end; blocking calls beside it can be awaited by pointsman.submit",
            "await asyncio.gather(*(function(item) for item in data))",
        )
    if killable and shares:
        return Advice(
            "threads, or processes once the function returns what it now writes",
            "only a process can be stopped from outside, and there the calls would write to copies of what they share",
            "a call that is late fails for whoever waits, and goes on unheard; execute() with timeout= would refuse it",
            "pointsman.options(timeout=10).submit(function, item)",
        )
    if killable:
        return Advice(
            "processes",
            "a call that may have to be stopped needs a process of its own: a thread cannot be stopped from outside",
            "timeout= stops the call with its worker, starts another worker, and touches no other call",
            "pointsman.execute(function, data, timeout=10)",
        )
    if calls <= 1:
        return Advice(
            "a plain call",
            "one call gains nothing from a pool, unless something else is to go on meanwhile",
            "run() calls it right here; submit() starts it in the background",
            "pointsman.submit(function, item)",
        )
    if kind == "unknown":
        return Advice(
            "measure it",
            "how long a call holds the GIL, computes without it or waits cannot be seen by reading it",
            "it measures the first calls, keeps their results, and runs the rest where the figures say",
            "print(pointsman.optimize(function, data))",
        )
    if kind == "waiting":
        return Advice(
            "threads",
            "a call that waits holds no GIL, so many can wait at a time, and threads are the cheapest to have",
            "it adds threads while more of them get more calls done",
            execute,
        )
    if kind == "native":
        return Advice(
            "threads, about as many as cores",
            "C code that releases the GIL runs on all cores from threads, and nothing has to be copied",
            "it measures the GIL-free share of a call and takes as many threads as that keeps busy",
            execute,
        )
    if shares:
        return Advice(
            "a plain loop, until the function returns what it now writes",
            "other processes would change copies of what the calls share, and threads would hold each other up",
            "it keeps the calls in this process and says which variable is the reason",
            execute,
        )
    if length == "short":
        return Advice(
            "processes in large chunks, if all calls together take longer than some tens of milliseconds",
            "sending a call costs about as much as a short call does, so many must travel together",
            "it stays with the plain loop while that is cheaper, and sizes the chunks by measured cost",
            execute,
        )
    return Advice(
        "processes, as many as cores",
        "Python code holds the GIL, so only processes run it on several cores",
        "it starts worker processes once that pays, and runs calls itself meanwhile",
        execute,
    )


@click.command()
@click.option("--kind", type=click.Choice(list(KINDS)), help="What a call does most of its time.")
@click.option("--calls", type=click.IntRange(min=1), help="How many calls there are, about.")
@click.option("--length", type=click.Choice(list(LENGTHS)), help="How long one call takes.")
@click.option("--shares/--no-shares", default=None, help="Whether calls write to what other code reads.")
@click.option("--killable/--no-killable", default=None, help="Whether a call that hangs must be stopped.")
def guide(kind: str | None, calls: int | None, length: str | None, shares: bool | None, killable: bool | None) -> None:
    """Ask a few questions and say where the calls should run, and what pointsman would do."""
    if kind is None:
        kind = _choose("What does a call do most of its time?", "--kind", KINDS)
    if kind != "async" and killable is None:
        killable = _confirm("Must a call that hangs be stopped?", "--killable or --no-killable")
    if kind != "async" and not killable and calls is None:
        calls = _count("How many calls are there, about?", "--calls")
    # Whoever gives the answers as options need not give one that nearly always is no.
    matters = sys.stdin.isatty() if killable else kind == "python" and (calls or 0) > 1
    if kind != "async" and shares is None and matters:
        shares = _confirm("Do calls write to what other code reads?", "--shares or --no-shares")
    if kind == "python" and not killable and (calls or 0) > 1 and not shares and length is None:
        length = _choose("How long does one call take?", "--length", LENGTHS)
    advice = advise(kind, calls or 1, length or "medium", shares=bool(shares), killable=bool(killable))
    click.echo(f"use        {advice.choice}")
    click.echo(f"because    {advice.why}")
    click.echo(f"pointsman  {advice.ours}")
    click.echo(f"write      {advice.code}")


def _may_ask(option: str) -> None:
    if not sys.stdin.isatty():
        message = f"nobody can be asked here: answer with {option}"
        raise click.UsageError(message)


def _choose(question: str, option: str, answers: dict[str, str]) -> str:
    _may_ask(option)
    click.echo(question)
    for name, meaning in answers.items():
        click.echo(f"  {name:8} {meaning}")
    return str(click.prompt("answer", type=click.Choice(list(answers))))


def _confirm(question: str, option: str) -> bool:
    _may_ask(option)
    return click.confirm(question, default=False)


def _count(question: str, option: str) -> int:
    _may_ask(option)
    return int(click.prompt(question, type=click.IntRange(min=1)))
