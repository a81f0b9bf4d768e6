"""Which engines of clusters can be tested here, and how a cluster that is not ours is started and ended."""

import contextlib
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import psutil
import pytest

from pointsman.backends import _cluster

# One for both sides: clusters of tests are closed to others, and the token that ray keeps for its user is not asked for.
# Before ray is imported, which reads them once.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

_PACKAGE = {"dask": "distributed", "ray": "ray"}


def needs(kind: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where the engine is not installed (there may be no wheel for the interpreter)."""
    absent = importlib.util.find_spec(_PACKAGE[kind]) is None
    return pytest.mark.skipif(absent, reason=f"{kind} is not installed: pip install 'pointsman[{kind}]'")


# What the engines do with their own sockets and loops at their end.
QUIET = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
KINDS = [pytest.param(kind, marks=needs(kind)) for kind in _PACKAGE]


class Elsewhere(NamedTuple):
    address: str
    # The process without which there is no cluster.
    head: psutil.Process
    # Where the server of ray's clients listens, if that is installed.
    client: str | None = None


@contextlib.contextmanager
def elsewhere(kind, folder):
    """A cluster that is not ours, with two lanes; ended whatever happens."""
    start = _ray if kind == "ray" else _dask
    # A program has one connection to ray.
    _cluster.close_shared()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "ELSEWHERE": str(folder),
    }
    started = []
    try:
        yield start(folder, environment, started)
    finally:
        mine = [process for process in psutil.process_iter() if _is_of(process, folder)]
        # Those of ray hide their environment behind a title.
        for process in {child for parent in mine for child in _children(parent)} | set(mine):
            with contextlib.suppress(psutil.Error):
                process.kill()
        for process in started:
            process.wait(60)


def _is_of(process, folder):
    with contextlib.suppress(psutil.Error):
        return process.environ().get("ELSEWHERE") == str(folder)
    return False


def _children(process):
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def _dask(folder, environment, started):
    place = folder / "scheduler.json"
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    command = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["distributed.cli.dask_worker", "--nthreads", "2", "--no-nanny", "--no-dashboard", "--death-timeout", "30"]
    head = psutil.Popen([*command, *scheduler, "--scheduler-file", str(place)], **quiet)
    started.append(head)
    started.append(psutil.Popen([*command, *worker, "--scheduler-file", str(place)], **quiet))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return Elsewhere(json.loads(place.read_text())["address"], head)
        time.sleep(0.1)
    raise TimeoutError("no dask scheduler has started")


def _ray(folder, environment, _started):
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        port, client = free.getsockname()[1], other.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=2", f"--port={port}"]
    command += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    served = importlib.util.find_spec("grpc") is not None
    command += [f"--ray-client-server-port={client}"] if served else []
    answer = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "gcs_server" and _is_of(process, folder):
                return Elsewhere(f"127.0.0.1:{port}", process, f"ray://127.0.0.1:{client}" if served else None)
    raise RuntimeError(f"no ray has started: {answer.stdout}{answer.stderr}")
