"""Exceptions come back as what they are, also those that pickle cannot make again.

What it does not know: how they are rebuilt.
"""

import dataclasses
import threading
import traceback

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["native", "stdlib"], autouse=True)
def pool(request, monkeypatch):
    monkeypatch.setenv("POINTSMAN_PROCESSES", request.param)


class Refused(Exception):  # noqa: N818 - it is not our error
    def __init__(self, code, *, detail):
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class Worded(Exception):  # noqa: N818 - as above
    """Pickle would make its text of its text."""

    def __init__(self, name):
        super().__init__(f"no {name}")


class Locked(Exception):  # noqa: N818 - as above
    def __init__(self, text, lock):
        super().__init__(text, lock)
        self.lock, self.text = lock, text


class Silent(ValueError):  # noqa: N818 - as above
    """Leaves its arguments to `__new__`."""

    def __init__(self, code, *, detail):
        self.code, self.detail = code, detail


class Missing(OSError):  # noqa: N818 - as above
    def __init__(self, path, *, number):
        super().__init__(number, "nowhere", path)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818 - as above
    code: int
    detail: str = dataclasses.field(kw_only=True)


def refuse(detail="why"):
    raise Refused(3, detail=detail)


def lock():
    raise Locked("held", threading.Lock())


def raised(function, *args):
    with pointsman.Executor(1, backend="processes") as executor:
        return executor.submit(function, *args).exception(functions.PATIENCE)


def test_arguments_that_the_class_does_not_take_again_are_no_matter():
    error = raised(refuse)

    assert (type(error), str(error), error.args) == (Refused, "3: why", ("3: why",))
    assert (error.code, error.detail) == (3, "why")
    assert "in refuse" in str(error.__cause__)


def test_a_text_that_the_class_makes_is_made_once():
    def call():
        raise Worded("bread")

    error = raised(call)

    assert (type(error), str(error)) == (Worded, "no bread")


def test_what_cannot_be_pickled_is_left_behind_and_named():
    error = raised(lock)

    assert type(error) is Locked
    assert (error.text, error.args[0], hasattr(error, "lock")) == ("held", "held", False)
    assert error.args[1].startswith("<unlocked _thread.lock")
    assert error.__notes__ == [
        "left behind in the worker, because it cannot be pickled: args[1] (a lock), lock (a lock)"
    ]


def test_other_ways_to_make_an_exception_are_no_matter_either():
    def silent():
        raise Silent(1, detail="x")

    def missing():
        raise Missing("there", number=2)

    def frozen():
        raise Frozen(4, detail="y")

    seen = [raised(call) for call in (silent, missing, frozen)]

    assert [type(error) for error in seen] == [Silent, Missing, Frozen]
    assert (seen[0].code, seen[0].detail) == (1, "x")
    assert (seen[1].errno, seen[1].filename, str(seen[1])) == (2, "there", "[Errno 2] nowhere: 'there'")
    assert (seen[2].code, seen[2].detail) == (4, "y")


def leave_out():
    pytest.skip("not here")


def give_up():
    pytest.fail("no use")


@pytest.mark.parametrize(("call", "outcome"), [(leave_out, pytest.skip), (give_up, pytest.fail)])
def test_what_ends_a_test_is_the_same_from_a_worker(call, outcome):
    # Its class says that it is one of the language.
    error = raised(call)

    assert type(error) is outcome.Exception
    assert not isinstance(error, Exception)
    assert (error.msg, error.pytrace) == (("not here", True) if call is leave_out else ("no use", True))


def test_what_is_no_error_keeps_its_type_and_what_it_holds():
    class Odd(BaseException):
        def __init__(self, text=None, *, where):
            super().__init__(text)
            self.where = where

    def stop():
        raise Odd("enough", where=3)

    error = raised(stop)

    assert (type(error), str(error), error.where) == (Odd, "enough", 3)


def test_notes_and_causes_and_the_workers_traceback_come_with_it():
    def call():
        try:
            try:
                lock()
            except Locked as why:
                raise ValueError("middle") from why
        except ValueError as why:
            error = Refused(5, detail="top")
            error.add_note("a note")
            raise error from why

    error = raised(call)

    assert (type(error), str(error), error.__notes__) == (Refused, "5: top", ["a note"])
    assert type(error.__cause__) is ValueError
    assert type(error.__cause__.__cause__) is Locked
    assert "in lock" in str(error.__cause__.__cause__.__cause__)


def test_an_exception_group_holds_what_it_held():
    def call():
        found = []
        for one in (refuse, lock):
            try:
                one()
            except Exception as error:
                found.append(error)
        raise ExceptionGroup("both", found)

    error = raised(call)

    assert type(error) is ExceptionGroup
    assert [type(one) for one in error.exceptions] == [Refused, Locked]
    assert str(error.exceptions[0]) == "3: why"


def test_an_exception_that_holds_itself_comes_back():
    def call():
        error = Refused(1, detail="x")
        error.whole, error.lock = [error], threading.Lock()
        raise error

    error = raised(call)

    assert (type(error), str(error)) == (Refused, "1: x")


def test_a_class_of_the_function_that_raises_it_is_rebuilt(tmp_path):
    def call():
        class Own(Exception):  # noqa: N818 - as above
            def __init__(self, *, code):
                super().__init__(f"own {code}")

        raise Own(code=1)

    error = raised(call)

    assert (type(error).__name__, str(error)) == ("Own", "own 1")


def unfindable():
    held = threading.Lock()

    class Own(Exception):  # noqa: N818 - as above
        lock = held

    raise Own("text")


class Picky(Exception):  # noqa: N818 - as above
    """Can be made only with a keyword, by itself."""

    def __new__(cls, *, code):
        return super().__new__(cls, code)

    def __init__(self, *, code):
        self.code = code


def be_picky():
    raise Picky(code=1)


@pytest.mark.parametrize("call", [unfindable, be_picky])
def test_what_cannot_be_rebuilt_is_a_remote_error_that_says_so(call):
    error = raised(call)

    assert type(error) is pointsman.RemoteError
    assert "cannot be pickled" in str(error)
    assert f"in {call.__name__}" in str(error.__cause__)


def test_a_cause_that_cannot_be_rebuilt_is_told(tmp_path):
    def call():
        try:
            be_picky()
        except Picky as why:
            raise Refused(1, detail="x") from why

    error = raised(call)

    assert type(error) is Refused
    assert (type(error.__cause__), str(error.__cause__)) == (pointsman.RemoteError, "Picky: 1")


# ------------------------------------------------------------------------------------- StopIteration


@pytest.mark.parametrize("entry", [pointsman.execute, lambda *args, **options: list(pointsman.map(*args, **options))])
@pytest.mark.parametrize("place", ["auto", "inline", "threads", "processes"])
def test_a_stop_iteration_is_told_with_the_function_that_raised_it(entry, place):
    with pytest.raises(RuntimeError, match=r"^stop_at_thirty raised StopIteration.*raise something else") as caught:
        entry(functions.stop_at_thirty, range(60), backend=place)

    assert isinstance(caught.value.__cause__, StopIteration)


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_stop_iteration_of_a_worker_is_told_with_its_item(place):
    with pytest.raises(RuntimeError, match="stop_at_thirty raised StopIteration for item 30 of its inputs"):
        pointsman.execute(functions.stop_at_thirty, range(60), backend=place, max_workers=2)


@pytest.mark.parametrize("place", ["inline", "threads", "processes"])
def test_an_error_that_a_generator_of_the_users_made_of_a_stop_iteration_is_left_alone(place):
    def numbers():
        next(iter(()))
        yield 1

    def first(_x):
        return next(numbers())

    with pytest.raises(RuntimeError, match="^generator raised StopIteration$"):
        pointsman.execute(first, range(3), backend=place)


def kept(how):
    error = Refused(3, detail="why")
    return {"alone": error, "beside": (how, [error]), "under a name": {"input": how, "error": error}}[how]


@pytest.mark.parametrize("how", ["alone", "beside", "under a name"])
def test_an_exception_that_a_call_gives_back_is_a_result_like_any_other(how):
    (result,) = pointsman.execute(kept, [how], backend="processes")

    error = {"alone": lambda: result, "beside": lambda: result[1][0], "under a name": lambda: result["error"]}[how]()
    assert (type(error), str(error), error.code, error.detail) == (Refused, "3: why", 3, "why")


def divide(x):
    return 1 / x


@pytest.mark.parametrize("place", ["auto", "inline", "threads", "processes"])
@pytest.mark.parametrize("entry", [pointsman.execute, pointsman.map])
def test_a_traceback_has_the_call_and_its_caller_and_next_to_nothing_between(entry, place):
    with pytest.raises(ZeroDivisionError) as caught:
        list(entry(divide, [1, 2, 0], backend=place))

    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    ours = [name for name in names[1:] if name != "divide"]

    assert len(ours) <= 1
    # That of a worker is the cause.
    assert names[-1] == "divide" or place == "processes"
    assert caught.value.__suppress_context__ is (place == "processes")


def test_what_was_raised_before_is_told_as_in_a_plain_loop():
    def again(x):
        try:
            divide(x)
        except ZeroDivisionError:
            raise LookupError(x)  # noqa: B904 - as users write it

    with pytest.raises(LookupError) as caught:
        pointsman.execute(again, [0])

    assert type(caught.value.__context__) is ZeroDivisionError
    assert not caught.value.__suppress_context__
