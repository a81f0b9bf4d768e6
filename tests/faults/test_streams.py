"""What workers print, log and warn of reaches the program's own streams, in whole lines.

What it does not know: how a worker got its streams.
"""

import re

import pytest

from fixtures import program

pytestmark = pytest.mark.timeout(60)


def ended(folder, source):
    with program(folder, source) as running:
        ended = running.wait()
    assert ended.code == 0, ended.err
    return ended


def test_lines_that_workers_print_arrive_whole(tmp_path):
    out = ended(
        tmp_path,
        """
        import pointsman, sys

        def call(n):
            for k in range(20):
                print("out", n, k, "x" * 1500, "end")
                print("err", n, k, "y" * 1500, "end", file=sys.stderr)
            return n

        assert pointsman.execute(call, range(40), backend="processes", max_workers=4) == list(range(40))
        """,
    )
    whole = {"out": re.compile(r"out \d+ \d+ x{1500} end"), "err": re.compile(r"err \d+ \d+ y{1500} end")}

    assert len(out.out.splitlines()) == len(out.err.splitlines()) == 800
    assert all(whole["out"].fullmatch(line) for line in out.out.splitlines())
    assert all(whole["err"].fullmatch(line) for line in out.err.splitlines())


def test_what_workers_log_and_warn_of_arrives_in_whole_lines(tmp_path):
    out = ended(
        tmp_path,
        """
        import logging, pointsman, warnings

        def call(n):
            logging.getLogger("worker").warning("logged %d %s end", n, "z" * 1000)
            warnings.warn(f"warned {n}", UserWarning, stacklevel=1)
            return n

        assert pointsman.execute(call, range(60), backend="processes", max_workers=3, chunksize=1) == list(range(60))
        """,
    )
    lines = out.err.splitlines()

    assert sum(bool(re.fullmatch(r"logged \d+ z{1000} end", line)) for line in lines) == 60
    assert sum("UserWarning: warned" in line for line in lines) == 60


def test_a_line_without_an_end_is_not_lost_when_the_worker_ends(tmp_path):
    out = ended(
        tmp_path,
        """
        import pointsman, sys

        def call(n):
            sys.stdout.write("no newline here")

        with pointsman.Executor(1, backend="processes") as executor:
            executor.submit(call, 1).result()
        """,
    )

    assert out.out == "no newline here"
