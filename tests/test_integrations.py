"""`Executor` where other packages take an executor: asyncio, dask, tqdm, joblib.

What it does not know: how those packages use it. A package that is not installed is skipped, and said so.
"""

import asyncio
import concurrent.futures
import subprocess
import sys
from pathlib import Path

import pytest

import functions
import pointsman

pytestmark = pytest.mark.timeout(60)

BOTH = pytest.mark.parametrize("place", ["threads", "processes"])


@BOTH
def test_asyncio_runs_calls_in_it(place):
    async def main(executor):
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[loop.run_in_executor(executor, functions.square, n) for n in range(50)])

    with pointsman.Executor(2, backend=place) as executor:
        assert asyncio.run(main(executor)) == [n * n for n in range(50)]


@BOTH
def test_asyncio_sees_a_callback_of_its_future_in_the_loop(place):
    import threading

    async def main(executor):
        told = asyncio.Event()
        where = []
        future = asyncio.get_running_loop().run_in_executor(executor, functions.nap, 1)
        future.add_done_callback(lambda _: (where.append(threading.get_ident()), told.set()))
        await told.wait()
        return where == [threading.get_ident()]

    with pointsman.Executor(2, backend=place) as executor:
        assert asyncio.run(main(executor))


@BOTH
def test_futures_mix_with_those_of_the_standard_library(place):
    with pointsman.Executor(1, backend=place) as ours, concurrent.futures.ThreadPoolExecutor(1) as theirs:
        futures = [executor.submit(functions.square, n) for n in range(10) for executor in (ours, theirs)]
        done, not_done = concurrent.futures.wait(futures)

        assert len(done) == 20
        assert not not_done
        assert {future.result() for future in concurrent.futures.as_completed(futures)} == {n * n for n in range(10)}


@BOTH
def test_dask_computes_with_it(place):
    dask = pytest.importorskip("dask")

    with pointsman.Executor(2, backend=place) as executor:
        squares = [dask.delayed(functions.square)(n) for n in range(20)]
        with dask.config.set(scheduler=executor):
            assert dask.delayed(sum)(squares).compute() == sum(n * n for n in range(20))
        assert dask.delayed(functions.add)(1, 2).compute(scheduler=executor) == 3
        assert executor.get_stats().completed_tasks > 0


@BOTH
def test_tqdm_maps_with_it(place, capsys):
    pytest.importorskip("tqdm")
    from tqdm.contrib.concurrent import _executor_map

    class Chosen(pointsman.Executor):
        def __init__(self, max_workers=None, initializer=None, initargs=()):
            # Its lock for the bars is one of multiprocessing's, which only threads can be given.
            given = (initializer, initargs) if place == "threads" else (None, ())
            super().__init__(max_workers, initializer=given[0], initargs=given[1], backend=place)

    assert _executor_map(Chosen, functions.square, range(30), max_workers=2) == [n * n for n in range(30)]
    assert "30/30" in capsys.readouterr().err


@BOTH
def test_joblib_runs_its_batches_in_it(place):
    joblib = pytest.importorskip("joblib")
    from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase

    class Backend(AutoBatchingMixin, ParallelBackendBase):
        supports_retrieve_callback = True

        def effective_n_jobs(self, n_jobs):
            return n_jobs

        def configure(self, n_jobs=1, parallel=None, **_options):
            self.parallel, self.executor = parallel, pointsman.Executor(n_jobs, backend=place)
            return n_jobs

        def submit(self, func, callback=None):
            future = self.executor.submit(func)
            future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, future):
            return future.result()

        def terminate(self):
            self.executor.shutdown()

        def abort_everything(self, ensure_ready=True):
            self.executor.shutdown(cancel_futures=True)
            if ensure_ready:
                self.configure(self.parallel.n_jobs, self.parallel)

    joblib.register_parallel_backend("pointsman-executor", Backend)
    with joblib.parallel_config(backend="pointsman-executor", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(functions.square)(n) for n in range(200)) == [n * n for n in range(200)]
        with pytest.raises(functions.Boom):
            joblib.Parallel()(joblib.delayed(functions.fail)(n) for n in range(5))


@pytest.mark.slow
def test_cpythons_own_tests_of_thread_pools_pass():
    script = Path(__file__).parent / "compat" / "cpython.py"
    words = ["Executor_Threads", "Initializer_Threads", "AsCompleted_Threads", "Wait_Threads", "PendingCalls"]
    ended = subprocess.run(
        [sys.executable, str(script), "--short", *words], capture_output=True, text=True, timeout=55, check=False
    )
    if "SKIPPED" in ended.stdout:
        pytest.skip(ended.stdout.strip())

    assert ended.returncode == 0, ended.stdout + ended.stderr
