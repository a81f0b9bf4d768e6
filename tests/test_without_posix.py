"""Systems without what only POSIX has: the same results, on the standard library's pools.

What it does not know: the rest of such a system. Names are taken away before the package is imported.
"""

import pytest

from fixtures import run_program

pytestmark = pytest.mark.timeout(120)

PROGRAM = """
import os
import sys
import time

for name in ("register_at_fork", "fork", "uname", "getloadavg"):
    if hasattr(os, name):
        delattr(os, name)
del time.clock_gettime
sys.modules["fcntl"] = sys.modules["resource"] = None
os.environ["POINTSMAN_PROCESSES"] = "stdlib"

import pointsman


def square(x):
    return x * x


def nap(x):
    time.sleep(0.002)
    return x


if __name__ == "__main__":
    for backend in ("auto", "inline", "threads", "processes"):
        assert pointsman.execute(square, range(40), backend=backend) == [x * x for x in range(40)], backend
    assert list(pointsman.map(nap, range(40))) == list(range(40))
    for backend in ("threads", "processes"):
        with pointsman.Executor(2, backend=backend) as executor:
            assert executor.submit(square, 3).result(60) == 9
            assert executor.get_stats().completed_tasks == 1
            executor.get_memory_usage(), executor.get_cpu_usage()
    print(pointsman.optimize(square, range(40)).backend)
    print("done")
"""


def test_everything_works_where_what_only_posix_has_is_missing(tmp_path):
    assert run_program(tmp_path, PROGRAM).splitlines()[-1] == "done"
