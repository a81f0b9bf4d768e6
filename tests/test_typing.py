"""What `tests/typing` says of the public types is what mypy and pyright find.

What it does not know: the types themselves.
"""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pointsman
from pointsman._keywords import ExecuteKeywords, MapKeywords

FOLDER = Path(__file__).parent / "typing"


def check(*command):
    package = Path(pointsman.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, timeout=110, check=False, cwd=FOLDER,
        env={**os.environ, "MYPYPATH": str(package)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_mypy_agrees(tmp_path):
    pytest.importorskip("mypy")

    config = tmp_path / "mypy.ini"
    # As the project's own settings have it.
    more = "enable_error_code = ignore-without-code, redundant-expr, truthy-bool, unused-awaitable"
    config.write_text(
        f"[mypy]\nstrict = true\n{more}\n[mypy-pointsman.*]\nignore_errors = true\nfollow_imports = silent\n"
    )

    code, said = check("mypy", "--cache-dir", str(tmp_path / "cache"), "--config-file", str(config), str(FOLDER))

    assert code == 0, said


@pytest.mark.timeout(120)
@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed: pip install pyright")
def test_pyright_agrees(tmp_path):
    package = Path(pointsman.__file__).parents[1]
    project = tmp_path / "pyrightconfig.json"
    project.write_text(
        f'{{"include": ["{os.path.relpath(FOLDER, tmp_path)}"], "extraPaths": ["{package}"], "typeCheckingMode": "strict"}}'
    )

    code, said = check("pyright", "--pythonpath", sys.executable, "--project", str(project))
    if "node" in said and "error" not in said:
        pytest.skip(f"pyright could not start: {said[-200:]}")

    assert code == 0, said


def keywords(function):
    return {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def test_type_checkers_read_every_keyword_of_a_job_and_no_other():
    assert keywords(pointsman.map) == MapKeywords.__optional_keys__
    assert keywords(pointsman.execute) - {"return_optimization_result"} == ExecuteKeywords.__optional_keys__


def test_optimize_takes_no_keyword_that_execute_has_not():
    assert keywords(pointsman.optimize) <= keywords(pointsman.execute)
