"""The short forms of `nox -s soak`: a storm of kills, and pools that come and go.

What it does not know: how long the long forms take.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pointsman

pytestmark = pytest.mark.timeout(120)

FOLDER = Path(__file__).parent


def run(script, *arguments):
    """Run a script to its end; returns its exit code and what it said."""
    places = [str(Path(pointsman.__file__).parent.parent), str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_in_a_storm_of_kills_every_call_settles_once_and_right():
    code, said = run("storm.py", 4000, 60)

    assert code == 0, said


def test_nothing_piles_up_over_pools_that_come_and_go():
    code, said = run("soak.py", 2, 12)

    assert code == 0, said


def test_programs_that_end_with_work_queued_end_well():
    code, said = run("endings.py", 3)

    assert code == 0, said
