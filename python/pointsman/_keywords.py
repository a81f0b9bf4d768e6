"""The keywords of jobs, as type checkers read them: one set for the several signatures of `execute` and `map`.

Nothing imports this while a program runs. `tests/test_typing.py` holds it against the signatures of the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from pointsman._plan import Plan


class JobKeywords(TypedDict, total=False):
    """What every job takes."""

    backend: str | concurrent.futures.Executor
    max_workers: int | None
    chunksize: int | None
    buffersize: int | None
    ordered: bool
    on_error: str
    timeout: float | None
    retries: int
    retry_on: type[Exception] | tuple[type[Exception], ...]
    kill_on_cancel: bool
    prefer_threads_for_io: bool
    auto_adjust_for_nested_parallelism: bool
    progress: bool
    address: str | None
    plan: Plan | None


class MapKeywords(JobKeywords, total=False):
    """Those of `map`."""


class ExecuteKeywords(JobKeywords, total=False):
    """Those of `execute`, but for `return_optimization_result`, on which the type of the result depends."""

    sample_size: int | None
    target_chunk_duration: float | None
    verbose: bool
    profile: bool
    progress_callback: Callable[[str, float], object] | None
