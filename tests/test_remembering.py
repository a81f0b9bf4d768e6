"""What is learnt of functions: by whose code, for how long, and in a file that many programs share.

What it does not know: how a call is measured or a plan priced.
"""

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pointsman
from pointsman import _learning, _memory
from pointsman._identity import key_of, size_of

pytestmark = pytest.mark.timeout(60)


def rest(x):
    time.sleep(0.004)
    return x


def decorated(function):
    def inner(*args):
        return function(*args)

    return inner


def labelled(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


def compiled(source, name="f"):
    names = {"__name__": "made"}
    exec(source, names)  # noqa: S102 - functions that differ in one place
    return names[name]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "deep" / "learnt.json"
    pointsman.remember(path)
    yield path
    pointsman.remember(None)


# ------------------------------------------------------------------------------------------------- names


def test_the_same_source_has_the_same_key_and_another_has_another():
    source = "def f(x):\n    return x in {1, 'a', 2} or x * 2\n"

    assert key_of(compiled(source)) == key_of(compiled(source))
    assert key_of(compiled(source)) != key_of(compiled(source.replace("* 2", "* 3")))


def test_a_key_is_the_same_in_another_process():
    root = str(Path(pointsman.__file__).parents[1])
    source = f"import sys\nsys.path.insert(0, {root!r})\nfrom pointsman._identity import key_of\n"
    source += "def f(x):\n    return x in {'one', 'two', 'three'}\nprint(key_of(f))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(answers) == 1


@pytest.mark.parametrize("wrap", [decorated, labelled, functools.partial])
def test_what_a_function_wraps_is_part_of_its_key(wrap):
    one, other = compiled("def f(x): return x"), compiled("def f(x): return -x")

    assert key_of(wrap(one)) != key_of(wrap(other))


def test_a_function_is_forgotten_when_one_that_it_calls_changes():
    source = "def g(x): return x\ndef f(x): return g(x)"

    assert key_of(compiled(source)) != key_of(compiled(source.replace("return x\n", "return x + 1\n")))


def test_what_has_no_code_has_no_key():
    assert key_of(len) is None
    assert key_of(functools.partial(len)) is None


@pytest.mark.parametrize("wrap", [decorated, labelled])
def test_functions_behind_one_decorator_are_learnt_one_by_one(wrap):
    one, other = wrap(compiled("def f(x): return x")), wrap(compiled("def f(x): return -x"))

    assert _learning.lookup(one) is not _learning.lookup(other)
    assert _learning.lookup(one) is _learning.lookup(one)


def test_sizes_are_told_apart_by_their_magnitude():
    assert size_of(b"x" * 10) == size_of(b"x" * 15)
    assert size_of(b"x" * 10) != size_of(b"x" * 10_000)
    assert size_of(3) == size_of(200)


# ---------------------------------------------------------------------------------------- in one program


def test_a_second_job_says_that_it_remembers():
    function = compiled("import time\ndef f(x):\n    time.sleep(0.01)\n    return x")
    pointsman.optimize(function, range(300))
    plans = []
    for _ in range(5):
        results, plan = pointsman.execute(function, range(100), return_optimization_result=True)
        plans.append(plan)

        assert results == list(range(100))
        assert plan.backend == "threads"

    # On a loaded machine a first call may take twice as long as those before; then it is measured anew.
    assert any("remembered of" in str(plan) for plan in plans)


def test_what_calls_of_another_size_cost_is_not_expected_of_these():
    function = compiled("import time\ndef f(x):\n    time.sleep(0.0015)\n    return x")
    pointsman.optimize(function, [b"x"] * 300)
    _results, plan = pointsman.execute(function, [b"x" * 9999] * 300, return_optimization_result=True)

    assert "remembered of" not in str(plan)


def test_a_first_call_that_is_unlike_those_remembered_is_measured_anew():
    naps = {"seconds": 0.002}

    def nap(x):
        time.sleep(naps["seconds"])
        return x

    pointsman.optimize(nap, range(100))
    # Far more than a machine that stalls for a moment may have added to those.
    naps["seconds"] = 0.1
    _results, plan = pointsman.execute(nap, range(20), return_optimization_result=True)

    assert "remembered of" not in str(plan)
    assert plan.observation.wait > 0.01


def test_who_asks_for_figures_gets_those_of_calls_made_now():
    pointsman.optimize(rest, range(100))

    assert pointsman.optimize(rest, range(100), sample_size=3).observation.calls == 3
    assert "remembered of" not in str(pointsman.optimize(rest, range(100)))


def test_what_is_remembered_never_changes_results():
    seen = []

    def note(x):
        time.sleep(0.001)
        seen.append(x)
        return -x

    for _ in range(3):
        seen.clear()

        assert pointsman.execute(note, range(60)) == [-x for x in range(60)]
        assert sorted(seen) == list(range(60))


# ------------------------------------------------------------------------------------------------ a file

PROGRAM = """
import time
import pointsman

def work(x):
    time.sleep(0.01)
    return {result}

_results, plan = pointsman.execute(work, range(200), return_optimization_result=True)
print("remembered of" in str(plan))
"""


def program(path, result="x"):
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(result=result)],
        env={**os.environ, "POINTSMAN_REMEMBER": str(path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return answer.stdout.strip(), answer.stderr


def test_the_next_program_remembers_and_a_changed_function_is_new(tmp_path):
    path = tmp_path / "learnt.json"

    assert program(path)[0] == "False"
    # On a loaded machine a first call may take twice as long as the one before; then it is measured anew.
    assert "True" in {program(path)[0] for _ in range(5)}
    assert program(path, "-x")[0] == "False"


def test_another_machine_is_not_believed_and_not_forgotten(tmp_path):
    path = tmp_path / "learnt.json"
    program(path)
    content = json.loads(path.read_text())
    [entries] = content["machines"].values()
    path.write_text(json.dumps({**content, "machines": {"elsewhere": entries}}))

    assert program(path)[0] == "False"
    assert json.loads(path.read_text())["machines"]["elsewhere"] == entries


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 1}', '{"version": 1, "machines": 5}', '{"version": 1, "machines": {"a": 5}}'],
)
def test_a_damaged_file_is_ignored_with_a_warning_and_replaced(tmp_path, text, caplog):
    path = tmp_path / "learnt.json"
    path.write_text(text)
    memory = _memory.Memory(str(path))

    assert "damaged" in caplog.text
    assert memory.recall("f") is None
    memory.note("f", {"calls": 1})
    memory.flush()
    assert _memory.Memory(str(path)).recall("f")["calls"] == 1


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-1", '"one"', "[1]"])
def test_figures_that_cannot_be_right_are_not_taken(tmp_path, figure):
    path = tmp_path / "learnt.json"
    memory = _memory.Memory(str(path))
    memory.note("f", {"calls": 1})
    memory.flush()
    path.write_text(path.read_text().replace('"calls": 1', f'"calls": {figure}'))

    assert _memory.Memory(str(path)).recall("f") is None


WRITER = """
import sys
from pointsman import _memory
memory = _memory.Memory(sys.argv[1])
for number in range(40):
    memory.note(f"{sys.argv[2]}-{number}", {"calls": number})
    memory.flush()
"""


def test_many_processes_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "learnt.json"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abcd"]
    for writer in writers:
        assert writer.wait(50) == 0
    memory = _memory.Memory(str(path))

    assert all(memory.recall(f"{name}-{number}") for name in "abcd" for number in range(40))
    assert {entry.name for entry in tmp_path.iterdir()} == {"learnt.json", "learnt.json.lock"}


def test_a_file_that_cannot_be_written_costs_nobody_a_result(tmp_path, caplog):
    (tmp_path / "taken").write_text("a file where a folder is needed")
    pointsman.remember(tmp_path / "taken" / "learnt.json")
    try:
        assert pointsman.execute(compiled("import time\ndef f(x):\n    time.sleep(0.002)\n    return x"), range(9)) == [
            *range(9)
        ]
    finally:
        pointsman.remember(None)

    assert "could not be" in caplog.text


def test_the_file_is_for_its_owner_only(file):
    # No other test has this code: free-threaded builds keep code for ever, and what was learnt of it.
    pointsman.execute(compiled("import time\ndef f(x):\n    time.sleep(0.0021)\n    return x"), range(100))
    _memory.current().flush()

    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["version"] == 1


def test_what_submit_has_learnt_is_in_the_same_file(file):
    function = compiled("import time\ndef f(x):\n    time.sleep(0.002)\n    return x")
    with pointsman.Executor() as executor:
        for x in range(6):
            assert executor.submit(function, x).result(20) == x
    _memory.current().flush()
    [entries] = json.loads(file.read_text())["machines"].values()

    assert next(entry for key, entry in entries.items() if key == key_of(function))["calls"] >= 3


@pytest.mark.parametrize("path", [5, b"x", object()])
def test_only_a_path_can_be_remembered_in(path):
    with pytest.raises(TypeError, match="path"):
        pointsman.remember(path)


# ------------------------------------------------------------------------------------- what is there already

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def use(name):
    """Run something that is worth remembering."""
    function = compiled(f"import time\ndef {name}(x):\n    time.sleep(0.002)\n    return x", name)
    assert pointsman.execute(function, range(9)) == [*range(9)]
    _memory._flush()


@pipes
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link to a pipe"])
def test_what_is_there_and_is_no_file_is_refused_and_left_as_it_is(tmp_path, kind):
    path = taken = tmp_path / "taken"
    if kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    if kind.startswith("a link"):
        path = tmp_path / "link"
        path.symlink_to(taken)
    before = sorted(tmp_path.iterdir()), taken.stat()

    with pytest.raises(pointsman.InvalidArgumentError, match="no regular file"):
        pointsman.remember(path)
    use("refused")

    assert (sorted(tmp_path.iterdir()), taken.stat()) == before


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_the_file_that_it_leads_to_is_written(tmp_path, there):
    target, link = tmp_path / "elsewhere" / "learnt.json", tmp_path / "link.json"
    target.parent.mkdir()
    link.symlink_to(target)
    if there:
        target.write_text("")
    pointsman.remember(link)
    try:
        use(f"linked_{there}")
    finally:
        pointsman.remember(None)

    assert link.is_symlink()
    assert json.loads(target.read_text())["version"] == 1
    assert [entry.name for entry in tmp_path.iterdir() if "lock" in entry.name] == []


@pipes
def test_a_pipe_that_came_later_is_neither_read_nor_replaced(tmp_path, caplog):
    path = tmp_path / "learnt.json"
    memory = _memory.Memory(str(path))
    os.mkfifo(path)
    memory.note("f", {"calls": 1})
    memory.flush()

    assert path.is_fifo()
    assert caplog.text.count("no regular file") == 1


@pipes
def test_a_pipe_that_the_environment_names_is_a_warning(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    root = str(Path(pointsman.__file__).parents[1])
    source = f"import sys\nsys.path.insert(0, {root!r})\nimport time, pointsman\n"
    source += "print(pointsman.execute(lambda x: time.sleep(0.002) or x, range(9)))"
    answer = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "POINTSMAN_REMEMBER": str(path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )

    assert answer.stdout.strip() == str([*range(9)])
    assert answer.stderr.count("RuntimeWarning") == 1
    assert "no regular file" in answer.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
