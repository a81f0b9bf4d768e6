"""Programs as users write them: everything in `__main__`, and no guard.

What it does not know: how such functions and classes travel.
"""

import sys

import pytest

from fixtures import program, run_program

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=["auto", "inline", "threads", "processes"])
def place(request) -> str:
    return request.param


def test_functions_of_the_program_and_what_they_call_run_without_a_guard(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import math
        import pointsman

        FACTOR = 3
        TABLE = {{n: math.sqrt(n) for n in range(200)}}

        def helper(x):
            return TABLE[x] * FACTOR

        def work(x):
            return [helper(x)] * 2

        print("once")
        results = pointsman.execute(work, range(200), backend={place!r})
        print(results == [[math.sqrt(x) * 3] * 2 for x in range(200)])
        """,
    )

    assert printed.split() == ["once", "True"]


def test_classes_of_the_program_come_back_as_its_own_classes(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import dataclasses, enum, pointsman

        @dataclasses.dataclass
        class Point:
            x: int
            y: int = 0

        class Kind(enum.Enum):
            SMALL = 1
            LARGE = 2

        class Text(str):
            pass

        def move(point):
            assert isinstance(point, Point)
            kind = Kind.LARGE if point.x > 5 else Kind.SMALL
            return Point(point.x + 1, point.y), kind, Text("t"), [{{"deep": (point,)}}]

        results = pointsman.execute(move, [Point(n) for n in range(40)], backend={place!r})
        print(all(type(p) is Point and p == Point(n + 1) for n, (p, _, _, _) in enumerate(results)))
        print(all(k is (Kind.LARGE if n > 5 else Kind.SMALL) for n, (_, k, _, _) in enumerate(results)))
        print(all(type(t) is Text for _, _, t, _ in results))
        print(all(type(d[0]["deep"][0]) is Point for _, _, _, d in results))
        """,
    )

    assert printed.split() == ["True"] * 4


def test_a_class_that_the_caller_never_sent_comes_back_as_its_own_class(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import pointsman

        class Answer:
            def __init__(self, n):
                self.n = n

        def make(n):
            return Answer(n)

        results = pointsman.execute(make, range(40), backend={place!r})
        print(all(type(a) is Answer and isinstance(a, Answer) for a in results), [a.n for a in results] == list(range(40)))
        """,
    )

    assert printed.split() == ["True", "True"]


def test_objects_with_slots_go_there_and_back_as_they_are(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import abc, dataclasses, typing, weakref, pointsman

        @dataclasses.dataclass(slots=True)
        class Row:
            n: int
            total: int = 5

        @dataclasses.dataclass(slots=True, frozen=True, weakref_slot=True)
        class Frozen:
            n: int
            tags: list = dataclasses.field(default_factory=list)

        class Hidden:
            __slots__ = ("x", "__hidden")
            def __init__(self, x):
                self.x, self.__hidden = x, x * 2
            def hidden(self):
                return self.__hidden

        class Below(Hidden):
            __slots__ = "y"
            def __init__(self, x):
                super().__init__(x)
                self.y = 1

        class Free(Hidden):
            pass

        class Both:
            __slots__ = ("x", "__dict__", "__weakref__")
            def __init__(self, x):
                self.x, self.other = x, 1

        class Number(int):
            __slots__ = ()

        class Named(typing.NamedTuple):
            a: int

        class Documented(typing.Generic[typing.TypeVar("T")]):
            __slots__ = {{"x": "what it is"}}
            def __init__(self, x):
                self.x = x

        class Abstract(abc.ABC):
            __slots__ = ("x",)
            def __init__(self, x):
                self.x = x
            @abc.abstractmethod
            def get(self): ...

        class Concrete(Abstract):
            __slots__ = ()
            def get(self):
                return self.x

        class Checked(Hidden):
            __slots__ = ("z",)
            def __init__(self, x):
                super().__init__(x)
                self.z = x

        # Another stands before the slot, as libraries do it.
        inner = Checked.z
        Checked.z = property(lambda self: -inner.__get__(self), lambda self, value: inner.__set__(self, -value))

        def has(call):
            try:
                call()
            except (AttributeError, TypeError):
                return False
            return True

        def look(thing):
            names = ("n", "total", "tags", "x", "y", "z", "a", "other")
            there = [(name, getattr(thing, name)) for name in names if hasattr(thing, name)]
            hidden = thing.hidden() if hasattr(thing, "hidden") else int(thing) if isinstance(thing, int) else None
            free = has(lambda: object.__setattr__(thing, "undefined", 1)) and not thing.__dict__.pop("undefined") == 0
            return there, hidden, free, hasattr(thing, "__dict__"), has(lambda: weakref.ref(thing))

        def work(thing, kind):
            return look(thing), type(thing) is kind, kind.__slots__, thing, kind(1)

        kinds = [Row, Frozen, Hidden, Below, Free, Both, Number, Named, Documented, Concrete, Checked]
        results = pointsman.execute(lambda pair: work(*pair), [(kind(1), kind) for kind in kinds], backend={place!r})
        for kind, (looks, same, slots, back, made) in zip(kinds, results):
            mine = look(kind(1))
            good = looks == look(back) == look(made) == mine and type(back) is type(made) is kind
            if not (good and same and slots == kind.__slots__):
                print(kind.__name__, looks, same, slots, type(back), look(back), look(made), mine)
        print("done")
        """,
    )

    assert printed == "done"


def test_what_comes_back_changes_nothing_of_the_programs_classes(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import enum, pointsman

        count = 0
        derived = []

        class Base:
            def __init_subclass__(cls):
                derived.append(cls)

        class Counter(Base):
            seen = 0
            def step(self):
                global count
                count += 1

        class Kind(enum.Enum):
            SMALL = 1
            def step(self):
                global count
                count += 1

        before = vars(Counter)["step"], vars(Kind)["step"]

        def make(_):
            # Where this is, and no further.
            if {place!r} == "processes":
                Counter.seen += 1
            return Counter(), Kind.SMALL

        for counter, kind in pointsman.execute(make, range(3), backend={place!r}, max_workers=1):
            counter.step()
            kind.step()
        print(count, Counter.seen, len(derived), before == (vars(Counter)["step"], vars(Kind)["step"]))
        """,
    )

    assert printed == "6 0 1 True"


def test_workers_have_the_programs_classes_as_they_are_when_they_are_sent(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import pointsman

        class Level:
            at = 1

        def look(level):
            return level.at

        with pointsman.Executor(1, backend="processes") as executor:
            told = [executor.submit(look, Level()).result()]
            Level.at = 2
            print(*told, executor.submit(look, Level()).result())
        """,
    )

    assert printed == "1 2"


def test_an_exception_class_of_the_program_can_be_caught_by_it(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import pointsman

        class Broken(Exception):
            def __init__(self, text, code):
                super().__init__(text, code)
                self.code = code

        def work(x):
            if x == 30:
                raise Broken("it broke", x)
            return x

        try:
            pointsman.execute(work, range(60), backend={place!r})
        except Broken as error:
            print("caught", error.code, error.args)
        print([type(e) is Broken for e in pointsman.execute(work, [1, 30], backend={place!r}, on_error="return")])
        """,
    )

    assert printed.splitlines() == ["caught 30 ('it broke', 30)", "[False, True]"]


def test_a_function_of_the_program_may_be_defined_anew(place, tmp_path):
    printed = run_program(
        tmp_path,
        f"""
        import pointsman

        def work(x):
            return x + 1

        print(pointsman.execute(work, range(4), backend={place!r}))

        def work(x):
            return x - 1

        print(pointsman.execute(work, range(4), backend={place!r}))
        """,
    )

    assert printed.splitlines() == ["[1, 2, 3, 4]", "[-1, 0, 1, 2]"]


def test_the_program_is_not_run_again_by_its_workers(tmp_path):
    log = tmp_path / "runs"
    printed = run_program(
        tmp_path,
        f"""
        import functions, pointsman

        functions.note({str(log)!r}, "the program runs")
        print(sum(pointsman.execute(lambda x: x, range(1000), backend="processes", max_workers=2)))
        """,
    )

    assert printed == "499500"
    assert log.read_text().splitlines() == ["the program runs"]


def test_workers_see_the_programs_directory_environment_and_arguments(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import os, sys, pointsman

        os.environ["SET_BY_THE_PROGRAM"] = "yes"
        os.mkdir("below")
        os.chdir("below")
        sys.path.append("/nowhere/in/particular")

        def look(_):
            return os.environ.get("SET_BY_THE_PROGRAM"), os.getcwd(), sys.path[-1], sys.argv

        [seen] = pointsman.execute(look, [0], backend="processes")
        print(seen == ("yes", os.getcwd(), sys.path[-1], sys.argv))
        """,
    )

    assert printed == "True"


def test_each_pool_sees_what_the_program_has_set_by_then(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import os, warnings, pointsman

        def look(_):
            return os.environ.get("LEVEL"), [(how, kind.__name__) for how, _, kind, *_ in warnings.filters]

        def seen():
            with pointsman.Executor(1, backend="processes") as executor:
                first = executor.submit(look, 0).result()
                # Another takes its place.
                executor.submit(os._exit, 1).exception()
                again = executor.submit(look, 0).result()
                return first == again == look(0)

        told = [seen(), seen()]
        warnings.simplefilter("error", DeprecationWarning)
        os.environ["LEVEL"] = "1"
        told += [seen(), seen()]
        warnings.simplefilter("ignore", ResourceWarning)
        told += [seen()]
        warnings.resetwarnings()
        del os.environ["LEVEL"]
        print(told + [seen()])
        """,
    )

    assert printed == str([True] * 6)


def test_each_job_sees_what_the_program_has_set_by_then(tmp_path):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "late.py").write_text("def double(x):\n    return 2 * x\n")
    printed = run_program(
        tmp_path,
        """
        import os, sys, threading, time, pointsman

        def look(seconds):
            time.sleep(seconds)
            return os.environ.get("LEVEL"), os.path.basename(os.getcwd()), sys.getrecursionlimit()

        def run(seconds=0.0, count=4):
            return set(pointsman.execute(look, [seconds] * count, backend="processes", max_workers=2))

        told = [run()]
        os.environ["LEVEL"] = "1"
        told.append(run())
        # A job that runs meanwhile ends as it began.
        early = threading.Thread(target=lambda: told.append(run(0.2)))
        early.start()
        time.sleep(0.05)
        os.environ["LEVEL"] = "2"
        told.append(run())
        early.join()
        del os.environ["LEVEL"]
        os.chdir("beside")
        sys.setrecursionlimit(4321)
        told.append(run())
        sys.path.append(os.getcwd())
        import late
        print([[level for level, _, _ in one] for one in told[:4]])
        print(told[4], pointsman.execute(late.double, [4], backend="processes"))
        """,
    )

    assert printed.splitlines() == ["[[None], ['1'], ['2'], ['1']]", "{(None, 'beside', 4321)} [8]"]


def test_workers_have_of_the_process_what_the_program_has(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import builtins, os, sys, time, pointsman

        def look(_):
            made = os.open(f"made-{os.getpid()}", os.O_CREAT, 0o777)
            rights = os.fstat(made).st_mode & 0o777
            os.close(made)
            os.unlink(f"made-{os.getpid()}")
            names = [hasattr(builtins, name) for name in "exit quit copyright credits license help".split()]
            # Asked for in the worker, what the site module says of itself follows from the prefixes.
            import site
            return sys.prefix, sys.exec_prefix, site.getsitepackages(), names, rights, time.localtime(0).tm_hour

        def digits(n):
            return len(str(10**n))

        def leave(_):
            try:
                exit(3)
            except SystemExit as why:
                return why.code

        def seen():
            with pointsman.Executor(1, backend="processes") as executor:
                return executor.submit(look, 0).result() == look(0)

        told = [seen()]
        os.umask(0o077)
        told.append(seen())
        os.umask(0o002)
        os.environ["TZ"] = "XXX-5"
        time.tzset()
        told.append(seen())
        del os.environ["TZ"]
        time.tzset()
        told.append(seen())
        print(told, pointsman.execute(leave, [0], backend="processes"))

        def run(function, item):
            return pointsman.execute(function, [item], backend="processes", on_error="return")

        told = [type(run(digits, 5000)[0]).__name__]
        sys.set_int_max_str_digits(0)
        told.append(run(digits, 5000))
        os.environ["TZ"] = "XXX-5"
        # Workers that start before the program takes the zone over are not used after it.
        run(digits, 1)
        time.tzset()
        told.append(run(lambda _: time.localtime(0).tm_hour, 0))
        print(told)
        """,
    )

    assert printed.splitlines() == ["[True, True, True, True] [3]", "['ValueError', [5001], [5]]"]


WRITES_FLAGS = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="Python writes to sys.flags itself there: nothing can stand in for it"
)


@WRITES_FLAGS
def test_what_calls_start_is_told_the_flags_of_the_program_not_those_of_its_workers(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import subprocess, sys, pointsman

        def look(_):
            given = subprocess._args_from_interpreter_flags()
            code = "import sys; print(sys.path, sys.flags)"
            answer = subprocess.run([sys.executable, *given, "-c", code], capture_output=True, text=True)
            return given, answer.stdout, answer.stderr, tuple(sys.flags), sys.flags.no_site, repr(sys.flags)

        [seen] = pointsman.execute(look, [0], backend="processes")
        print(seen == look(0))
        """,
    )

    assert printed == "True"


@WRITES_FLAGS
def test_the_helpers_of_joblib_inside_of_a_worker_find_what_is_installed(tmp_path):
    pytest.importorskip("joblib")
    source = """
        import pointsman

        def inner(x):
            return x * x

        def outer(n):
            from joblib import Parallel, delayed, parallel_config

            with parallel_config(backend="loky"):
                total = sum(Parallel(n_jobs=2)(delayed(inner)(i) for i in range(n)))
            # Its processes would wait for more for minutes, with the pipes of this program in their hands.
            from joblib.externals.loky import get_reusable_executor
            get_reusable_executor().shutdown()
            return total

        with pointsman.Executor(1, backend="processes") as executor:
            print(executor.submit(outer, 5).result())
        """
    with program(tmp_path, source) as running:
        ended = running.wait()

    assert (ended.out.strip(), ended.code) == ("30", 0)
    assert "ModuleNotFoundError" not in ended.err
    assert "died unexpectedly" not in ended.err


def test_a_job_that_still_sends_ends_on_the_workers_that_it_began_with(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import os, time, pointsman

        def look(_):
            time.sleep(0.005)
            return os.environ.get("LEVEL")

        def run():
            return set(pointsman.execute(look, range(4), backend="processes", max_workers=2))

        def workers():
            with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
                [zygote] = file.read().split()
            with open(f"/proc/{zygote}/task/{zygote}/children") as file:
                return len(file.read().split())

        slow = pointsman.map(look, range(40), backend="processes", max_workers=2, buffersize=2)
        seen = [next(slow)]
        told = []
        for level in "123":
            os.environ["LEVEL"] = level
            told.append(run() == {level})
            # Meanwhile nothing is under way there.
            time.sleep(0.05)
            seen += [next(slow) for _ in range(5)]
        seen += slow
        print(told, len(seen), set(seen))
        del slow
        deadline = time.monotonic() + 20
        while workers() > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(workers())
        """,
    )

    assert printed.splitlines() == ["[True, True, True] 40 {None}", "2"]


def test_functions_with_a_cache_travel_and_keep_its_kind(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functools, pointsman

        @functools.cache
        def fibonacci(n):
            "By itself."
            return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

        class Table:
            @functools.lru_cache(maxsize=8)
            def look(self, n):
                return n * n

        def work(n):
            return fibonacci(n), fibonacci.cache_parameters()["maxsize"], fibonacci.__doc__, fibonacci.__wrapped__(1)

        print(pointsman.execute(work, [9, 10], backend="processes", max_workers=2))
        print(pointsman.execute(fibonacci, [9, 10], backend="processes", max_workers=2))
        print(pointsman.execute(lambda table: table.look(5), [Table()], backend="processes", max_workers=2))
        """,
    )

    assert printed.splitlines() == ["[(34, None, 'By itself.', 1), (55, None, 'By itself.', 1)]", "[34, 55]", "[25]"]


def test_proxies_of_a_manager_are_of_use_in_workers_however_they_come_there(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import sys, pointsman

        table = None

        def by_argument(given, n):
            given[n] = "argument"
            return given

        def by_global(n):
            table[n] = "global"

        if __name__ == "__main__":
            # Workers that are there before managers are have no key.
            early = pointsman.execute(len, ["abc"], backend="processes") + ["multiprocessing" in sys.modules]
            import multiprocessing

            with multiprocessing.Manager() as manager:
                mine = table = manager.dict()

                def by_closure(n):
                    mine[n] = "closure"

                run = pointsman.options(backend="processes").run
                run(by_argument, mine, 1)["back"] = 0
                run(by_global, 2)
                pointsman.execute(by_closure, [3], backend="processes")
                for n in (4, 5):
                    with pointsman.Executor(1, backend="processes") as executor:
                        executor.submit(by_argument, mine, n).result()
                print(early, sorted(mine.items(), key=str))
        """,
    )

    written = [("back", 0), (1, "argument"), (2, "global"), (3, "closure"), (4, "argument"), (5, "argument")]
    assert printed == f"[3, False] {written}"


def test_workers_load_nothing_of_multiprocessing_for_its_key(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import sys, pointsman

        # What the program has a name for is loaded for its workers.
        __import__("multiprocessing").current_process().authkey = b"ours"

        def look(_):
            loaded = "multiprocessing" in sys.modules
            from multiprocessing import current_process

            return loaded, bytes(current_process().authkey), [type(finder).__name__ for finder in sys.meta_path]

        def within(_):
            return pointsman.execute(look, [0], backend="processes")

        for _ in range(2):
            with pointsman.Executor(1, backend="processes") as executor:
                loaded, key, finders = executor.submit(look, 0).result()
                [deeper] = executor.submit(within, 0).result()
                print(loaded, key, "KeyGiver" in finders, deeper[:2])
        """,
    )

    assert printed.splitlines() == ["False b'ours' False (False, b'ours')"] * 2


def test_modules_beside_the_program_can_be_imported_by_workers(tmp_path):
    (tmp_path / "beside.py").write_text("class Thing:\n    n = 5\n\ndef double(x):\n    return 2 * x, Thing()\n")
    printed = run_program(
        tmp_path,
        """
        import beside, pointsman

        results = pointsman.execute(beside.double, range(20), backend="processes")
        print([n for n, _ in results] == list(range(0, 40, 2)), all(type(t) is beside.Thing for _, t in results))
        """,
    )

    assert printed == "True True"


@pytest.mark.parametrize("how", ["submit", "map", "execute", "auto"])
def test_modules_inside_of_packages_are_where_the_program_imported_them(how, tmp_path):
    # Workers would have them imported for another call that needs them.
    calls = {
        "submit": "executor.submit(function, 1).result()",
        "map": "list(executor.map(function, [1, 2]))[0]",
        "execute": "pointsman.execute(function, [1, 2], backend='processes')[0]",
        "auto": "pointsman.execute(function, range(99))[0]",
    }
    printed = run_program(
        tmp_path,
        f"""
        import concurrent.futures as futures, concurrent.futures.process
        import email.mime.text, importlib.util, logging.handlers, urllib.request, xml.etree.ElementTree
        import pointsman

        def request(x): return urllib.request.Request("http://host/").host
        def parse(x): return [xml.etree.ElementTree.fromstring(text).tag for text in ["<a/>"]]
        def mail(x): return later().MIMEText("text").get_content_type()
        def later(): return email.mime.text
        def alias(x):
            module = futures
            return module.process.BrokenProcessPool.__name__
        def keeps(module): return lambda x: module.handlers.QueueHandler.__name__
        class Finder:
            def find(self, x): return importlib.util.find_spec("os").name

        for function in [request, parse, mail, alias, keeps(logging), Finder().find]:
            with pointsman.Executor(1, backend="processes") as executor:
                print({calls[how]})
        """,
    )

    assert printed.split() == ["host", "['a']", "text/plain", "BrokenProcessPool", "QueueHandler", "os"]


@pytest.mark.parametrize("how", ["submit", "execute", "auto"])
def test_calls_can_pickle_objects_of_the_programs_classes_and_look_at_what_functions_say(how, tmp_path):
    calls = {
        "submit": "executor.submit(function, 1).result()",
        "execute": "pointsman.execute(function, [1, 2], backend='processes')[0]",
        "auto": "pointsman.execute(function, range(99))[0]",
    }
    printed = run_program(
        tmp_path,
        f"""
        import dataclasses, inspect, pickle, typing
        import pointsman

        @dataclasses.dataclass
        class Point:
            x: int
            following: "Point | None" = None

            class Inner:
                pass

        def said(x: int) -> str:
            return str(x)

        said.__doc__ = "what it says"

        def pickles(x): return pickle.loads(pickle.dumps([Point(x), Point.Inner()]))[0].x
        def sends(x): return pickle.dumps(Point(x))
        def hints(x): return sorted(typing.get_type_hints(Point))
        def asks(x): return [said.__doc__, said.__annotations__["return"].__name__, str(inspect.signature(said))]

        with pointsman.Executor(1, backend="processes") as executor:
            for function in [pickles, sends, hints, asks]:
                value = {calls[how]}
                print(pickle.loads(value) if function is sends else value)
        """,
    )

    x = 0 if how == "auto" else 1
    point = f"Point(x={x}, following=None)"
    assert printed.splitlines() == [
        str(x), point, "['following', 'x']", "['what it says', 'str', '(x: int) -> str']"
    ]  # fmt: skip


def test_a_class_that_a_call_makes_may_name_globals(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import enum, pointsman
        from typing import NamedTuple

        class Kind(enum.Enum):
            SMALL = 1

        class Field: pass

        LIMIT = 7

        def work(number):
            class Row(NamedTuple):
                kind: Kind = Kind.SMALL
                limit: int = LIMIT

            class Form:
                field = Field()
                names = {kind.name: kind.value for kind in Kind}

                class Inner:
                    limit = LIMIT

            return Row().kind.name, Row().limit, type(Form.field).__name__, Form.names, Form.Inner.limit

        print(pointsman.execute(work, range(3), backend="processes")[2])
        """,
    )

    assert printed == "('SMALL', 7, 'Field', {'SMALL': 1}, 7)"


def test_what_the_program_has_printed_stands_before_what_its_workers_print(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    printed = run_program(
        tmp_path,
        """
        import pointsman

        print("starting")
        with pointsman.Executor(1, backend="processes") as executor:
            executor.submit(print, "working").result()
        print("ended")
        """,
    )

    assert printed.split() == ["starting", "working", "ended"]


def test_what_calls_print_is_printed(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import pointsman, sys

        # One string, since an unbuffered standard output writes each part of a print by itself.
        pointsman.execute(lambda x: sys.stdout.write(f"said by {x}\\n"), range(3), backend="processes")
        """,
    )

    assert sorted(printed.splitlines()) == ["said by 0", "said by 1", "said by 2"]


def test_a_program_read_from_standard_input_or_the_command_line_works(tmp_path):
    import subprocess
    import sys

    code = "import pointsman\nprint(pointsman.execute(lambda x: x * 2, range(5), backend='processes'))\n"
    answers = [
        subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
        for command, given in [([sys.executable, "-c", code], ""), ([sys.executable, "-"], code)]
    ]

    assert [(answer.stdout.strip(), answer.returncode) for answer in answers] == [("[0, 2, 4, 6, 8]", 0)] * 2


def test_what_functools_makes_in_the_main_module_travels(tmp_path):
    source = """
import functools, pointsman

class Circle:
    def __init__(self, radius):
        self.radius = radius

    @functools.cached_property
    def area(self):
        return 3 * self.radius**2

@functools.singledispatch
def said(x):
    return "something"

@said.register
def _(x: int):
    return said(str(x)) + " as a number"

said.register(str, lambda x: f"text {x}")

def area(circle):
    return circle.area, circle.area

print(pointsman.execute(area, [Circle(2)], backend="processes"))
print(pointsman.execute(said, [1, "a", None], backend="processes"))
"""
    assert run_program(tmp_path, source).splitlines() == [
        "[(12, 12)]",
        "['text 1 as a number', 'text a', 'something']",
    ]


POOLS_INSIDE = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import pointsman

def square(x):
    return x * x

def with_a_pool(x):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return sum(pool.map(square, range(x)))

def with_an_executor(x):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return sum(pool.map(square, range(x)))

if __name__ == "__main__":
    for call in (with_a_pool, with_an_executor):
        print(pointsman.execute(call, [3, 4], backend="processes"))
"""


def test_calls_can_hand_functions_of_the_program_to_pools_of_their_own(tmp_path):
    assert run_program(tmp_path, POOLS_INSIDE).split("\n") == ["[5, 14]", "[5, 14]"]
