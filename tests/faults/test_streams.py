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


@pytest.mark.parametrize("length", [5_000, 70_000, 300_000])
def test_lines_longer_than_a_pipe_takes_at_once_arrive_whole(length, tmp_path):
    out = ended(
        tmp_path,
        f"""
        import pointsman, sys

        def call(n):
            for stream in (sys.stdout, sys.stderr):
                print("begin", n, str(n % 10) * {length}, "end", file=stream)
                print("short", n, file=stream)

        pointsman.execute(call, range(40), backend="processes", max_workers=4, chunksize=1)
        """,
    )
    whole = re.compile(rf"begin \d+ (\d)\1{{{length - 1}}} end")

    for said in (out.out, out.err):
        lines = said.splitlines()
        assert len(lines) == 80
        assert sum(bool(whole.fullmatch(line)) for line in lines) == 40
        assert sorted(line for line in lines if line.startswith("short")) == sorted(f"short {n}" for n in range(40))


def test_threads_of_a_worker_that_print_to_one_pipe_leave_lines_whole(tmp_path):
    out = ended(
        tmp_path,
        """
        import os, pointsman, sys, threading, warnings

        # Python 3.14 warns of the fork, in two lines more.
        warnings.simplefilter("ignore", DeprecationWarning)

        def call():
            def say(stream):
                for n in range(30):
                    print("begin", "x" * 200_000, "end", file=stream)

            threads = [threading.Thread(target=say, args=(stream,)) for stream in (sys.stdout, sys.stderr)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # What a thread held when this process was forked is not held in the child.
            child = os.fork()
            if child == 0:
                print("forked", flush=True)
                os._exit(0)
            os.waitpid(child, 0)

        os.dup2(1, 2)
        with pointsman.Executor(1, backend="processes") as executor:
            executor.submit(call).result()
        """,
    )
    *lines, last = out.out.splitlines()

    assert len(lines) == 60
    assert sum(bool(re.fullmatch(r"begin x{200000} end", line)) for line in lines) == 60
    assert last == "forked"


def test_a_handler_of_a_signal_may_print_while_its_thread_does(tmp_path):
    out = ended(
        tmp_path,
        """
        import os, pointsman, signal, sys

        def call():
            def handle(*_):
                print("signal", file=sys.stderr)
                if going:
                    signal.setitimer(signal.ITIMER_REAL, 0.001)

            going = True
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            for n in range(200):
                print("x" * 100_000)
            going = False

        os.dup2(1, 2)
        with pointsman.Executor(1, backend="processes") as executor:
            executor.submit(call).result()
        """,
    )

    assert out.out.count("x") == 200 * 100_000


def test_a_worker_that_dies_while_it_prints_does_not_silence_the_others(tmp_path):
    out = ended(
        tmp_path,
        """
        import os, pointsman, signal, threading, time

        def call(n):
            if n % 10 == 5:
                threading.Thread(target=lambda: (time.sleep(0.01), os._exit(1)), daemon=True).start()
                while True:
                    print("x" * 50_000)
            print("said", n)

        with pointsman.Executor(2, backend="processes") as executor:
            futures = [executor.submit(call, n) for n in range(40)]
            assert sum(future.exception() is not None for future in futures) == 4
        """,
    )
    # Behind the piece of a line, if the death came in the middle of one.
    assert sorted(map(int, re.findall(r"said (\d+)", out.out))) == [n for n in range(40) if n % 10 != 5]


def test_streams_of_workers_are_like_any(tmp_path):
    out = ended(
        tmp_path,
        """
        import pointsman, sys

        def call():
            same = (sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)
            kinds = (sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.name, sys.stderr.errors, sys.stdout.mode)
            sys.stdout.buffer.write(b"bytes\\n")
            sys.stdout.flush()
            print("\u00fc", end="", flush=True)
            return same, kinds

        with pointsman.Executor(1, backend="processes") as executor:
            print(*executor.submit(call).result())
        """,
    )

    assert out.out == "bytes\n\u00fc(True, True) (1, 2, '<stdout>', 'backslashreplace', 'w')\n"
