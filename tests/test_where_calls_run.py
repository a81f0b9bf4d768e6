"""Where calls run: how many at a time, on which threads and processes, and with whose context.

What it does not know: why a place was chosen.
"""

import contextvars
import itertools
import os
import sys
import threading
from functools import partial

import pytest

import functions
import pointsman
from fixtures import run_program

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("place", ["threads", "processes"])
def test_as_many_calls_run_at_a_time_as_workers_were_asked_for(place, workers, tmp_path):
    met = pointsman.execute(
        partial(functions.meet, str(tmp_path), workers), range(workers), backend=place, max_workers=workers, chunksize=1
    )

    assert met == [True] * workers


def most_at_a_time(spans) -> int:
    changes = sorted([(span.began, 1) for span in spans] + [(span.ended, -1) for span in spans])
    return max(itertools.accumulate(change for _, change in changes))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_calls_run_at_a_time_than_workers_were_asked_for(backend, workers, tmp_path):
    # A wider job first, so that more workers are there than the second may use.
    pointsman.execute(functions.span, [0.001] * 20, backend=backend, max_workers=5)

    spans = pointsman.execute(functions.span, [0.01] * 24, backend=backend, max_workers=workers)

    assert most_at_a_time(spans) <= workers


def test_inline_calls_run_on_the_callers_thread():
    spans = pointsman.execute(functions.span, [0] * 20, backend="inline")

    assert {(span.process, span.thread) for span in spans} == {(os.getpid(), threading.get_ident())}


def test_calls_on_threads_run_in_this_process():
    spans = pointsman.execute(functions.span, [0.001] * 20, backend="threads", max_workers=3)

    assert {span.process for span in spans} == {os.getpid()}


def test_calls_on_processes_run_in_no_other_place():
    pids = set(pointsman.execute(functions.process, range(200), backend="processes", max_workers=2))

    assert os.getpid() not in pids


SIX_JOBS = """
import os
import pointsman

def process(_):
    return os.getpid()

if __name__ == "__main__":
    jobs = (pointsman.execute(process, range(100), backend="processes", max_workers=2) for _ in range(6))
    print(len(set().union(*jobs)))
"""


def test_workers_are_kept_from_one_job_to_the_next(tmp_path):
    # A program of its own: other tests leave more workers, of which each job may use any two. A job of tiny calls may be
    # one worker's alone.
    assert int(run_program(tmp_path, SIX_JOBS)) <= 2


def test_with_one_thread_per_process_calls_run_on_the_main_thread_of_the_worker():
    def on_main_thread(_):
        return threading.current_thread() is threading.main_thread()

    assert all(pointsman.execute(on_main_thread, range(20), backend="processes", max_workers=2))


def test_threads_are_ordinary_threads_that_the_threading_module_knows():
    def known(_):
        thread = threading.current_thread()
        return isinstance(thread, threading.Thread) and thread in threading.enumerate() and thread.name != ""

    assert all(pointsman.execute(known, range(50), backend="threads", max_workers=3))


def test_a_trace_function_set_for_all_threads_sees_the_calls():
    names = set()

    def tracer(frame, _event, _argument):
        names.add(frame.f_code.co_name)

    threading.settrace(tracer)
    try:
        with pointsman.Executor(1, backend="threads") as executor:
            executor.submit(functions.square, 2).result()
    finally:
        threading.settrace(sys.gettrace())

    assert "square" in names


@pytest.mark.parametrize("place", ["inline", "threads", "auto"])
def test_context_variables_of_the_caller_are_seen_by_its_calls(place):
    token = functions.WHO.set("the caller")
    try:
        answers = pointsman.execute(functions.who_asked, range(200), backend=place)
    finally:
        functions.WHO.reset(token)

    assert set(answers) == {"the caller"}


def test_context_variables_of_the_caller_are_seen_on_every_thread(tmp_path):
    def meet_and_tell(who):
        functions.meet(str(tmp_path), 3, who)
        return functions.WHO.get()

    def job():
        functions.WHO.set("the caller")
        return pointsman.execute(meet_and_tell, range(3), backend="threads", max_workers=3)

    assert contextvars.copy_context().run(job) == ["the caller"] * 3


def test_each_submitted_call_sees_the_context_that_it_was_submitted_in():
    with pointsman.Executor(2, backend="threads") as executor:
        futures = []
        for name in ("a", "b", "c", "d"):
            context = contextvars.copy_context()
            context.run(functions.WHO.set, name)
            futures.append(context.run(executor.submit, functions.who_asked))

        assert [future.result() for future in futures] == ["a", "b", "c", "d"]


def test_a_context_variable_that_a_call_sets_does_not_leak_into_the_next_call_of_its_thread():
    with pointsman.Executor(1, backend="threads") as executor:
        executor.submit(functions.WHO.set, "left behind").result()

        assert executor.submit(functions.who_asked).result() == "nobody"
