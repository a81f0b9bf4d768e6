"""Connections to ray clusters: an existing one by its address, or one of our own on this machine.

Does not know jobs, plans or futures of ours.

Invariants:
    R1. A program has one connection, as ray has it; whoever uses it has a share, and the last to leave ends it.
    R2. What the program itself has connected to is used and left as it is.
    R3. ray waits for a dead head node without a word, so its ports are looked at while somebody uses them: a port that
        is closed is a cluster that is lost.
    R4. A local cluster listens on the loopback address only, and reports nothing to ray's makers.
    R5. ray's own `cancel` is never called (see `_ray_stop`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from pointsman._errors import InvalidArgumentError, MissingExtraError, PoolBrokenError
from pointsman._machine import facts
from pointsman.backends import _cluster, _ray_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds between two looks at the ports of a cluster, and that a port has to answer.
_LOOK = 1.0
_ANSWER = 5.0
# A port is closed when that many looks in a row say so.
_LOOKS = 2
# Seconds that a wait lasts before it is asked whether the cluster still lives.
_TURN = 1.0
# Seconds from a loss until the connection is ended, if nobody does it before: some turns.
_FAREWELL = 5.0


def need() -> Any:
    """Import ray, or say how to get it."""
    try:
        import ray
    except ModuleNotFoundError as error:
        message = "backend='ray' needs ray; install it with: pip install 'pointsman[ray]'"
        raise MissingExtraError(message, name=error.name) from error
    return ray


class _Connection:
    """The program's connection: what was asked for, the ports that show whether it lives, and its users."""

    def __init__(self, asked: str | None, *, ours: bool) -> None:
        self.asked, self.ours = asked, ours
        self.address = ""
        self.ports: list[tuple[str, int]] = []
        self.users = 0
        self.lost = False
        self.ended = threading.Event()
        self.callbacks: dict[int, Callable[[], None]] = {}
        self.unwanted: _ray_stop.Unwanted = _ray_stop.Unwanted()

    def watch(self, ray: Any) -> None:
        """Look at the ports until the connection ends; on a thread of its own (R3)."""
        missed = 0
        while not self.ended.wait(_LOOK):
            # A cluster that has gone meanwhile took the calls with it.
            with contextlib.suppress(Exception):
                self.unwanted.look()
            missed = 0 if all(_answers(*port) for port in self.ports) else missed + 1
            if missed < _LOOKS:
                continue
            self.lost = True
            for callback in list(self.callbacks.values()):
                callback()
            # Those that wait look up within a turn. Left alone, ray would end the program after a minute.
            if not self.ended.wait(_FAREWELL):
                with _lock:
                    _disconnect(ray, self)
            return


_connection: _Connection | None = None
_lock = threading.RLock()


class RayCluster(_cluster.Cluster):
    """A share in the program's connection to a ray cluster."""

    kind: ClassVar[str] = "ray"
    has_priorities: ClassVar[bool] = False
    has_retries: ClassVar[bool] = True
    takes_back: ClassVar[bool] = False

    def __init__(self, address: str | None, workers: int | None) -> None:
        self._ray = need()
        super().__init__(address, workers)
        self.is_local: bool = address is None
        self._functions: dict[Any, Any] = {}
        with _lock:
            self._connection = _connect(self._ray, address, workers)
            self._connection.users += 1
        self.address: str = self._connection.address
        # A call takes so many CPUs that no more run at a time than were asked for; ray wants whole ones beyond one.
        self._cpus = max(1.0, float(self._ray.cluster_resources().get("CPU", 1.0)))
        share = 1.0 if workers is None else self._cpus / workers
        self._share = share if share <= 1 else float(math.ceil(share))

    @property
    def workers(self) -> tuple[int, int]:
        """Worker processes that run calls at a time, one in each."""
        return max(1, int(self._cpus / self._share + 1e-6)), 1

    def hosts(self) -> set[str]:
        """Where its workers are."""
        return {str(node["NodeManagerAddress"]) for node in self._ray.nodes() if node["Alive"]}

    @property
    def alive(self) -> bool:
        """Whether its ports answer."""
        return not self._connection.lost and bool(self._ray.is_initialized())

    def start(self, function: Callable[..., Any], *values: Any, urgency: int = 0, retries: int = 0) -> Any:
        """Start a call; ray knows no urgency, but begins a call again whose worker died."""
        del urgency
        if function not in self._functions:
            self._functions[function] = self._ray.remote(_ray_stop.stoppable(function))
        remote, note = self._functions[function], _ray_stop.new_note()
        with_terms = remote.options(num_cpus=self._share, max_retries=retries, name=function.__name__)
        return _ray_stop.Started(with_terms.remote(note, *values), note)

    def put(self, data: bytes) -> Any:
        """Put bytes into the object store."""
        return self._ray.put(data)

    def is_held(self, reference: Any) -> bool:
        """As long as we refer to them they are."""
        return reference is not None

    def wait(self, started: Any) -> Any:
        """Wait for a call, and look now and then whether the cluster still lives."""
        while True:
            # Before ray is asked: it would start a cluster if the program has ended its own.
            self.check()
            done, _rest = self._ray.wait([started.reference], timeout=_TURN)
            if done:
                return self._ray.get(started.reference)

    def when_done(self, started: Any, callback: Callable[[], None]) -> None:
        """Call back on a thread of ray's, or of ours if the cluster is lost."""
        connection = self._connection
        key = id(callback)
        connection.callbacks[key] = callback

        def done(_future: Any) -> None:
            if connection.callbacks.pop(key, None) is not None:
                callback()

        started.reference.future().add_done_callback(done)
        if connection.lost:
            done(None)

    def cancel(self, started: list[Any]) -> None:
        """Let calls that last get a `KeyboardInterrupt`, whether they have begun by now or begin later."""
        if not self._connection.ended.is_set():
            with contextlib.suppress(Exception):
                self._connection.unwanted.add(started)

    def spare(self) -> int:
        """Calls for which ray has cores: it counts those as free on which a call waits for others."""
        with contextlib.suppress(Exception):
            if self.alive:
                self._cpus = max(1.0, float(self._ray.cluster_resources().get("CPU", 1.0)))
                return int(float(self._ray.available_resources().get("CPU", 0.0)) / self._share + 1e-6)
        return 0

    def died_by(self, error: BaseException) -> str | None:
        """Name the worker, as far as ray does."""
        kinds = self._ray.exceptions
        # What ran out of memory was killed for it.
        if isinstance(error, kinds.WorkerCrashedError | kinds.NodeDiedError | kinds.OutOfMemoryError):
            return "process"
        return None

    def lost_by(self, error: BaseException) -> bool:
        """Whether an error is that of a connection which ended."""
        kinds = self._ray.exceptions
        return isinstance(error, kinds.RaySystemError | kinds.TaskCancelledError | ConnectionError)

    def _end(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is None:
            return
        with _lock:
            connection.users -= 1
            if not connection.users:
                _disconnect(self._ray, connection)


def _connect(ray: Any, address: str | None, workers: int | None) -> _Connection:
    """Share the program's connection, or make it."""
    global _connection  # noqa: PLW0603 - as ray has it
    if _connection is not None and _connection.lost:
        _disconnect(ray, _connection)
    if _connection is not None and ray.is_initialized():
        if address in (_connection.asked, _connection.address):
            return _connection
        _refuse(address, _connection.address)
    made = _Connection(address, ours=not ray.is_initialized())
    if made.ours:
        _launch(ray, workers) if address is None else _join(ray, address)
    made.address = _address(ray, address)
    if not made.ours and address not in (None, "auto", made.address):
        _refuse(address, made.address)
    made.ports = _ports(ray, made.address)
    threading.Thread(target=made.watch, args=(ray,), name="pointsman-ray-watch", daemon=True).start()
    _connection = made
    return made


def _refuse(asked: str | None, connected: str) -> None:
    wanted = "a local cluster" if asked is None else f"the cluster at {asked}"
    message = (
        f"this program is connected to the ray cluster at {connected}, and ray takes one at a time: close what uses "
        f"that before {wanted} is used"
    )
    raise InvalidArgumentError(message)


def _disconnect(ray: Any, connection: _Connection) -> None:
    global _connection  # noqa: PLW0603 - as ray has it
    # A cluster that is not ours has the calls for longer than we do.
    if not connection.ours and not connection.lost and all(_answers(*port) for port in connection.ports):
        with contextlib.suppress(Exception):
            connection.unwanted.leave()
    connection.ended.set()
    if _connection is connection:
        _connection = None
        if connection.ours:
            with _quiet(), contextlib.suppress(Exception):
                ray.shutdown()


def _join(ray: Any, address: str) -> None:
    """Connect to an existing cluster."""
    if address == "auto":
        address = _found(ray) or address
    host, port = _host_and_port(address)
    # By these names ray means the host's own address, unless it is told otherwise.
    here = host in ("127.0.0.1", "localhost", "::1")
    only_here = here and bool(port) and _answers(host, port)
    if port and not only_here and not _answers(ray.util.get_node_ip_address() if here else host, port):
        message = f"no ray cluster answers at {address}: nobody listens there"
        raise PoolBrokenError(message)
    try:
        with _quiet(), _loopback() if only_here else contextlib.nullcontext():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except ImportError as error:
        _forget(ray)
        message = f"to connect to {address} ray needs its client; install it with: pip install 'ray[client]'"
        raise MissingExtraError(message, name=error.name) from error
    except (OSError, TimeoutError, RuntimeError, ray.exceptions.RayError) as error:
        _forget(ray)
        # The last error of the chain knows why: nobody there, another version, a token that is missing.
        reason: BaseException = error
        while (deeper := reason.__cause__ or reason.__context__) is not None:
            reason = deeper
        message = f"ray cannot use the cluster at {address}: {error} ({str(reason)[:500]})"
        raise PoolBrokenError(message) from error


def _forget(ray: Any) -> None:
    """End what is left of a connection that failed: ray would take itself for the client of a server ever after."""
    with _quiet(), contextlib.suppress(Exception):
        ray.shutdown()
    with contextlib.suppress(Exception):
        mode: Any = import_module("ray._private.client_mode_hook")
        if not mode.is_client_mode_enabled_by_default:
            mode._explicitly_disable_client_mode()  # noqa: SLF001 - `shutdown` leaves it as it is


def _found(ray: Any) -> str | None:
    """The address that ray means by "auto", as it was written down: it may be one of the loopback."""
    with _quiet(), contextlib.suppress(Exception):
        return str(ray._private.services.get_ray_address_from_environment("auto", None))  # noqa: SLF001 - no other way
    return None


def _launch(ray: Any, workers: int | None) -> None:
    """Start a local cluster (R4)."""
    settings = {
        # Modules of the program are found where the program finds them.
        "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),  # noqa: PTH109
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with _quiet(), _loopback():
            ray.init(
                address="local",
                num_cpus=workers or max(1, round(facts().cores)),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
    except Exception as error:
        # What has started of it runs on otherwise, a hundred megabytes and more each time.
        _forget(ray)
        message = f"no local ray cluster can be started: {type(error).__name__}: {error}"
        raise PoolBrokenError(message) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _address(ray: Any, asked: str | None) -> str:
    """Where the cluster is: that of a client's server, else that of the head node."""
    if asked is not None and asked.startswith("ray://"):
        return asked
    return str(ray.get_runtime_context().gcs_address)


def _ports(ray: Any, address: str) -> list[tuple[str, int]]:
    """What must answer for the cluster to live: the head node, and the node that this program hangs on."""
    ports = [_host_and_port(address)]
    if not address.startswith("ray://"):
        own = ray.get_runtime_context().get_node_id()
        ports += [(node["NodeManagerAddress"], int(node["NodeManagerPort"])) for node in ray.nodes()
                  if node["NodeID"] == own and node.get("NodeManagerPort")]  # fmt: skip
    return [(host, port) for host, port in ports if port]


def _host_and_port(address: str) -> tuple[str, int]:
    """The host and the port in an address; port 0 if it names none."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else (address, 0)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _ANSWER).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let ray use the loopback address, as it does by default on macOS and Windows."""
    from ray._private import ray_constants

    clustered = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clustered


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let ray say nothing but errors meanwhile."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
