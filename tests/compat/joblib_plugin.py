"""Lets joblib's own tests of `Parallel` run on our backend, as a pytest plugin (`nox -s joblib`).

    PYTHONPATH=tests/compat python -m pytest -p joblib_plugin --pyargs joblib.test.test_parallel

The tests are those of the installed joblib; nothing of them is copied. Our backend takes loky's place and name before
they are imported, so that every test of loky is one of ours.

Invariants:
    P1. A test passes, or its name is in `DIFFERENCES` with the reason; one that is listed and passes is an error, too.
    P2. There are fewer than five differences.
"""

import joblib
import pytest
from joblib import _parallel_backends, parallel

from pointsman.integrations.joblib import PointsmanBackend

_parallel_backends.LokyBackend = PointsmanBackend
parallel.BACKENDS["loky"] = PointsmanBackend
# Compared with by one test; the class is still found under its own qualified name.
PointsmanBackend.__name__ = "LokyBackend"

# Name of the test, with its parameters where only some of them differ: why it is meant to fail.
DIFFERENCES = {
    "test_nested_parallel_warnings": "warns that loky does not nest below threads; ours does, with workers of its own",
    "test_multiple_generator_call_separated_gc": (
        "wants an error when another generator was dropped, which ends loky's shared workers; ours go on"
    ),
    "test_auto_memmap_on_arrays_from_generator": "wants files of arrays (np.memmap); ours travel in shared memory",
    "test_memmapping_leaks": "the same",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect what is listed to fail, and nothing else."""
    assert len(DIFFERENCES) < 5, "fewer than five differences were promised"
    for item in items:
        reason = DIFFERENCES.get(item.name.partition("[")[0])
        if reason is not None and _is_ours(item.name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _is_ours(name: str) -> bool:
    return "loky" in name and "loky-loky" not in name


def pytest_report_header() -> str:
    """Say which joblib was tested."""
    return f"joblib {joblib.__version__} on pointsman's backend"
