"""Modules whose own code runs a job: their workers need not import them, and where they do begin no job of their own.

What it does not know: how functions travel.
"""

import pytest

from fixtures import run_program

pytestmark = pytest.mark.timeout(90)

JOBS = {
    "execute": "TABLE = pointsman.execute(work, [20_000 + n for n in range(120)]{where})",
    "map": "TABLE = list(pointsman.map(work, [20_000 + n for n in range(120)]{where}))",
    "an executor": "with pointsman.Executor({executor}) as pool: TABLE = list(pool.map(work, range(20_000, 20_120)))",
}


@pytest.mark.parametrize("what", JOBS)
@pytest.mark.parametrize("place", ["auto", "processes"])
def test_a_module_that_runs_a_job_when_it_is_imported_is_imported_once(what, place, tmp_path):
    job = JOBS[what].format(where=f", backend={place!r}", executor=f"backend={place!r}")
    (tmp_path / "tables.py").write_text(
        f"""
import os, pointsman
print("imported")

class Size:
    def __init__(self, count):
        self.count = count

def total(size):
    return sum(number * number % 7 for number in range(size.count))

def work(count):
    return total(Size(count))

{job}
"""
    )

    printed = run_program(
        tmp_path,
        """
        import tables
        print(tables.TABLE == [tables.work(20_000 + n) for n in range(120)])
        """,
    )

    assert printed.split() == ["imported", "True"]


@pytest.mark.parametrize("what", JOBS)
def test_a_job_that_an_import_in_a_worker_begins_is_run_by_that_worker(what, tmp_path):
    job = JOBS[what].format(where=", backend='processes'", executor="backend='processes'")
    (tmp_path / "tables.py").write_text(
        f"""
import os, pointsman

def work(count):
    return os.getpid() if count >= 0 else None

{job}
"""
    )

    printed = run_program(
        tmp_path,
        """
        import os, pointsman

        def use(number):
            import tables
            return {os.getpid()} == {*tables.TABLE}

        print(set(pointsman.execute(use, range(40), backend="processes")))
        """,
    )

    assert printed == "{True}"
