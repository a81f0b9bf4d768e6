"""`pointsman guide`: what it advises, what it asks, and when it does not ask."""

import itertools
import os
import subprocess
import sys

import pytest

pytest.importorskip("click", reason="click is not installed: pip install 'pointsman[cli]'")

from click.testing import CliRunner

from pointsman.cli import commands
from pointsman.cli.guide import KINDS, LENGTHS, advise


def ask(*options):
    return CliRunner().invoke(commands, ["guide", *options])


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        (["--kind", "async"], "an event loop"),
        (["--kind", "waiting", "--calls", "100", "--no-killable"], "threads"),
        (["--kind", "native", "--calls", "100", "--no-killable"], "threads, about as many as cores"),
        (["--kind", "waiting", "--calls", "1", "--no-killable"], "a plain call"),
        (["--kind", "waiting", "--killable"], "processes"),
        (["--kind", "unknown", "--calls", "9", "--no-killable"], "measure it"),
        (["--kind", "python", "--calls", "9", "--no-killable", "--shares"], "a plain loop"),
        (
            ["--kind", "python", "--calls", "9", "--no-killable", "--no-shares", "--length", "long"],
            "processes, as many",
        ),
        (
            ["--kind", "python", "--calls", "9", "--no-killable", "--no-shares", "--length", "short"],
            "processes in large",
        ),
    ],
)
def test_flags_alone_get_the_advice(options, choice):
    answer = ask(*options)

    assert answer.exit_code == 0
    assert answer.output.startswith(f"use        {choice}")


def test_every_set_of_answers_has_advice_of_four_parts():
    for kind, calls, length, shares, killable in itertools.product(
        KINDS, (1, 100), LENGTHS, (False, True), (False, True)
    ):
        advice = advise(kind, calls, length, shares=shares, killable=killable)

        assert all((advice.choice, advice.why, advice.ours, advice.code))


def test_without_a_terminal_the_missing_answer_is_named():
    answer = ask("--kind", "python", "--no-killable")

    assert answer.exit_code == 2
    assert "--calls" in answer.output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_on_a_terminal_it_asks():
    import pty

    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "pointsman", "guide"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.close(theirs)
    os.write(ours, b"python\nn\n100\nn\nlong\n")
    output, _nothing = program.communicate(timeout=100)
    os.close(ours)

    assert program.returncode == 0
    assert b"use        processes, as many as cores" in output
