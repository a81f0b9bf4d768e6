"""`pointsman report`: the page that is made of a trace, what it refuses."""

import json
import re
import subprocess
import sys

import pytest

import pointsman

pytest.importorskip("click", reason="click is not installed: pip install 'pointsman[cli]'")

from click.testing import CliRunner

from pointsman.cli import _timeline, commands


def double(number):
    return 2 * number


def fail_at_three(number):
    if number == 3:
        raise ValueError(number)
    return number


def run(*arguments):
    return CliRunner().invoke(commands, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "run.json"
    with pointsman.trace(path):
        pointsman.execute(double, range(200))
        pointsman.execute(fail_at_three, range(20), backend="threads", max_workers=2, on_error="return")
        pointsman.execute(double, range(50), backend="processes", max_workers=2)
    return path


def made_up(calls, **more):
    """A trace of that many calls on two rows, with `more` in its head."""
    events = [
        {"ph": "X", "cat": "call", "name": "work", "pid": 1, "tid": 1 + number % 2}
        | {
            "ts": 10.0 * number,
            "dur": 9.0,
            "args": {"job": 1, "index": number, "cpu": 6.0, "gil": 4.0, "dispatch": 0.5},
        }
        for number in range(calls)
    ]
    job = {"job": 1, "function": "work", "began": 0.0, "ended": 10.0 * calls, "failure": None, "plans": []}
    head = {"tool": "pointsman", "format": 1, "version": "0", "python": "3", "pid": 1, "began": 0.0, "seconds": 1.0}
    return {"traceEvents": events, "otherData": head | {"jobs": [job]} | more}


def written(tmp_path, whole):
    path = tmp_path / "made.json"
    path.write_text(json.dumps(whole))
    return path


def test_the_page_is_whole_in_itself(trace, tmp_path):
    page = tmp_path / "run.html"
    answer = run(trace, "-o", page)

    text = page.read_text(encoding="utf-8")
    assert (answer.exit_code, answer.output.strip()) == (0, str(page))
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(|https?://""", text)


def test_the_page_shows_every_part(trace, tmp_path):
    page = tmp_path / "run.html"
    run(trace, "-o", page)

    text = page.read_text(encoding="utf-8")
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == ["Timeline", "Where the time went", "Predicted and real", "Decisions", "The slowest calls"]
    assert "fail_at_three" in text
    assert "<b>270</b><span>calls</span>" in text
    assert "<b>1</b><span>raised</span>" in text


def test_the_page_lies_beside_the_trace_unless_said_otherwise(tmp_path):
    path = written(tmp_path, made_up(3))
    answer = run(path)

    assert (answer.exit_code, (tmp_path / "made.html").exists()) == (0, True)


def test_time_is_shared_out_among_what_it_was_spent_on(tmp_path):
    timeline = _timeline.read(written(tmp_path, made_up(100)))
    one = _timeline.shares(timeline.rows[0], timeline.jobs)

    # Fifty calls of 9 us in a job of 1,000 us, which the first of them waits half a microsecond to begin in.
    expected = _timeline.Shares(held=200, free=100, waiting=150, transfer=25, idle=525)
    parts = one.__slots__
    assert [getattr(one, part) for part in parts] == pytest.approx([getattr(expected, part) for part in parts], abs=1)


def test_a_call_within_a_call_is_counted_once(tmp_path):
    whole = made_up(1)
    inner = {**whole["traceEvents"][0], "ts": 2.0, "dur": 3.0}
    whole["traceEvents"].append(inner)
    timeline = _timeline.read(written(tmp_path, whole))
    one = _timeline.shares(timeline.rows[0], timeline.jobs)

    assert one.held + one.free + one.waiting == pytest.approx(9.0)


def test_names_are_text_and_nothing_else(tmp_path):
    evil = "</script><script>alert(1)</script><b onclick=x>{{DATA}}"
    whole = made_up(2)
    whole["otherData"]["jobs"][0]["function"] = whole["traceEvents"][0]["name"] = evil
    page = tmp_path / "page.html"
    answer = run(written(tmp_path, whole), "-o", page)

    text = page.read_text(encoding="utf-8")
    assert answer.exit_code == 0
    assert text.count("</script>") == 2
    assert "<b onclick" not in text


def test_a_trace_without_a_call_makes_a_page(tmp_path):
    path = tmp_path / "run.json"
    with pointsman.trace(path):
        pass
    answer = run(path)

    assert answer.exit_code == 0, answer.output


DAMAGED = {
    "empty": ("", "not JSON"),
    "cut off": ('{"traceEvents": [{"ph": "X"', "line 1"),
    "not text": (b"{\xff\xfe\x80}", "not text"),
    "a list": ("[]", "no trace of pointsman"),
    "of another tool": ('{"traceEvents": []}', "no trace of pointsman"),
    "of the future": (json.dumps(made_up(1, format=99)), "format"),
    "without jobs": (json.dumps(made_up(1, jobs=None)), "damaged"),
    "with a word for a time": (json.dumps(made_up(1)).replace('"ts": 0.0', '"ts": "soon"'), "damaged"),
    "with no number for a time": (json.dumps(made_up(1)).replace('"ts": 0.0', '"ts": NaN'), "damaged"),
    "with an odd ending": (json.dumps(made_up(1)).replace('"dispatch": 0.5', '"ending": "odd"'), "damaged"),
    "with a number for an event": (json.dumps({**made_up(1), "traceEvents": [7]}), "damaged"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_no_trace_is_refused_with_exit_code_2(tmp_path, what):
    content, word = DAMAGED[what]
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = run(path)

    assert (answer.exit_code, word in answer.output) == (2, True), answer.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.json"]


def test_a_file_that_is_not_there_is_named(tmp_path):
    answer = run(tmp_path / "nowhere.json")

    assert (answer.exit_code, "nowhere.json" in answer.output) == (2, True)


def test_the_trace_is_never_written_over(tmp_path):
    path = written(tmp_path, made_up(1))
    answer = run(path, "-o", path)

    assert answer.exit_code == 2
    assert json.loads(path.read_text())["traceEvents"]


def test_a_damaged_plan_costs_its_drawing_and_nothing_else(tmp_path):
    whole = made_up(3)
    whole["otherData"]["jobs"][0]["plans"] = [{"at": 1.0, "plan": {"backend": "threads"}}]
    page = tmp_path / "page.html"
    answer = run(written(tmp_path, whole), "-o", page)

    assert (answer.exit_code, "plan is damaged" in page.read_text(encoding="utf-8")) == (0, True)


def test_the_command_is_there_from_outside(tmp_path):
    path = written(tmp_path, made_up(5))
    command = [sys.executable, "-m", "pointsman", "report", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (answer.returncode, answer.stdout.strip()) == (0, str(tmp_path / "made.html")), answer.stderr
