"""What travels to a worker and back: functions of every kind, values of every size.

What it does not know: how they are encoded.
"""

import ctypes
import os
from functools import partial

import pytest

import functions
import pointsman
from functions import Colour, Label, Pair

pytestmark = pytest.mark.timeout(60)

# ------------------------------------------------------------------------------- functions that travel


def refuse_numpy_in_interpreters(backend):
    if backend == "interpreters":
        pytest.skip("numpy is barred from worker interpreters")


def test_a_lambda_runs(backend):
    assert pointsman.execute(lambda x: x + 1, range(40), backend=backend) == list(range(1, 41))


def test_a_closure_runs_with_what_it_captured(backend):
    factor, table = 3, {"offset": [10]}

    def scaled(x):
        return factor * x + table["offset"][0]

    assert pointsman.execute(scaled, range(40), backend=backend) == [3 * x + 10 for x in range(40)]


def test_two_closures_of_one_function_are_not_mistaken_for_each_other(backend):
    def times(factor):
        return lambda x: factor * x

    results = [pointsman.execute(times(factor), range(5), backend=backend) for factor in range(4)]

    assert results == [[factor * x for x in range(5)] for factor in range(4)]


def test_a_function_sees_what_changed_in_its_closure_between_two_jobs(backend):
    offset = 1

    def shifted(x):
        return x + offset

    before = pointsman.execute(shifted, range(5), backend=backend)
    offset = 100
    after = pointsman.execute(shifted, range(5), backend=backend)

    assert before == [1, 2, 3, 4, 5]
    assert after == [100, 101, 102, 103, 104]


def test_a_recursive_nested_function_runs(backend):
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert pointsman.execute(fib, range(12), backend=backend) == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]


def test_a_nested_class_and_its_methods_run(backend):
    class Adder:
        def __init__(self, step):
            self.step = step

        def __call__(self, x):
            return x + self.step

        def method(self, x):
            return x - self.step

        @staticmethod
        def static(x):
            return -x

        @classmethod
        def named(cls, x):
            return cls.__name__, x

    for call, expected in [
        (Adder(5), [5, 6, 7]),
        (Adder(5).method, [-5, -4, -3]),
        (Adder.static, [0, -1, -2]),
        (Adder.named, [("Adder", 0), ("Adder", 1), ("Adder", 2)]),
    ]:
        assert pointsman.execute(call, range(3), backend=backend) == expected


@pytest.mark.parametrize(
    ("call", "data"),
    [
        pytest.param(abs, [-1, 2], id="builtin"),
        pytest.param(str.upper, ["a", "b"], id="method descriptor"),
        pytest.param("a{}".format, [1, 2], id="bound builtin"),
        pytest.param(int, ["1", "2"], id="class"),
        pytest.param(partial(int, base=2), ["10", "11"], id="partial"),
    ],
)
def test_any_callable_runs(backend, call, data):
    assert pointsman.execute(call, data, backend=backend) == [call(item) for item in data]


def test_a_default_argument_travels(backend):
    def scaled(x, factor=7):
        return x * factor

    assert pointsman.execute(scaled, range(5), backend=backend) == [0, 7, 14, 21, 28]


# ----------------------------------------------------------------------------------- values that travel


def deep_tuple(depth: int) -> tuple:
    return (depth, deep_tuple(depth - 1)) if depth else ()


VALUES = {
    "none": None,
    "bools": [True, False],
    "huge int": 10**400,
    "edges of 64 bits": [2**63 - 1, 2**63, -(2**63), -(2**63) - 1],
    "floats": (0.1, float("inf"), -0.0, 5e-324),
    "empty": ("", b"", (), [], {}, set()),
    "lone surrogates": "a\udc80b\ud800",
    "odd text": "null \0 and \U0001f686 and __main__",
    "nested tuples": deep_tuple(12),
    "tuple in list in dict": {"a": [(1, 2), (3,)], ("k", 1): {frozenset({1})}},
    "enum": Colour.BLUE,
    "str by inheritance": Label("x"),
    "named tuple": Pair(1, [2]),
    "bytearray": bytearray(b"abc"),
    "ellipsis": ...,
    "type": dict,
    "complex": 1 + 2j,
    "slice": range(1, 9, 2),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(backend, name):
    value = VALUES[name]

    [back] = pointsman.execute(functions.same, [value], backend=backend)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_arrays_of_ctypes_go_there_and_back_and_with_functions(backend):
    kind = ctypes.c_int * 3
    array, pairs = kind(1, 2, 3), (ctypes.c_double * 2 * 2)((1, 2), (3, 4))

    def read(given):
        made = kind(*reversed(given))
        return [array[n] + given[n] for n in range(3)], made, isinstance(given, kind)

    [(sums, made, same)] = pointsman.execute(read, [array], backend=backend)
    [back] = pointsman.execute(functions.same, [pairs], backend=backend)

    assert (sums, type(made), list(made), same) == ([2, 4, 6], kind, [3, 2, 1], True)
    assert (type(back), [list(pair) for pair in back]) == (type(pairs), [[1, 2], [3, 4]])


def test_a_large_bytes_goes_there_and_back(backend):
    value = os.urandom(5_000_000)

    results = pointsman.execute(functions.same, [value, value[:-1], value[1:]], backend=backend)

    assert results == [value, value[:-1], value[1:]]


@pytest.mark.parametrize("size", [32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20])
def test_buffers_of_any_size_go_there_and_back(backend, size):
    data = [b"x" * size, "y" * size, bytearray(b"z" * size), (b"x" * size, "y" * size)]

    assert pointsman.execute(functions.same, data, backend=backend) == data


def test_many_large_results_do_not_fill_the_memory_for_good(backend):
    for _ in range(3):
        sizes = pointsman.map(functions.same, (bytes([x]) * 1_000_000 for x in range(60)), backend=backend)

        assert [(len(result), result[0]) for result in sizes] == [(1_000_000, x) for x in range(60)]


def test_large_results_may_all_be_kept(backend):
    kept = pointsman.execute(functions.same, [bytes([x]) * 2_000_000 for x in range(60)], backend=backend)

    assert [(len(result), result[0], result[-1]) for result in kept] == [(2_000_000, x, x) for x in range(60)]


def test_a_long_list_as_an_item_goes_there_and_back(backend):
    value = [(n, str(n), n / 7) for n in range(10_000)]

    assert pointsman.execute(functions.same, [value] * 5, backend=backend) == [value] * 5


def test_ten_thousand_items_come_back(backend):
    assert pointsman.execute(functions.same, list(range(10_000)), backend=backend) == list(range(10_000))


def test_an_object_that_an_item_holds_twice_is_still_one(backend):
    def one_object(item):
        return item[0] is item[1]

    inner = ["shared"]

    assert pointsman.execute(one_object, [(inner, inner)] * 4, backend=backend) == [True] * 4


def test_numpy_arrays_come_back_equal_and_writable(backend):
    refuse_numpy_in_interpreters(backend)
    np = pytest.importorskip("numpy")
    data = [np.arange(n, dtype="float32").reshape(2, -1) for n in (0, 2, 100, 200_000)]

    results = pointsman.execute(functions.same, data, backend=backend)

    for result, array in zip(results, data, strict=True):
        assert result.dtype == array.dtype
        assert np.array_equal(result, array)
        result += 1


def test_a_call_may_write_into_the_array_that_it_was_given(backend):
    refuse_numpy_in_interpreters(backend)
    np = pytest.importorskip("numpy")

    def add_one(array):
        array += 1
        return array

    results = pointsman.execute(add_one, [np.zeros(n) for n in (3, 100_000)], backend=backend)

    assert [(float(result.min()), float(result.max()), result.size) for result in results] == [
        (1, 1, 3),
        (1, 1, 100_000),
    ]


def test_a_read_only_array_stays_read_only(backend):
    refuse_numpy_in_interpreters(backend)
    np = pytest.importorskip("numpy")
    array = np.arange(100_000)
    array.flags.writeable = False

    [result] = pointsman.execute(functions.same, [array], backend=backend)

    assert not result.flags.writeable
    assert np.array_equal(result, array)


def test_an_array_outlives_the_jobs_that_come_after_it(backend):
    refuse_numpy_in_interpreters(backend)
    np = pytest.importorskip("numpy")
    arrays = pointsman.execute(partial(np.full, 50_000), range(8), backend=backend)

    pointsman.execute(partial(np.full, 50_000), range(100, 130), backend=backend)

    assert [(int(array.min()), int(array.max())) for array in arrays] == [(n, n) for n in range(8)]
