"""What every test shares: a private cache, the backends there are, and nothing left behind.

What it does not know: how any backend works.

Invariants:
    T1. No test reads or writes the cache of the user who runs it.
    T2. A backend that cannot run here is skipped with the reason, never silently.
    T3. Every part of a list of results is moved, however small, so that a run that looks back at what it gave is seen;
        and lists of inputs are gone through where they are.
    T4. Programs that tests start hear Ctrl-C, also where a shell runs the tests in the background, deaf to it.
"""

import importlib.util
import os
import signal
import tempfile
from pathlib import Path

import pytest

# Before anything imports pointsman, and inherited by every process that a test starts (T1).
_CACHE = tempfile.TemporaryDirectory(prefix="pointsman-tests-", ignore_cleanup_errors=True)
os.environ["POINTSMAN_CACHE_DIR"] = _CACHE.name

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from pointsman import _results, _source  # noqa: E402 - after the environment is set
from pointsman._edition import INTERPRETERS  # noqa: E402 - the same
from pointsman._job import BACKENDS as NAMES  # noqa: E402 - the same

# T3.
_results._MANY = _source._MANY = 1


def _marks(name: str) -> list[pytest.MarkDecorator]:
    """Say when and why this backend is skipped."""
    if name == "interpreters":
        old = not INTERPRETERS
        return [pytest.mark.skipif(old, reason="interpreter pools came with CPython 3.14")]
    if name in {"dask", "ray"}:
        absent = importlib.util.find_spec(name) is None
        return [pytest.mark.skipif(absent, reason=f"{name} is not installed: pip install 'pointsman[{name}]'")]
    return []


# "asyncio" takes coroutine functions only, so it has tests of its own.
BACKENDS = [pytest.param(name, marks=_marks(name)) for name in NAMES if name != "asyncio"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name each backend that takes plain functions, and "auto"."""
    name: str = request.param
    return name


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache folder of its own, empty."""
    monkeypatch.setenv("POINTSMAN_CACHE_DIR", str(tmp_path))
    return tmp_path
