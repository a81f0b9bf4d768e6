"""Connections to dask clusters: an existing one by its address, or one of our own on this machine.

Does not know jobs, plans or futures of ours.

Invariants:
    E1. On a cluster of our own a call whose worker dies is not begun again by the scheduler; on an existing one that is
        a matter of its own setting `distributed.scheduler.allowed-failures`.
    E2. In a call that runs on a worker the cluster is that worker's own, and the worker takes another call meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import inspect
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from pointsman._errors import MissingExtraError, PoolBrokenError
from pointsman._machine import facts
from pointsman.backends import _cluster

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds that local workers have to report: on a busy machine they import for long.
_BIRTH = 120.0
# Seconds that workers have to end by themselves.
_BURIAL = 5.0


def need() -> Any:
    """Import dask's engine, or say how to get it."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        message = "backend='dask' needs distributed; install it with: pip install 'pointsman[dask]'"
        raise MissingExtraError(message, name=error.name) from error
    return distributed


class DaskCluster(_cluster.Cluster):
    """A client of a scheduler, and the local cluster behind it if it is ours."""

    kind: ClassVar[str] = "dask"
    has_priorities: ClassVar[bool] = True
    # It has them for exceptions only, and for all tasks of a graph alike.
    has_retries: ClassVar[bool] = False
    takes_back: ClassVar[bool] = True

    def __init__(self, address: str | None, workers: int | None) -> None:
        distributed = need()
        super().__init__(address, workers)
        self._local: Any = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._borrowed = False
        self.is_local: bool = address is None
        if address is None and _on_worker(distributed):
            self._borrow(distributed)
            return
        try:
            if address is None:
                address = self._launch(distributed, workers or max(1, round(facts().cores)))
            self.address = address
            self.client: Any = distributed.Client(address, timeout=_cluster.PATIENCE, set_as_default=False)
            if self._processes:
                self.client.wait_for_workers(len(self._processes), timeout=_BIRTH)
        except (OSError, TimeoutError) as error:
            self.close()
            message = f"no dask scheduler answers at {address}: {error}"
            raise PoolBrokenError(message) from error
        except BaseException:
            self.close()
            raise

    def _borrow(self, distributed: Any) -> None:
        """Use the client of the worker that runs this call (E2)."""
        self.client = distributed.get_client()
        self.address: str = str(self.client.scheduler.address)
        self._borrowed = True

    def _launch(self, distributed: Any, workers: int) -> str:
        """Start a scheduler in this process, and workers in others; returns the address.

        Not by multiprocessing, which would run the program's main module again in each of them.
        """
        import dask

        # A worker holds only what it runs: its death touches nothing else.
        settings = {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0}
        with dask.config.set(settings):
            self._local = distributed.LocalCluster(
                n_workers=0, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs="CRITICAL"
            )
        address = str(self._local.scheduler_address)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        command += ["--death-timeout", "30"]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}  # noqa: PTH109
        for _ in range(workers):
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - our own interpreter
                    command,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        return address

    @property
    def workers(self) -> tuple[int, int]:
        """Worker processes, and threads in each, on average."""
        if self._processes:
            # One that died is being replaced.
            return len(self._processes), 1
        with contextlib.suppress(Exception):
            info = self.client.scheduler_info(n_workers=-1)
            threads = [int(worker["nthreads"]) for worker in info["workers"].values()]
            return len(threads), max(1, sum(threads) // max(1, len(threads)))
        return 0, 1

    def hosts(self) -> set[str]:
        """Where its workers are."""
        info = self.client.scheduler_info(n_workers=-1)
        return {str(worker["host"]) for worker in info["workers"].values()}

    @property
    def alive(self) -> bool:
        """Whether the client has its scheduler."""
        return bool(self.client.status == "running")

    def start(self, function: Callable[..., Any], *values: Any, urgency: int = 0, retries: int = 0) -> Any:
        """Start a call; `retries` is not the scheduler's."""
        del retries
        return self.client.submit(function, *values, pure=False, priority=urgency, **_held_back())

    def put(self, data: bytes) -> Any:
        """Scatter bytes to all workers, since one may die."""
        (held,) = self.client.scatter([data], broadcast=True, hash=False)
        return held

    def is_held(self, reference: Any) -> bool:
        """Whether they are where they were sent."""
        return reference.status in ("finished", "pending")

    def wait(self, started: Any) -> Any:
        """Wait for a call. A client that loses its scheduler cancels all."""
        if not self._borrowed:
            return started.result()
        import distributed

        secede: Any = distributed.secede
        with contextlib.suppress(ValueError, KeyError):
            # Not twice: that is the error.
            secede()
        return started.result()

    def when_done(self, started: Any, callback: Callable[[], None]) -> None:
        """Call back on a thread of the client."""
        started.add_done_callback(lambda _done: callback())

    def cancel(self, started: list[Any]) -> None:
        """Let calls that wait not begin; those that run go on unheard."""
        for one in started:
            with contextlib.suppress(Exception):
                one.cancel()

    def died_by(self, error: BaseException) -> str | None:
        """Name the worker that the scheduler gave up on."""
        from distributed.scheduler import KilledWorker

        if not isinstance(error, KilledWorker):
            return None
        return f"at {getattr(error.last_worker, 'address', error.last_worker)}"

    def lost_by(self, error: BaseException) -> bool:
        """Whether the client has cancelled what it held, or cannot talk to its scheduler."""
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError

        return isinstance(error, FutureCancelledError | concurrent.futures.CancelledError | CommClosedError)

    def _end(self) -> None:
        client = getattr(self, "client", None)
        if client is not None and not self._borrowed:
            with contextlib.suppress(Exception):
                client.close(timeout=_BURIAL)
        for process in self._processes:
            # The nanny ends its worker.
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_BURIAL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._local is not None:
            with contextlib.suppress(Exception):
                self._local.close(timeout=_BURIAL)


@functools.cache
def _held_back() -> dict[str, bool]:
    """Terms of a call that let it wait at the scheduler, not at a worker that is busy.

    There urgent calls pass it, and it does not share the fate of the call before it. dask knows such a mark since
    2024.12; it means tasks that load data, which wait for the same reason.
    """
    try:
        from dask._task_spec import Task

        known = "_data_producer" in inspect.signature(Task).parameters
    except (ImportError, ValueError):
        known = False
    return {"_data_producer": True} if known else {}


def _on_worker(distributed: Any) -> bool:
    """Whether this thread runs a call of a dask worker."""
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
