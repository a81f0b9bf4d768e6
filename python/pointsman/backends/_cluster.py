"""Connections to dask clusters: an existing one by its address, or one of our own on this machine.

Does not know calls or jobs.

Invariants:
    D1. What we started we end: the workers of a local cluster end with it, and it ends with the program.
    D2. Nothing waits for a cluster that is gone: a lost scheduler is an error that names its address.
    D3. On a cluster of our own a call whose worker dies is not begun again; on an existing one that is a matter of its
        own setting `distributed.scheduler.allowed-failures`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from typing import Any

from pointsman._errors import InvalidArgumentError, PoolBrokenError
from pointsman._machine import facts

# Seconds that a scheduler has to answer, and a local worker to report.
_PATIENCE = 30.0
# Seconds that workers have to end by themselves.
_BURIAL = 5.0


def need() -> Any:
    """Import dask's engine, or say how to get it."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        message = "backend='dask' needs distributed; install it with: pip install 'pointsman[dask]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    return distributed


class Cluster:
    """A client of a scheduler, and the local cluster behind it if it is ours."""

    def __init__(self, address: str | None, workers: int | None) -> None:
        distributed = need()
        if address is not None and workers is not None:
            message = f"the cluster at {address} has workers of its own: leave max_workers out"
            raise InvalidArgumentError(message)
        self._local: Any = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self.closed: bool = False
        try:
            if address is None:
                address = self._start(distributed, workers or max(1, round(facts().cores)))
            self.address = address
            self.client: Any = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
            if self._processes:
                self.client.wait_for_workers(len(self._processes), timeout=_PATIENCE)
        except (OSError, TimeoutError) as error:
            self.close()
            message = f"no dask scheduler answers at {address}: {error}"
            raise PoolBrokenError(message) from error
        except BaseException:
            self.close()
            raise

    def _start(self, distributed: Any, workers: int) -> str:
        """Start a scheduler in this process, and workers in others; returns the address.

        Not by multiprocessing, which would run the program's main module again in each of them.
        """
        import dask

        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            self._local = distributed.LocalCluster(
                n_workers=0, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs="CRITICAL"
            )
        address = str(self._local.scheduler_address)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        command += ["--death-timeout", "10"]
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
    def lanes(self) -> int:
        """Calls that the cluster's workers run at a time."""
        with contextlib.suppress(Exception):
            info = self.client.scheduler_info(n_workers=-1)
            return max(1, sum(int(worker["nthreads"]) for worker in info["workers"].values()))
        return 1

    def check(self) -> None:
        """Raise if the scheduler is gone."""
        if self.closed or self.client.status != "running":
            raise self.lost()

    def lost(self) -> PoolBrokenError:
        """The error of a call whose scheduler is gone."""
        return PoolBrokenError(f"the dask scheduler at {self.address} is gone, and with it the calls that it held")

    def close(self) -> None:
        """End the connection, and the local cluster if there is one."""
        if self.closed:
            return
        self.closed = True
        client = getattr(self, "client", None)
        if client is not None:
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


# One for each address (or local worker count) that jobs have asked for, kept until the program ends.
_shared: dict[tuple[int, str | None, int | None], Cluster] = {}
_lock = threading.Lock()


def shared(address: str | None, workers: int | None) -> Cluster:
    """The program's cluster for what is asked for; a lost one is replaced."""
    key = (os.getpid(), address, workers)
    with _lock:
        cluster = _shared.get(key)
        if cluster is not None and (cluster.closed or cluster.client.status != "running"):
            cluster.close()
            cluster = None
        if cluster is None:
            cluster = _shared[key] = Cluster(address, workers)
        return cluster


@atexit.register
def _end_all() -> None:
    for (owner, _address, _workers), cluster in list(_shared.items()):
        if owner == os.getpid():
            cluster.close()
