"""A backend of joblib whose calls run in our worker processes.

    from pointsman.integrations.joblib import register

    register()
    with joblib.parallel_config(backend="pointsman"):
        ...

Does not know how calls travel or what joblib does with their results.

Invariants:
    J1. A pool of workers is shared by all `Parallel` objects that ask for the same workers, and kept warm between them.
    J2. A pool that a `Parallel` object uses is not closed.
    J3. An abort stops the calls of one `Parallel` object and nobody else's.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import TYPE_CHECKING, Any

import cloudpickle

from pointsman._errors import CannotTravelError, InvalidArgumentError
from pointsman._executor import Executor
from pointsman._forks import at_fork

try:
    from joblib import _parallel_backends as _joblib
    from joblib import cpu_count, register_parallel_backend
    from joblib import parallel as _parallel
except ModuleNotFoundError as _error:
    _message = "pointsman.integrations.joblib needs joblib; install it with: pip install 'pointsman[joblib]'"
    raise ModuleNotFoundError(_message, name=_error.name) from _error

if TYPE_CHECKING:
    from collections.abc import Callable

    class _Backend:
        """What we use of joblib's two base classes, which carry no types."""

        MIN_IDEAL_BATCH_DURATION: float
        MAX_IDEAL_BATCH_DURATION: float
        _effective_batch_size: int
        _smoothed_batch_duration: float
        nesting_level: int | None
        inner_max_num_threads: int | None
        backend_kwargs: dict[str, Any]
        parallel: Any

        def __init__(self, **options: Any) -> None: ...
        def compute_batch_size(self) -> int: ...
        def reset_batch_stats(self) -> None: ...
        def _prepare_worker_env(self, n_jobs: int) -> dict[str, str]: ...

    class _Tracker:
        """What we use of joblib's tracker of a batch."""

        parallel: Any
        status: str

        def get_status(self, timeout: float | None) -> str: ...
        def _register_outcome(self, outcome: dict[str, Any]) -> None: ...

else:

    class _Backend(_joblib.AutoBatchingMixin, _joblib.ParallelBackendBase):
        pass

    _Tracker = _parallel.BatchCompletionCallBack


__all__ = ["PointsmanBackend", "register"]

# Pools that are kept warm while nobody uses them. Arbitrary: programs seldom ask for more kinds of workers by turns.
_MOST_IDLE = 2

# A batch has at most so many times the calls of the one before it; joblib's own limit is 2, and a job of small calls is
# over before that gets anywhere.
_GROWTH = 16
# Seconds after which joblib's loop gets to look whether it shall end. Arbitrary: an error is heard of no later.
_LOOK = 0.05

# Process, workers, and what each worker is begun with.
_Key = tuple[int, int, bytes]

_lock = threading.Lock()
# By what was asked for: the pool, and how many `Parallel` objects use it now.
_pools: dict[_Key, tuple[Executor, int]] = {}


def register(name: str = "pointsman", *, make_default: bool = False) -> None:
    """Tell joblib of the backend.

    Parameters
    ----------
    name
        The name by which `joblib.parallel_config(backend=name)` finds it.
    make_default
        Use it wherever no backend is named.

    """
    register_parallel_backend(name, PointsmanBackend, make_default=make_default)


class _Lease:
    """The use of a pool by one `Parallel` object, from one call or abort to the next."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.submit = _acquire(key).submit

    def end(self) -> None:
        _let_go(self.key)


class PointsmanBackend(_Backend):
    """Runs joblib's batches in worker processes that live on between calls.

    A call's death (by a signal, say) is a `WorkerDied` for that call; an abort stops the calls that run, and their
    workers are replaced. `max_nbytes`, `temp_folder` and `mmap_mode` are about files that loky shares arrays by: large
    arrays travel through shared memory here, without files, and a worker gets each as an array of its own.

    Parameters
    ----------
    inner_max_num_threads
        Threads that BLAS and OpenMP may use in each worker; None for what the environment says, else each worker's
        share of the cores.
    initializer, initargs
        Called in each worker before its first call.

    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    # Seconds of work in a batch between which joblib leaves its size alone: shorter than loky's, as a dispatch costs
    # less here (benches/joblib_peers.py), and leave less of a tail.
    MIN_IDEAL_BATCH_DURATION = 0.02
    MAX_IDEAL_BATCH_DURATION = 0.4

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._check(self.backend_kwargs)
        self._workers: _Lease | None = None
        self._begun: set[Any] = set()

    @staticmethod
    def _check(options: dict[str, Any]) -> None:
        # What `Parallel` passes to every backend, asked for or not.
        known = {"temp_folder", "max_nbytes", "mmap_mode", "verbose", "context", "initializer", "initargs"}
        unknown = sorted(set(options) - known)
        if unknown:
            message = f"the pointsman backend of joblib has no option {', '.join(unknown)}"
            raise InvalidArgumentError(message)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Workers for an `n_jobs` of joblib's, where -1 stands for every core that may be used."""
        if n_jobs == 0:
            message = "n_jobs == 0 in Parallel has no meaning"
            raise InvalidArgumentError(message)
        if n_jobs is None:
            return 1
        return max(1, cpu_count() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(
        self, n_jobs: int | None = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **options: Any
    ) -> int:
        """Get ready for a call of `parallel`; returns the number of workers.

        `prefer` and `require` were heeded by joblib when it chose this backend.
        """
        del prefer, require
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise _joblib.FallbackToBackend(_joblib.SequentialBackend(nesting_level=self.nesting_level))
        self._check(options)
        self._release()
        options = {**self.backend_kwargs, **options}
        if self.inner_max_num_threads is not None:
            _need_threadpoolctl()
        begin = (self._prepare_worker_env(workers), options.get("initializer"), tuple(options.get("initargs") or ()))
        self._workers = _Lease((os.getpid(), workers, cloudpickle.dumps(begin)))
        self.parallel = parallel
        return workers

    def compute_batch_size(self) -> int:
        """Calls in the next batch: as joblib has it, but sooner."""
        size, lasted = self._effective_batch_size, self._smoothed_batch_duration
        if not 0 < lasted < self.MIN_IDEAL_BATCH_DURATION:
            return super().compute_batch_size()
        wanted = min(_GROWTH * size, 2 * int(size * self.MIN_IDEAL_BATCH_DURATION / lasted))
        if wanted <= 2 * size:
            return super().compute_batch_size()
        self._effective_batch_size, self._smoothed_batch_duration = wanted, 0.0
        return wanted

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
        """Start a batch of calls."""
        if self._workers is None:
            message = "this backend has been closed: its Parallel object was ended while calls were to be made"
            raise RuntimeError(message)
        # As an argument, large arrays in it go through shared memory.
        future = self._workers.submit(_call, func)
        self._begun.add(future)
        future.add_done_callback(self._begun.discard)
        if callback is not None:
            tracker: Any = callback
            if type(tracker) is _parallel.BatchCompletionCallBack:
                tracker.__class__ = _Awaited
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return what a batch returned, or raise what it raised."""
        try:
            return out.result()
        except CannotTravelError as error:
            message = f"could not pickle the task to send to the workers, or its result: {error}"
            raise CannotTravelError(message) from error

    def terminate(self) -> None:
        """End the use of the workers, which stay for the next."""
        self._release()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop every call that was begun here, the running ones with their workers."""
        for future in list(self._begun):
            future.cancel(kill=True)
        self._begun.clear()
        lease = self._workers
        if lease is not None and ensure_ready:
            self._workers = _Lease(lease.key)
            lease.end()
        else:
            self._release()

    def _release(self) -> None:
        lease, self._workers = self._workers, None
        if lease is not None:
            lease.end()


class _Awaited(_Tracker):
    """joblib's tracker of a batch, with a `get_status` that waits: joblib would ask again only after 10 ms."""

    def get_status(self, timeout: float | None) -> str:
        """As joblib has it, once the batch is over or `_LOOK` has passed."""
        # Without an order joblib asks for one batch, but waits for any.
        if self.status == _parallel.TASK_PENDING and self.parallel.return_ordered:
            self._told = told = threading.Event()
            # Who registers an outcome from here on sees the event, and one registered before is seen here.
            if self.status == _parallel.TASK_PENDING:
                told.wait(_LOOK)
        return super().get_status(timeout)

    def _register_outcome(self, outcome: dict[str, Any]) -> None:
        super()._register_outcome(outcome)
        told = self.__dict__.get("_told")
        if told is not None:
            told.set()


def _acquire(key: _Key) -> Executor:
    """The pool for what is asked for, which stays open until it is let go."""
    own, workers, begin = key
    with _lock:
        executor, users = _pools.pop(key, (None, 0))
        if executor is None or executor._broken or executor._shut_down:  # noqa: SLF001 - ours
            # Managers of multiprocessing talk only to those who know the key.
            known = bytes(multiprocessing.current_process().authkey)
            executor = Executor(workers, backend="processes", initializer=_begin, initargs=(known, begin))
        _pools[key] = (executor, users + 1)
        closing = _spare(own)
    for old in closing:
        old.shutdown(wait=False)
    return executor


def _let_go(key: _Key) -> None:
    with _lock:
        if key in _pools:
            executor, users = _pools.pop(key)
            _pools[key] = (executor, max(0, users - 1))
        closing = _spare(key[0])
    for old in closing:
        old.shutdown(wait=False)


def _spare(own: int) -> list[Executor]:
    """Take out the pools that are no longer worth keeping: a parent's, and the longest unused beyond `_MOST_IDLE`."""
    for key in [key for key in _pools if key[0] != own]:
        # In a forked child: its workers belong to the parent.
        del _pools[key]
    idle = [key for key, (_executor, users) in _pools.items() if not users]
    return [_pools.pop(key)[0] for key in idle[: max(0, len(idle) - _MOST_IDLE)]]


def _need_threadpoolctl() -> None:
    try:
        import threadpoolctl  # noqa: F401 - the workers need it
    except ModuleNotFoundError as error:
        message = "inner_max_num_threads needs threadpoolctl; install it with: pip install 'pointsman[joblib]'"
        raise ModuleNotFoundError(message, name=error.name) from error


def _begin(known: bytes, begin: bytes) -> None:
    """In a worker, before its first call."""
    multiprocessing.current_process().authkey = known
    # Packed until now: what reads it may need the key.
    environ, initializer, initargs = cloudpickle.loads(begin)
    os.environ.update(environ)
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        # A BLAS that is loaded later reads the environment.
        pass
    else:
        for name, interface in (("OMP_NUM_THREADS", "openmp"), ("OPENBLAS_NUM_THREADS", "blas")):
            threadpoolctl.threadpool_limits(int(environ[name]), user_api=interface)
    if initializer is not None:
        initializer(*initargs)


def _call(batch: Callable[[], Any]) -> Any:
    try:
        return batch()
    except RecursionError as error:
        arguments = error.args
    # Anew, and not in the clause: what it was raised from may be nested too deeply to be pickled.
    raise RecursionError(*arguments)


def _forget() -> None:
    """In a forked child: another thread may have held the lock."""
    global _lock  # noqa: PLW0603 - one for the program
    _lock = threading.Lock()


at_fork(_forget)
