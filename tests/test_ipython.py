"""IPython in a terminal: functions of its cells run in worker processes, and what they raise can be read.

What it does not know: notebooks (`test_real_programs.py`), which are IPython with a loop that runs.
"""

import re
import subprocess
import sys

import pytest

pytest.importorskip("IPython")

SESSION = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="NoColor")
for cell in CELLS:
    shell.run_cell(cell, store_history=True)
"""

FIRST = """
import os
import pointsman
FACTOR = 3
class Odd(Exception):
    pass
def helper(number):
    if number == 5:
        raise Odd(f"no {number}")
    return number * FACTOR
def work(number):
    return helper(number), os.getpid()
"""


def session(folder, *cells):
    script = folder / "session.py"
    script.write_text(SESSION.replace("CELLS", repr(cells)))
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)

    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.timeout(120)
def test_functions_of_a_session_run_in_processes_as_they_are_now(tmp_path):
    said = session(
        tmp_path,
        FIRST,
        "results = pointsman.execute(work, range(5), backend='processes', max_workers=2)\n"
        "print([value for value, _ in results], {pid for _, pid in results} != {os.getpid()})",
        "FACTOR = 5",
        "print(pointsman.execute(helper, range(3), backend='processes'))",
        "def helper(number):\n    return 'another'",
        "print(set(pointsman.execute(helper, range(3), backend='processes')))",
    )

    assert said.splitlines() == ["[0, 3, 6, 9, 12] True", "[0, 5, 10]", "{'another'}"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["backend='processes'", "backend='threads', max_workers=2", "backend='inline'"])
def test_what_a_call_raises_shows_the_line_of_the_cell_and_little_of_ours(tmp_path, place):
    said = session(tmp_path, FIRST, f"pointsman.execute(helper, range(8), {place})")

    assert said.rstrip().endswith("Odd: no 5")
    assert f"pointsman.execute(helper, range(8), {place})" in said
    assert 'raise Odd(f"no {number}")' in said
    ours = re.findall(r"^File .*pointsman.*:\d+, in .*", said, re.MULTILINE)
    # The last frame is always shown; a comprehension is a frame of its own up to 3.11.
    assert len(ours) <= 1, said


@pytest.mark.timeout(120)
def test_a_cell_of_a_notebook_has_its_lines_though_it_claims_to_be_a_file(tmp_path):
    # As ipykernel does it: a path that nobody wrote, whose lines are in memory.
    said = session(
        tmp_path,
        "import linecache, pointsman, traceback",
        "name, text = '/tmp/ipykernel_1/2.py', 'def work(number):\\n    return 1 // number\\n'\n"
        "linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)\n"
        "exec(compile(text, name, 'exec'))\n"
        "try:\n    pointsman.execute(work, [1, 0], backend='processes')\n"
        "except ZeroDivisionError as error:\n    print(error.__cause__)",
    )

    assert 'File "/tmp/ipykernel_1/2.py", line 2, in work\n    return 1 // number\n' in said
