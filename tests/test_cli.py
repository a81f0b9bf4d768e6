"""The command line: what it prints, where, and with which exit code."""

import json
import os
import subprocess
import sys

import pytest

MODULE = """
def double(number):
    return 2 * number

def shout(line):
    return line.upper()

def fail_at_three(number):
    if number == 3:
        raise ValueError("three is not allowed")
    return number

def busy(number):
    return sum(range(20_000))

class Kept:
    @staticmethod
    def triple(number):
        return 3 * number

def lone(number):
    return chr(0xD800 + int(number))

NOT_A_FUNCTION = 7
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sums.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "needy.py").write_text("import there_is_no_such_module\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def pointsman(folder):
    def run(*arguments, stdin=""):
        return subprocess.run(
            [sys.executable, "-m", "pointsman", *arguments],
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_execute_prints_the_results_in_order_and_nothing_else_on_standard_output(pointsman):
    answer = pointsman("execute", "sums:double", "--data-range", "5")

    assert (answer.returncode, answer.stdout) == (0, "0\n2\n4\n6\n8\n")


@pytest.mark.parametrize("more", [[], ["--format", "json"]], ids=["text", "json"])
def test_execute_prints_whatever_comes_out(pointsman, more):
    huge = pointsman("execute", "math:factorial", "--data-range", "1600:1602", "--quiet", *more)
    lone = pointsman("execute", "sums:lone", "--data-range", "2", "--quiet", *more)

    assert (huge.returncode, lone.returncode) == (0, 0)
    assert len(huge.stdout) > 2 * 4300
    assert "\\ud800" in lone.stdout


def test_execute_finds_a_function_inside_a_class(pointsman):
    answer = pointsman("execute", "sums:Kept.triple", "--data-range", "1:4")

    assert (answer.returncode, answer.stdout) == (0, "3\n6\n9\n")


def test_execute_reads_one_input_per_line_of_a_file(pointsman, folder):
    (folder / "lines").write_text("b\r\na\n", encoding="utf-8")

    answer = pointsman("execute", "sums:shout", "--data-file", "lines")

    assert (answer.returncode, answer.stdout) == (0, "B\nA\n")


@pytest.mark.parametrize(
    ("reader", "lines", "expected"), [("int", "1\n-2\n", "2\n-4\n"), ("json", "[1]\n", "[1, 1]\n")]
)
def test_execute_reads_standard_input_as_asked(pointsman, reader, lines, expected):
    answer = pointsman("execute", "sums:double", "--data-stdin", "--read-as", reader, stdin=lines)

    assert (answer.returncode, answer.stdout) == (0, expected)


def test_execute_explains_itself_on_standard_error_unless_told_to_be_quiet(pointsman):
    loud = pointsman("execute", "sums:double", "--data-range", "5")
    quiet = pointsman("execute", "sums:double", "--data-range", "5", "--quiet")

    assert "plain loop" in loud.stderr
    assert quiet.stderr == ""


def test_execute_as_json_is_one_object_with_results_seconds_and_plan(pointsman):
    answer = pointsman("execute", "sums:double", "--data-range", "3", "--format", "json")

    found = json.loads(answer.stdout)
    assert found["results"] == [0, 2, 4]
    assert found["seconds"] > 0
    assert found["plan"]["backend"] == "inline"


@pytest.mark.parametrize("backend", ["inline", "threads", "processes"])
def test_execute_runs_where_it_is_told_to(pointsman, backend):
    answer = pointsman(
        "execute", "sums:double", "--data-range", "20", "--backend", backend, "--max-workers", "2", "--format", "json"
    )

    found = json.loads(answer.stdout)
    assert found["results"] == [2 * number for number in range(20)]
    assert found["plan"]["backend"] == backend


def test_a_function_that_fails_exits_with_1_and_shows_its_traceback(pointsman):
    answer = pointsman("execute", "sums:fail_at_three", "--data-range", "5")

    assert answer.returncode == 1
    assert "sums.py" in answer.stderr
    assert "ValueError: three is not allowed" in answer.stderr
    assert answer.stdout == ""


def test_optimize_exits_with_1_when_a_measured_call_fails(pointsman):
    answer = pointsman("optimize", "sums:fail_at_three", "--data-range", "3:5")

    assert answer.returncode == 1
    assert "three is not allowed" in answer.stderr


def test_optimize_prints_the_plan_as_text(pointsman):
    answer = pointsman("optimize", "sums:busy", "--data-range", "1000")

    assert answer.returncode == 0
    assert "GIL" in answer.stdout
    assert "busy" in answer.stdout


def test_optimize_prints_a_plan_that_can_be_read_back(pointsman):
    from pointsman import Plan

    answer = pointsman("optimize", "sums:busy", "--data-range", "1000", "--format", "json")

    plan = Plan.from_json(answer.stdout)
    assert plan.backend in {"inline", "threads", "processes"}
    assert plan.observation.held + plan.observation.free > 0


DATA = ("--data-range", "3")
MISTAKES = {
    "a path": (["optimize", "./sums.py:double", "--data-range", "5"], "'sums'"),
    "a scale that is no number": (["demo", "--scale", "nan"], "--scale"),
    "a scale without end": (["demo", "--scale", "inf"], "--scale"),
    "no function": (["execute", *DATA], "MODULE:FUNCTION"),
    "no colon": (["execute", "sums", *DATA], "'sums' is not of the form MODULE:FUNCTION"),
    "no such module": (["execute", "sumz:double", *DATA], "no module 'sumz'"),
    "no such submodule": (["execute", "sums.inner:double", *DATA], "no module 'sums.inner'"),
    "no such function": (["execute", "sums:halve", *DATA], "'sums' has no 'halve'"),
    "not a function": (["execute", "sums:NOT_A_FUNCTION", *DATA], "cannot be called: it is of type int"),
    "module that fails": (["execute", "broken:f", *DATA], "ZeroDivisionError"),
    "module that lacks another": (["execute", "needy:f", *DATA], "imports 'there_is_no_such_module'"),
    "no data": (["execute", "sums:double"], "--data-range N, --data-file FILE or --data-stdin"),
    "data twice": (["execute", "sums:double", *DATA, "--data-stdin"], "--data-range and --data-stdin"),
    "no such file": (["execute", "sums:double", "--data-file", "absent"], "--data-file: absent"),
    "range of words": (["optimize", "sums:double", "--data-range", "many"], "'many'"),
    "range with a step of 0": (["optimize", "sums:double", "--data-range", "0:9:0"], "'0:9:0'"),
    "reader without lines": (["optimize", "sums:double", *DATA, "--read-as", "int"], "--read-as"),
    "line that is no number": (["execute", "sums:double", "--data-stdin", "--read-as", "int"], "line 2"),
    "backend unknown": (["execute", "sums:double", *DATA, "--backend", "magic"], "--backend"),
    "no workers": (["execute", "sums:double", *DATA, "--max-workers", "0"], "--max-workers"),
    "option unknown": (["execute", "sums:double", *DATA, "--workers", "2"], "--workers"),
    "command unknown": (["dance"], "dance"),
    "workload unknown": (["demo", "--only", "dance"], "--only"),
}


@pytest.mark.parametrize(("arguments", "named"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_bad_argument_exits_with_2_and_is_named(pointsman, arguments, named):
    answer = pointsman(*arguments, stdin="1\ntwo\n")

    assert answer.returncode == 2
    assert named in answer.stderr
    assert "Traceback" not in answer.stderr


def test_doctor_tells_cores_memory_gil_start_methods_constants_and_probe(pointsman):
    answer = pointsman("doctor", "--format", "json")

    found = json.loads(answer.stdout)
    assert 0 < found["cores"]["usable"] <= found["cores"]["affinity"] <= (os.cpu_count() or 1)
    assert found["memory"]["available_bytes"] > 0
    assert found["python"]["gil"] in {"on", "off"}
    assert "spawn" in found["start_methods"]
    assert found["probe"]
    assert found["constants"]["thread_start"]["value"] > 0


def test_doctor_says_what_was_measured_and_how_long_ago(pointsman, monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_CACHE_DIR", str(tmp_path / "cache"))
    before = json.loads(pointsman("doctor", "--format", "json").stdout)["constants"]
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from pointsman import _machine; _machine.record('thread_start', 123e-6); _machine.flush()",
        ],
        check=True,
    )

    after = json.loads(pointsman("doctor", "--format", "json").stdout)["constants"]
    assert before["thread_start"]["source"] == "built in"
    assert before["thread_start"]["age_seconds"] is None
    assert after["thread_start"]["source"] == "measured here"
    assert 0 <= after["thread_start"]["age_seconds"] < 100
    assert "measured here less than a minute ago" in pointsman("doctor").stdout


def test_the_demo_compares_every_fixed_choice_with_the_automatic_one(pointsman):
    answer = pointsman("demo", "--json", "--scale", "0.05")

    found = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert [row["name"] for row in found["workloads"]] == ["compress", "parse", "fetch", "both", "tiny", "large"]
    for row in found["workloads"]:
        assert row["same_results"]
        assert row["actual"] > 0
        assert [choice["name"] for choice in row["fixed"]] == [
            "plain loop",
            "2 threads",
            "8 threads",
            "32 threads",
            f"{found['cores']} processes",
        ]


def test_the_demo_is_plain_text_in_a_pipe(pointsman):
    answer = pointsman("demo", "--only", "large", "--scale", "0.1")

    assert answer.returncode == 0
    assert "rewrite 4 MB of bytes" in answer.stdout
    assert "\x1b" not in answer.stdout
    assert answer.stdout.isascii()
    assert answer.stderr == ""


def test_without_its_extra_the_command_line_says_how_to_get_it(tmp_path):
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('hidden', name='click')\n", encoding="utf-8")

    answer = subprocess.run(
        [sys.executable, "-m", "pointsman", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 2
    assert "pip install 'pointsman[cli]'" in answer.stderr


# --------------------------------------------------------------------------------------------- validate


def test_validate_runs_every_candidate_and_gives_both_figures(pointsman):
    answer = pointsman("validate", "sums:busy", "--data-range", "400", "--most", "4", "--format", "json")
    found = json.loads(answer.stdout)

    assert answer.returncode == 0, answer.stderr
    assert {"inline", "threads", "processes"} <= {way["backend"] for way in found["candidates"]}
    assert all(way["actual"] > 0 and way["seconds"] > 0 for way in found["candidates"])
    assert all(way["ratio"] == way["actual"] / way["seconds"] for way in found["candidates"])
    assert sum(way["chosen"] for way in found["candidates"]) == 1
    assert found["regret"] >= 1.0


def test_validate_prints_a_table_with_the_choice_marked(pointsman):
    answer = pointsman("validate", "sums:busy", "--data-range", "400", "--most", "3")
    lines = answer.stdout.splitlines()

    assert answer.returncode == 0, answer.stderr
    assert any("actual/predicted" in line for line in lines)
    assert len([line for line in lines if line.startswith("> ")]) == 1
    assert "(median)" in answer.stdout


def test_validate_of_a_trifle_says_that_there_is_nothing_to_compare(pointsman):
    answer = pointsman("validate", "sums:double", "--data-range", "5")

    assert answer.returncode == 1
    assert "nothing to compare" in answer.stderr
    assert "too little" in answer.stderr


def test_validate_reads_lines_and_shows_what_the_function_raised(pointsman, folder):
    (folder / "sums.py").write_text(MODULE + "\ndef late(line):\n    busy(0)\n    return 1 // (line != '290')\n")
    (folder / "lines").write_text("\n".join(map(str, range(300))))
    answer = pointsman("validate", "sums:late", "--data-file", "lines", "--most", "1")

    assert answer.returncode == 1
    assert "ZeroDivisionError" in answer.stderr
