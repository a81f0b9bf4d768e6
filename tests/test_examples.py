"""The programs of examples/ run, with a small input, and print their plain loop's time beside."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path.name for path in FOLDER.glob("[a-z]*.py"))


def test_there_are_eight():
    assert len(PROGRAMS) == 8


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_runs_and_says_what_the_plain_loop_took(program):
    answer = subprocess.run(
        [sys.executable, program, "--size", "4"], cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    assert [line.split()[0] for line in answer.stdout.splitlines()[:2]] == ["pointsman", "plain"]
    assert "NOT THE SAME" not in answer.stdout
