"""`os.fork()` in the program while its workers are busy, from any thread: parent and child both work on.

What it does not know: what a fork copies.
"""

import pytest

from fixtures import run_program

pytestmark = [pytest.mark.timeout(90), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SOURCE = """
import functions, os, pointsman, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)

executor = pointsman.Executor(2, backend="processes")
futures = [executor.submit(functions.nap, n) for n in range(200)]
waiting = threading.Thread(target=lambda: [future.result() for future in futures])
told = []
futures[50].add_done_callback(lambda done: told.append(done.result()))

def child():
    signal.alarm(30)
    # What was the parent's is of no use here, and says so instead of hanging.
    try:
        executor.submit(functions.square, 1).result(20)
    except Exception as error:
        assert not isinstance(error, TimeoutError), "it hung"
    assert pointsman.execute(functions.square, range(50), backend="processes") == [x * x for x in range(50)]
    with pointsman.Executor(1, backend="processes") as mine:
        assert mine.submit(functions.square, 9).result(20) == 81

def fork():
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status

def main():
    for _ in range(3):
        fork()

waiting.start()
if {thread}:
    forker = threading.Thread(target=main)
    forker.start()
    forker.join()
else:
    main()
waiting.join()
assert [future.result(20) for future in futures] == list(range(200))
assert executor.submit(functions.square, 5).result(20) == 25
executor.shutdown()
assert told == [50], told
print("done")
"""


@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "other thread"])
def test_a_fork_in_the_middle_of_work_harms_neither_parent_nor_child(thread, tmp_path):
    assert run_program(tmp_path, SOURCE.format(thread=thread)) == "done"


WAITING = """
import concurrent.futures, functions, os, pointsman, signal, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)

def nap(seconds):
    time.sleep(seconds)
    return seconds

def in_child(ask):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        code = 1
        try:
            ask()
        except pointsman.PoolBrokenError as error:
            code = 0 if "forked from" in str(error) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status

with pointsman.Executor(2, backend={backend!r}) as executor:
    there = executor.submit(functions.square, 3)
    assert there.result() == 9
    future = executor.submit(nap, 0.5)
    in_child(future.result)
    in_child(lambda: concurrent.futures.wait([future]).done.pop().result())
    in_child(lambda: next(concurrent.futures.as_completed([future])).result())
    in_child(lambda: [there.result() == 9 or os._exit(3), future.exception() is None and os._exit(4), future.result()])
    assert future.result() == 0.5
    # One that has the standard part already, and somebody who is to be told.
    told = []
    future = executor.submit(nap, 0.5)
    future.add_done_callback(lambda done: told.append(done.result()))
    concurrent.futures.wait([future], timeout=0.01)
    in_child(lambda: concurrent.futures.wait([future]).done.pop().result())
    in_child(lambda: next(concurrent.futures.as_completed([future])).result())
    assert future.result() == 0.5
    assert concurrent.futures.wait([future]).done == {{future}}
    results = executor.map(nap, [0.01, 0.3, 0.3, 0.3])
    assert next(results) == 0.01
    in_child(lambda: list(results))
    assert list(results) == [0.3] * 3

results = pointsman.map(nap, [0.01, 0.3, 0.3, 0.3], backend={backend!r}, max_workers=2)
assert next(results) == 0.01
in_child(lambda: list(results))
assert list(results) == [0.3] * 3
print("done")
"""


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_whoever_waits_in_a_forked_child_for_a_call_of_its_parent_hears_that_it_ends_elsewhere(backend, tmp_path):
    assert run_program(tmp_path, WAITING.format(backend=backend)) == "done"
