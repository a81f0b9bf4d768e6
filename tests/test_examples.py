"""The programs of examples/ run, with a small input, and print their plain loop's time beside."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(path.name for path in FOLDER.glob("[a-z]*.py"))
# What the library does not need, and an example is about.
NEEDS = {"pandas_groups.py": "pandas", "polars_files.py": "polars"}


def test_there_are_eight_and_those_about_tables():
    assert len(set(PROGRAMS) - set(NEEDS)) == 8
    assert set(NEEDS) <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_runs_and_says_what_the_plain_loop_took(program):
    if program in NEEDS and importlib.util.find_spec(NEEDS[program]) is None:
        pytest.skip(f"{NEEDS[program]} is not installed: pip install {NEEDS[program]}")
    answer = subprocess.run(
        [sys.executable, program, "--size", "4"], cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    assert [line.split()[0] for line in answer.stdout.splitlines()[:2]] == ["pointsman", "plain"]
    assert "NOT THE SAME" not in answer.stdout
