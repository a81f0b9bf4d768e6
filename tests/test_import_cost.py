"""Importing the package is cheap: it loads little, starts nothing and writes nothing.

Counted, not timed: what an import loads and starts is the same on a slow machine.
"""

import json
import os
import subprocess
import sys

import pytest

import pointsman

DEAR = [
    "ast",
    "asyncio",
    "click",
    "cloudpickle",
    "concurrent.futures.process",
    "dask",
    "dis",
    "http.client",
    "inspect",
    "joblib",
    "matplotlib",
    "multiprocessing",
    "numpy",
    "pydoc",
    "ray",
    "rich",
    "socket",
    "subprocess",
    "tempfile",
    "unittest",
]

REPORT = """
import json, os, sys, threading
before = set(sys.modules)
import pointsman
{then}
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
json.dump({{"modules": sorted(set(sys.modules) - before), "tasks": tasks}}, sys.stdout)
"""


def report(then, cache):
    answer = subprocess.run(
        [sys.executable, "-c", REPORT.format(then=then)],
        env={**os.environ, "POINTSMAN_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {**json.loads(answer.stdout), "cached": [entry.name for entry in cache.iterdir()]}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return report("", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    return report("assert pointsman.execute(abs, [-1, 2]) == [1, 2]", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("module", DEAR)
def test_importing_the_package_does_not_load(imported, module):
    assert module not in imported["modules"]


@pytest.mark.parametrize("module", DEAR)
def test_a_trifling_job_does_not_load(used, module):
    assert module not in used["modules"]


def test_importing_the_package_starts_no_thread(imported):
    assert imported["tasks"] == 1


def test_importing_the_package_writes_nothing(imported):
    assert imported["cached"] == []


def test_importing_the_package_loads_few_modules(imported):
    # Those that a job needs, which takes less than `from concurrent.futures import ProcessPoolExecutor`.
    assert len(imported["modules"]) < 120
    assert not {"typing", "re", "enum", "logging", "pointsman._executor"} & {*imported["modules"]}


def test_a_trifling_job_loads_nothing_more(imported, used):
    assert {*used["modules"]} == {*imported["modules"]}


def test_the_program_of_workers_loads_nothing_that_takes_longer_than_the_rest():
    package = os.path.dirname(os.path.dirname(pointsman.__file__))
    script = f"import sys; sys.path.insert(0, {package!r}); import pointsman._worker; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-P", "-S", "-X", "pointsman_worker", "-c", script], capture_output=True, text=True, check=True
    )

    assert not {"contextlib", "enum", "re", "threading", "typing", "weakref"} & set(loaded.stdout.split())
