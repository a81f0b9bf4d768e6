"""What ray has been given and is not wanted any more ends without ray's own `cancel`, which may end the program.

What it does not know: how the worker is told.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import time

import pytest

import pointsman
from engines import QUIET, needs
from functions import square
from pointsman.backends import _cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), *QUIET, needs("ray")]


def wait_for(path):
    open(path + ".begun", "w").close()
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


def wait_if_asked(path):
    return None if path is None else wait_for(path)


def test_the_cancel_of_ray_which_may_end_the_program_is_never_called(monkeypatch, tmp_path):
    import ray

    def refused(*_others, **_options):
        raise AssertionError("ray.cancel was called")

    monkeypatch.setattr(ray, "cancel", refused)
    path = str(tmp_path / "go")
    with pointsman.Executor(2, backend="ray") as executor:
        running = [executor.submit(wait_for, path) for _ in range(2)]
        waiting = [executor.submit(square, number) for number in range(20)]
        while not os.path.exists(path + ".begun"):
            time.sleep(0.01)
        kept, dropped = waiting[::2], waiting[1::2]
        assert [future.cancel() for future in running] == [False, False]
        assert all(future.cancel() for future in dropped)
        open(path, "w").close()
        assert [future.result(60) for future in running] == ["done", "done"]
        assert [future.result(60) for future in kept] == [number * number for number in range(0, 20, 2)]
        assert executor.get_stats().queued_tasks == 0
    results = pointsman.map(square, range(1000), backend="ray", max_workers=2, chunksize=10)
    assert next(results) == 0
    results.close()
    _cluster.close_shared()


def test_a_job_that_is_closed_gives_back_the_lanes_of_calls_that_last(tmp_path):
    never = str(tmp_path / "never")
    results = pointsman.map(wait_if_asked, [None] * 2 + [never] * 6, backend="ray", max_workers=2, chunksize=1)
    assert next(results) is None
    while not os.path.exists(never + ".begun"):
        time.sleep(0.01)
    results.close()

    assert pointsman.execute(square, [3, 4], backend="ray", max_workers=2) == [9, 16]
    _cluster.close_shared()


def test_what_is_closed_again_and_again_as_its_calls_end_leaves_the_program_alive():
    for number in range(40):
        results = pointsman.map(square, itertools.count(), backend="ray", max_workers=2, buffersize=8, chunksize=1)
        some = list(itertools.islice(results, 1 + number % 7))
        assert some == [place * place for place in range(len(some))]
        results.close()
    _cluster.close_shared()


def test_a_program_ends_though_a_job_of_its_own_is_not_finished(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import pointsman\n"
        "def nap(seconds):\n"
        "    import time\n"
        "    time.sleep(seconds)\n"
        "    return seconds\n"
        "results = pointsman.map(nap, [0.01] * 200, backend='ray', max_workers=2, chunksize=1)\n"
        "print(next(results))\n"
    )

    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=100, check=False)

    assert (done.returncode, done.stdout) == (0, "0.01\n"), done.stderr


def test_a_gather_may_give_up_on_a_call_that_runs(tmp_path):
    path = str(tmp_path / "go")

    async def give_up(future):
        await asyncio.wait_for(asyncio.gather(future), 0.5)

    with pointsman.Executor(2, backend="ray") as executor:
        future = executor.submit(wait_for, path)
        while not os.path.exists(path + ".begun"):
            time.sleep(0.01)
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(give_up(future))
        assert future.cancelled()
        open(path, "w").close()
        assert executor.submit(square, 3).result(60) == 9
    _cluster.close_shared()


def wait_for_signal():
    import ray

    return ray.get(ray.get_actor("signal").wait.remote())


def send_signal():
    import ray

    ray.get(ray.get_actor("signal").send.remote())
    return "sent"


def test_a_call_that_waits_in_ray_for_another_makes_room_for_it():
    import ray

    class Signal:
        def __init__(self):
            self.event = asyncio.Event()

        async def send(self):
            self.event.set()

        async def wait(self):
            await self.event.wait()
            return "heard"

    with pointsman.Executor(1, backend="ray") as executor:
        signal = ray.remote(Signal).options(name="signal", num_cpus=0).remote()
        first, second = executor.submit(wait_for_signal), executor.submit(send_signal)

        assert (first.result(100), second.result(100)) == ("heard", "sent")
        del signal
    _cluster.close_shared()
