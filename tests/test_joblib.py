"""joblib and scikit-learn on our workers."""

import os
import signal
import time

import numpy
import pytest

import pointsman

joblib = pytest.importorskip("joblib", reason="joblib is not installed: pip install 'pointsman[joblib]'")

from joblib import Parallel, delayed, parallel_config  # noqa: E402 - after the check

from functions import fail_at_seven, square  # noqa: E402 - the same
from functions import process as pid_of  # noqa: E402 - the same
from pointsman.integrations.joblib import PointsmanBackend, register  # noqa: E402 - after the check

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def registered():
    register()
    with parallel_config(backend="pointsman", n_jobs=2):
        yield


def die(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def nested(number):
    return sum(Parallel(n_jobs=2)(delayed(square)(inner) for inner in range(number)))


def blas_threads():
    import threadpoolctl

    numpy.ones(4) @ numpy.ones(4)
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_calls_run_in_worker_processes_of_ours():
    pids = set(Parallel()(delayed(pid_of)(number) for number in range(20)))

    assert os.getpid() not in pids


@pytest.mark.parametrize("kind", ["list", "generator", "generator_unordered"])
def test_every_kind_of_return_has_every_result(kind):
    results = Parallel(return_as=kind)(delayed(square)(number) for number in range(300))

    expected = [number * number for number in range(300)]
    assert (sorted(results) if kind == "generator_unordered" else list(results)) == expected


def test_an_exception_keeps_its_type_and_the_workers_serve_on():
    with pytest.raises(ValueError, match="seven"):
        Parallel()(delayed(fail_at_seven)(number) for number in range(30))

    assert Parallel()(delayed(square)(number) for number in range(5)) == [0, 1, 4, 9, 16]


def test_nested_calls_run():
    assert Parallel()(delayed(nested)(number) for number in (3, 4)) == [5, 14]


def test_a_large_array_inside_a_batch_travels():
    arrays = [numpy.full(200_000, value, dtype=float) for value in range(4)]

    assert Parallel()(delayed(numpy.sum)(array) for array in arrays) == [200_000.0 * value for value in range(4)]


@pytest.mark.parametrize("threads", [1, 2])
def test_inner_threads_are_limited_as_asked(threads):
    if not blas_threads():
        pytest.skip("this numpy has no BLAS whose threads could be counted")
    with parallel_config(backend="pointsman", n_jobs=2, inner_max_num_threads=threads):
        seen = Parallel()(delayed(blas_threads)() for _ in range(4))

    assert seen == [{threads}] * 4


def test_a_workers_death_is_an_error_of_its_call_and_the_next_call_has_workers():
    with pytest.raises(pointsman.WorkerDied):
        Parallel()(delayed(die)(number) for number in range(2))

    assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]


@pytest.mark.filterwarnings("ignore:.*have been cancelled:UserWarning")
def test_a_generator_that_is_dropped_stops_its_calls():
    generator = Parallel(return_as="generator", batch_size=1)(delayed(time.sleep)(300) for _ in range(4))
    generator.close()

    # Both workers are free again, long before those calls would have ended.
    assert Parallel()(delayed(square)(number) for number in range(4)) == [0, 1, 4, 9]


def test_workers_stay_between_calls():
    with Parallel(batch_size=1) as parallel:
        first = set(parallel(delayed(pid_of)(number) for number in range(40)))
    second = set(Parallel(batch_size=1)(delayed(pid_of)(number) for number in range(40)))

    assert first & second


def test_a_function_that_cannot_be_pickled_says_so():
    class Stubborn:
        def __reduce__(self):
            raise RuntimeError("never")

    with pytest.raises(pointsman.CannotTravelError, match="never"):
        Parallel()(delayed(id)(Stubborn()) for _ in range(2))


def test_an_unknown_option_is_refused():
    with pytest.raises(pointsman.InvalidArgumentError, match="speed"):
        PointsmanBackend(speed=11)


def test_scikit_learn_searches_on_it():
    sklearn_tree = pytest.importorskip("sklearn.tree", reason="scikit-learn is not installed")
    from sklearn.datasets import make_classification
    from sklearn.model_selection import GridSearchCV

    inputs, classes = make_classification(200, random_state=0)
    search = GridSearchCV(sklearn_tree.DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=3)
    search.fit(inputs, classes)
    with parallel_config(backend="sequential"):
        alone = GridSearchCV(sklearn_tree.DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=3)
        alone.fit(inputs, classes)

    assert list(search.cv_results_["mean_test_score"]) == list(alone.cv_results_["mean_test_score"])
