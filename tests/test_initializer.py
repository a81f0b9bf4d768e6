"""What an initializer sets in the program's main module, as the calls in the workers see it.

What it does not know: how functions and classes travel.
"""

import pytest

from fixtures import run_program

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=["native", "stdlib"], autouse=True)
def pool(request, monkeypatch):
    monkeypatch.setenv("POINTSMAN_PROCESSES", request.param)


def test_a_name_that_the_initializer_sets_is_seen_by_calls_however_they_travel(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import functools, pointsman

        config = None

        def init(value):
            global config, made
            config = value
            made = [value]

        def read():
            return config, made

        def through(_):
            return read()

        def decorated(function):
            @functools.wraps(function)
            def call(*args):
                return function(*args)
            return call

        @decorated
        def wrapped():
            return config, made

        class Reader:
            def __call__(self):
                return config, made

            def read(self):
                return read()

        def closed(extra):
            return lambda: (config, made)[: len(extra)]

        calls = [read, functools.partial(through, 1), wrapped, Reader(), Reader().read, closed((1, 2)), lambda: read()]
        with pointsman.Executor(1, backend="processes", initializer=init, initargs=(5,)) as executor:
            print([executor.submit(call).result() == (5, [5]) for call in calls])
            print(list(executor.map(through, range(3))) == [(5, [5])] * 3)
            # A function and an object among the arguments.
            print(executor.submit(lambda function, reader: (function(), reader()), read, Reader()).result())
        """,
    )

    assert printed.splitlines() == [str([True] * 7), "True", "((5, [5]), (5, [5]))"]


def test_an_object_that_the_initializer_fills_is_one_for_all_calls(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import pointsman, threading

        cache = {}

        class Settings:
            level = 0
            seen = []

        def init(value):
            cache["value"] = value
            cache["lock"] = threading.Lock()
            Settings.level = value
            Settings.seen.append(value)

        def put(name, value):
            cache[name] = value

        def get(name):
            return cache.get(name)

        def settings():
            return Settings.level, Settings.seen

        def subclassed():
            class Own(Settings):
                pass
            return Own.level

        with pointsman.Executor(1, backend="processes", initializer=init, initargs=(5,)) as executor:
            executor.submit(put, "later", 6).result()
            print([executor.submit(get, name).result() for name in ("value", "later")])
            print(executor.submit(lambda: sorted(cache)).result())
            print(executor.submit(settings).result(), executor.submit(subclassed).result())
        print(cache, Settings.level, Settings.seen)
        """,
    )

    assert printed.splitlines() == ["[5, 6]", "['later', 'lock', 'value']", "(5, [5]) 5", "{} 0 []"]


def test_what_the_initializer_leaves_alone_comes_with_each_function(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import pointsman

        config, table, limit = None, {"a": 1}, 1

        def helper():
            return config

        tools = [helper]

        def init(value):
            global config
            config = value, table["a"], limit, helper(), len(tools)

        def read():
            return config[0], table, limit, helper(), tools[0]()

        with pointsman.Executor(1, backend="processes", initializer=init, initargs=(5,)) as executor:
            executor.submit(read).result()
            table, limit = {"a": 2}, 2

            def helper():
                return "anew"

            tools = [helper]
            print(executor.submit(read).result())
            print(executor.submit(lambda: (read(), limit)).result())
        print(config)
        """,
    )

    assert printed.splitlines() == [
        "(5, {'a': 2}, 2, 'anew', 'anew')",
        "((5, {'a': 2}, 2, 'anew', 'anew'), 2)",
        "None",
    ]


def test_pools_with_other_initializers_do_not_meet(tmp_path):
    printed = run_program(
        tmp_path,
        """
        import os, pointsman

        config = None

        def init(value):
            global config
            config = value

        def read():
            return config

        def made(value):
            return pointsman.Executor(1, backend="processes", initializer=init, initargs=(value,))

        with made(1) as one, made(2) as two, pointsman.Executor(1, backend="processes") as bare:
            print([executor.submit(read).result() for executor in (one, two, bare, one)])
            if os.environ["POINTSMAN_PROCESSES"] == "native":
                # Another worker takes its place.
                one.submit(os._exit, 1).exception()
            print(one.submit(read).result())
        print(pointsman.execute(read.__call__, [], backend="processes"), read())
        """,
    )

    assert printed.splitlines() == ["[1, 2, None, 1]", "1", "[] None"]


def test_an_initializer_of_a_module_changes_nothing_of_the_program(tmp_path):
    (tmp_path / "beside.py").write_text("config = None\n\ndef init(value):\n    global config\n    config = value\n")
    printed = run_program(
        tmp_path,
        """
        import beside, pointsman

        config = "own"

        with pointsman.Executor(1, backend="processes", initializer=beside.init, initargs=(5,)) as executor:
            print(executor.submit(lambda: (config, beside.config)).result())
        """,
    )

    assert printed == "('own', 5)"
