"""Modules that are here and that no worker could import: what they define travels as that of the program itself does.

What it does not know: how anything travels, or what tells such a module from another.
"""

import pytest

from fixtures import run_program

pytestmark = pytest.mark.timeout(90)

# What a module of some program holds.
SOURCE = """
FACTOR = 3

def helper(n):
    return n * FACTOR

def work(n):
    return helper(n)

class Thing:
    def __init__(self, n):
        self.n = n

class Broken(Exception):
    def __init__(self, text, code):
        super().__init__(text)
        self.code = code

def make(n):
    return Thing(n)

def take(thing):
    return type(thing) is Thing, thing

def fail(n):
    raise Broken("it broke", n)
"""

MAKERS = {
    "made by the program": """
        lost = types.ModuleType("generated")
        sys.modules["generated"] = lost
        exec(SOURCE, vars(lost))
        """,
    "loaded from a file that is not on the path": """
        import importlib.util, pathlib
        pathlib.Path("beside").mkdir()
        pathlib.Path("beside/plugin.py").write_text(SOURCE)
        spec = importlib.util.spec_from_file_location("plugin", "beside/plugin.py")
        lost = sys.modules["plugin"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lost)
        """,
    "shadowed by another of its name": """
        import importlib.util, pathlib
        pathlib.Path("beside").mkdir()
        pathlib.Path("beside/plugin.py").write_text(SOURCE)
        pathlib.Path("plugin.py").write_text("def work(n): return None")
        spec = importlib.util.spec_from_file_location("plugin", "beside/plugin.py")
        lost = sys.modules["plugin"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lost)
        """,
    "that was run and is gone": """
        import pathlib, runpy
        pathlib.Path("beside.py").write_text(SOURCE)
        lost = types.SimpleNamespace(**runpy.run_path("beside.py"))
        """,
}

CALLS = """
def seen(place):
    def nested(n):
        return lost.work(n), lost.Thing(n)

    def caught():
        try:
            pointsman.execute(lost.fail, [5], backend=place)
        except lost.Broken as error:
            return error.code, error.args

    def here(made):
        return all(type(one) is lost.Thing for one in made)

    return [
        pointsman.execute(lost.work, range(4), backend=place),
        here(pointsman.execute(lost.make, range(4), backend=place)),
        here(thing for _, thing in pointsman.execute(nested, range(4), backend=place)),
        pointsman.execute(lambda n: lost.helper(n), range(4), backend=place),
        caught(),
    ]
"""
SEEN = [[0, 3, 6, 9], True, True, [0, 3, 6, 9], (5, ("it broke",))]


def program(*parts: str) -> str:
    """A program of these parts, each indented as it likes."""
    from textwrap import dedent

    return "\n".join(["import os, sys, types, pointsman", f"SOURCE = {SOURCE!r}", *map(dedent, parts)])


@pytest.mark.parametrize("place", ["auto", "inline", "threads", "processes"])
@pytest.mark.parametrize("maker", MAKERS)
def test_functions_of_a_module_that_workers_could_not_find_run_anywhere(maker, place, tmp_path):
    printed = run_program(tmp_path, program(MAKERS[maker], CALLS, f"print(seen({place!r}))"))

    assert printed == str(SEEN)


def test_functions_that_compute_run_on_processes_from_such_a_module(tmp_path):
    end = """
        exec("def heavy(n): return sum(i * i for i in range(200_000)) * 0 + helper(n)", vars(lost))
        made, plan = pointsman.execute(lost.heavy, range(100), max_workers=2, return_optimization_result=True)
        print(made == [3 * n for n in range(100)])
        """
    printed = run_program(tmp_path, program(MAKERS["made by the program"], end))

    assert printed == "True"


def test_a_module_that_runs_itself_may_call_its_own_functions(tmp_path):
    (tmp_path / "beside.py").write_text(
        "import pointsman\ndef work(n): return n + 1\nprint(pointsman.execute(work, range(3), backend='processes'))\n"
    )
    printed = run_program(tmp_path, 'import runpy\nrunpy.run_path("beside.py")')

    assert printed == "[1, 2, 3]"


@pytest.mark.parametrize("pool", ["native", "stdlib"])
@pytest.mark.parametrize("maker", MAKERS)
def test_such_functions_are_submitted_begin_workers_and_take_such_objects(maker, pool, tmp_path):
    end = """
        with pointsman.Executor(1, backend="processes", initializer=lost.helper, initargs=(2,)) as executor:
            print(executor.submit(lost.work, 3).result(), type(executor.submit(lost.Thing, 3).result()) is lost.Thing)
            same, back = executor.submit(lost.take, lost.Thing(4)).result()
            print(same, type(back) is lost.Thing, list(executor.map(lost.work, range(3))))
        """
    begin = f'os.environ["POINTSMAN_PROCESSES"] = {pool!r}'
    printed = run_program(tmp_path, program(begin, MAKERS[maker], end))

    assert printed.splitlines() == ["9 True", "True True [0, 3, 6]"]


def test_a_function_of_such_a_module_sees_what_it_reaches_change(tmp_path):
    end = """
        told = []
        for factor in (3, 4):
            lost.FACTOR = factor
            told += pointsman.execute(lost.work, [1, 2], backend="processes")
        print(told)
        """
    printed = run_program(tmp_path, program(MAKERS["made by the program"], end))

    assert printed == "[3, 6, 4, 8]"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("place", ["auto", "processes"])
def test_the_program_may_be_a_child_of_multiprocessing(method, place, tmp_path):
    end = f"""
        exec(SOURCE, globals())
        lost = types.SimpleNamespace(work=work, helper=helper, make=make, Thing=Thing, fail=fail, Broken=Broken)

        def child(*_):
            print(seen({place!r}), __name__, flush=True)

        if __name__ == "__main__":
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            context = multiprocessing.get_context({method!r})
            process = context.Process(target=child)
            process.start()
            process.join()
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                pool.submit(child).result()
        """
    printed = run_program(tmp_path, program(CALLS, end))

    assert printed.splitlines() == [f"{SEEN} __mp_main__"] * 2


def test_modules_that_are_odd_and_can_be_imported_keep_their_names(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import importlib.util, pathlib, pickle, sys, types, zipfile
        import pointsman
        from pointsman._by_value import dumps

        for path in ("space/inner",):
            pathlib.Path(path).mkdir(parents=True)
        for path in ("space/inner/one.py", "lazy.py", "old.py"):
            pathlib.Path(path).write_text("def work(n): return n + 1\\nclass Thing: pass\\n")
        with zipfile.ZipFile("packed.zip", "w") as archive:
            archive.writestr("zipped.py", "def work(n): return n + 1\\nclass Thing: pass\\n")
        pathlib.Path("pack").mkdir()
        pathlib.Path("pack/__init__.py").write_text(
            "import sys, types\\n"
            "inside = types.ModuleType('pack.inside')\\n"
            "exec('def work(n): return n + 1\\\\nclass Thing: pass', vars(inside))\\n"
            "sys.modules['pack.inside'] = inside\\n"
        )
        sys.path.append("packed.zip")

        import space.inner.one, zipped, pack

        spec = importlib.util.find_spec("lazy")
        loader = spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["lazy"] = lazy = importlib.util.module_from_spec(spec)
        loader.exec_module(lazy)
        old = types.ModuleType("old")
        old.__file__ = str(pathlib.Path("old.py").absolute())
        exec(pathlib.Path("old.py").read_text(), vars(old))
        sys.modules["old"] = old
        lazy.work

        for module in (space.inner.one, zipped, sys.modules["pack.inside"], lazy, old):
            same = pickle.loads(dumps(module.work)) is module.work and pickle.loads(dumps(module.Thing)) is module.Thing
            print(module.__name__, same, pointsman.execute(module.work, [1, 2], backend="processes"))
        """,
    )

    names = ["space.inner.one", "zipped", "pack.inside", "lazy", "old"]
    assert printed.splitlines() == [f"{name} True [2, 3]" for name in names]
