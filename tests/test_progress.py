"""`progress=True`: what a terminal, a notebook and a pipe get to see."""

import os
import re
import subprocess
import sys
import types

import pytest

import pointsman
from pointsman import _progress

pytest.importorskip("rich", reason="rich is not installed: pip install 'pointsman[progress]'")


class Screen:
    """Stands for a terminal and remembers what it was told."""

    def __init__(self):
        self.shown = []
        self.ended = []

    def show(self, done, place):
        self.shown.append((done, place))

    def end(self, done, place, *, whole):
        self.ended.append((done, place, whole))


@pytest.fixture
def screen(monkeypatch):
    made = Screen()
    made.total = "never asked"

    def make(name, total):
        made.name, made.total = name, total
        return made

    monkeypatch.setattr(_progress, "_screen", make)
    return made


def square(number):
    return number * number


def fail_at_seven(number):
    if number == 7:
        raise ValueError(number)
    return number


def test_the_bar_ends_with_every_call_counted_on_each_backend(screen, backend):
    pointsman.execute(square, range(1000), backend=backend, progress=True)

    (done, _place, whole), total = screen.ended[0], screen.total

    assert (done, whole, total) == (1000, True, 1000)


def test_a_generator_without_a_length_is_counted_and_has_no_total(screen):
    pointsman.execute(square, (number for number in range(500)), progress=True)

    assert (screen.total, screen.ended[0][0]) == (None, 500)


def test_chunks_are_counted_by_their_calls(screen):
    pointsman.execute(square, range(1001), backend="processes", max_workers=2, chunksize=100, progress=True)

    assert screen.ended == [(1001, "2 processes", True)]


def test_an_error_ends_the_bar_at_the_results_before_it(screen):
    with pytest.raises(ValueError):
        list(pointsman.map(fail_at_seven, range(20), backend="inline", progress=True))

    assert screen.ended == [(7, "failed", False)]


def test_errors_that_are_results_are_counted(screen):
    pointsman.execute(fail_at_seven, range(20), on_error="return", progress=True)

    assert (screen.ended[0][0], screen.ended[0][2]) == (20, True)


def test_a_map_that_is_left_early_takes_its_bar_down(screen):
    results = pointsman.map(square, iter(int, 1), backend="inline", progress=True)
    next(results)
    results.close()

    assert [place for _done, place, _whole in screen.ended] == ["stopped"]


def test_the_options_view_passes_it_on(screen):
    pointsman.options(backend="threads", max_workers=2).execute(square, range(50), progress=True)

    assert screen.ended == [(50, "2 threads", True)]


def test_progress_and_its_callback_go_together(screen):
    heard = []
    pointsman.execute(
        square, range(50), progress=True, progress_callback=lambda phase, share: heard.append((phase, share))
    )

    assert (heard[-1], screen.ended[0][0]) == (("done", 1.0), 50)


SCRIPT = """
import pointsman

def square(number):
    return number * number

print(len(pointsman.execute(square, range(300), backend="threads", max_workers=2, progress=True)))
"""


def test_a_pipe_gets_nothing_of_it(tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT)

    answer = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True
    )

    assert (answer.stdout, answer.stderr) == ("300\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_a_terminal_sees_count_rate_and_place_and_standard_output_stays_clean(tmp_path):
    import pty

    (tmp_path / "program.py").write_text(SCRIPT)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "20"}
    environment.pop("NO_COLOR", None)
    program = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    output, _nothing = program.communicate(timeout=100)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())

    assert output == b"300\n"
    assert "square" in text
    assert re.search(r"300/300, [\d,.]+/s", text)
    assert "2 threads" in text


def test_a_notebook_shows_it_in_its_cell(monkeypatch):
    pages = []
    handle = types.SimpleNamespace(update=lambda page: pages.append(page._repr_html_()))
    fake = types.SimpleNamespace(
        get_ipython=lambda: types.SimpleNamespace(kernel=object()),
        display=types.SimpleNamespace(display=lambda _page, display_id: handle if display_id else None),
    )
    monkeypatch.setitem(sys.modules, "IPython", fake)
    pointsman.execute(square, range(100), backend="threads", max_workers=2, progress=True)

    assert '<progress value="100" max="100">' in pages[-1]
    assert "100/100" in pages[-1]
    assert "2 threads" in pages[-1]


def test_without_rich_a_terminal_gets_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pointsman\[progress\]'"):
        pointsman.execute(square, range(10), progress=True)
