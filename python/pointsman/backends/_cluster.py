"""What all clusters have in common: a connection, lanes, calls on their way, and values that are sent once.

Does not know any engine (`dask.py` and `ray.py` beside this do), nor jobs or plans.

Invariants:
    D1. What we started we end: a local cluster ends with its last user, and with the program.
    D2. Nothing waits for a cluster that is gone: its loss is an error that names its address.
    D3. A large value is sent once, as long as it has the same content.
    D4. What travels is bytes that we pickled: an engine neither searches nor copies the objects of the program.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from concurrent.futures import CancelledError
from hashlib import blake2b
from sys import getsizeof
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from pointsman._errors import InvalidArgumentError, PoolBrokenError, WorkerDied
from pointsman._transport import dumps_anyway
from pointsman.backends._cluster_worker import Held, Outcome, echo

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds that an engine has to answer, and its workers to report.
PATIENCE = 30.0
# Bytes from which a value is sent by itself and kept: below it, one more message costs more than the bytes. Arbitrary
# between 50 and 500 kB.
LARGE = 100_000
# Bytes of a chunk's inputs from which they go to the workers by themselves, past the scheduler.
_MOST_SENT = 4 << 20
# Values sent that are remembered.
_MOST_KEPT = 32
# Bytes that are sent there and back to measure how fast they go. Arbitrary: far more than a message's own cost, and
# sent in some tens of milliseconds.
_PROBE_BYTES = 4 << 20
# Small calls of which the fastest tells what a dispatch costs.
_PROBES = 5


class Cluster(ABC):
    """A connection to a cluster, and the local cluster behind it if it is ours.

    Parameters
    ----------
    address
        Of an existing cluster; None starts a local one.
    workers
        Workers of a local cluster; None for one per core.

    Raises
    ------
    InvalidArgumentError
        For `workers` of a cluster that has its own.
    PoolBrokenError
        If nobody answers at the address.

    """

    kind: ClassVar[str]
    # Whether the engine runs urgent calls before others.
    has_priorities: ClassVar[bool]
    # Whether the engine begins a call again whose worker died, as often as it is told to.
    has_retries: ClassVar[bool]
    # Whether it takes back a call that waits. Else an executor hands over few at a time, and keeps the others.
    takes_back: ClassVar[bool]

    address: str
    # Whether it was started here, and ends with its last user.
    is_local: bool

    def __init__(self, address: str | None, workers: int | None) -> None:
        if address is not None and workers is not None:
            message = f"the cluster at {address} has workers of its own: leave max_workers out"
            raise InvalidArgumentError(message)
        self.closed: bool = False
        self.sent: Sent = Sent(self)
        self._facts: Facts | None = None
        # Once more, since hooks run in reverse: before those of the engine, which has been imported by now.
        atexit.register(close_shared)

    @property
    @abstractmethod
    def workers(self) -> tuple[int, int]:
        """Worker processes, and the calls that each of them runs at a time."""

    @property
    def lanes(self) -> int:
        """Calls that the cluster's workers run at a time."""
        processes, threads = self.workers
        return max(1, processes * threads)

    @abstractmethod
    def hosts(self) -> set[str]:
        """Where its workers are."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can be reached, as far as is known."""

    @abstractmethod
    def start(self, function: Callable[..., Any], *values: Any, urgency: int = 0, retries: int = 0) -> Any:
        """Start a call; returns what the engine has for it. Values that `put` gave arrive as what they stand for."""

    @abstractmethod
    def put(self, data: bytes) -> Any:
        """Send bytes to the cluster; returns what stands for them in a call."""

    @abstractmethod
    def is_held(self, reference: Any) -> bool:
        """Whether the cluster still has what `put` sent."""

    @abstractmethod
    def wait(self, started: Any) -> Any:
        """Return what a call returned, or raise the engine's error; never for longer than the cluster lives."""

    @abstractmethod
    def when_done(self, started: Any, callback: Callable[[], None]) -> None:
        """Call back once a call is done, or the cluster is lost; perhaps on a thread of the engine, perhaps twice."""

    @abstractmethod
    def cancel(self, started: list[Any]) -> None:
        """Let calls not begin that wait, or see to it that they do not last, as the engine can. Returns at once."""

    def spare(self) -> int:
        """Calls that the engine would begin at once, as far as it says."""
        return 0

    @abstractmethod
    def died_by(self, error: BaseException) -> str | None:
        """Name the worker with whose death an error of the engine says that a call ended; None for other errors."""

    @abstractmethod
    def lost_by(self, error: BaseException) -> bool:
        """Whether an error of the engine says that the cluster is gone."""

    @abstractmethod
    def _end(self) -> None:
        """End the connection, and a local cluster."""

    def check(self) -> None:
        """Raise if the cluster is gone."""
        if self.closed or not self.alive:
            raise self.lost()

    def lost(self) -> PoolBrokenError:
        """The error of a call whose cluster is gone."""
        return PoolBrokenError(f"the {self.kind} cluster at {self.address} is gone, and with it the calls that it held")

    def close(self) -> None:
        """End the connection, and the local cluster if there is one."""
        if not self.closed:
            self.closed = True
            self._end()

    def translate(self, error: BaseException, name: str) -> BaseException:
        """What the caller sees of an error of the engine."""
        told: BaseException = error
        worker = self.died_by(error)
        if worker is not None:
            message = (
                f"the {self.kind} worker {worker} died while it ran a call of {name} "
                f"(cluster at {self.address}); other calls go on"
            )
            told = WorkerDied(message, "unknown", 0, 0, name, None)
        elif self.lost_by(error):
            told = self.lost()
        elif isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "pointsman":
            message = (
                f"the workers of the {self.kind} cluster at {self.address} have no pointsman, which runs the calls "
                f"there; install it on them: pip install pointsman"
            )
            told = PoolBrokenError(message)
        if told is not error:
            told.__cause__ = error
        return told

    def outcome(self, started: Any, name: str) -> Outcome:
        """What became of calls that `serve` runs; raises, in our words, what kept them from running."""
        try:
            outcome: Outcome = self.wait(started)
        except BaseException as error:
            if not isinstance(error, Exception | CancelledError):
                raise
            why = self.translate(error, name)
            if why is error:
                raise
            raise why from error
        return outcome

    def facts(self) -> Facts:
        """What its calls cost, measured at first; takes some tens of milliseconds then."""
        if self._facts is None:
            dispatch = self.dispatch()
            data = os.urandom(_PROBE_BYTES)
            began = perf_counter()
            self._ask(echo, data)
            took = max(perf_counter() - began - dispatch, 1e-6)
            here = all(_is_here(host) for host in self.hosts())
            self._facts = Facts(self.kind, self.workers, dispatch, 2 * _PROBE_BYTES / took, here=here)
        return self._facts

    def dispatch(self) -> float:
        """Seconds that one small call takes there and back."""
        costs = []
        for _ in range(_PROBES):
            began = perf_counter()
            self._ask(echo, b"")
            costs.append(perf_counter() - began)
        return min(costs)

    def _ask(self, function: Callable[..., Any], *values: Any) -> Any:
        self.check()
        try:
            return self.wait(self.start(function, *values))
        except BaseException as error:
            why = self.translate(error, function.__name__)
            if why is error:
                raise
            raise why from error


class Facts:
    """What the planner needs to know of a cluster.

    Attributes
    ----------
    kind, processes, threads
        The engine, its worker processes, and the calls that each runs at a time.
    here
        Whether all workers share the cores of this host.
    dispatch, bytes_per_second
        Seconds that an empty chunk takes there and back, and how fast its bytes travel.

    """

    def __init__(
        self, kind: str, size: tuple[int, int], dispatch: float, bytes_per_second: float, *, here: bool
    ) -> None:
        self.kind: str = kind
        self.processes: int = size[0]
        self.threads: int = size[1]
        self.here: bool = here
        self.dispatch: float = dispatch
        self.bytes_per_second: float = bytes_per_second

    def told(self) -> tuple[str, int, int, bool, float, float]:
        """The same as the native planner takes it."""
        return self.kind, self.processes, self.threads, self.here, self.dispatch, self.bytes_per_second


def _is_here(host: str) -> bool:
    """Whether an address is one of this host's own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Only one's own addresses can be bound to.
            probe.bind((host, 0))
    except OSError:
        return False
    return True


class Sent:
    """Large values that a cluster has, by content."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()
        # How many were sent.
        self.count: int = 0

    def function(self, function: Callable[..., Any]) -> tuple[str, Any]:
        """The key of a function, and its bytes or what stands for them."""
        data = dumps_anyway(function)
        key = _digest(data)
        return key, data if len(data) < LARGE else self._put(key, data)

    def calls(self, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> tuple[Any, list[Any]]:
        """Pack the arguments of calls; returns their bytes (or what stands for them), and what goes beside them."""
        large: list[Any] = []
        known: dict[int, Held] = {}

        def light(value: Any) -> Any:
            if _size(value) < LARGE:
                return value
            # Objects of this list live until it is packed, so an identity tells them apart.
            if id(value) not in known:
                data = dumps_anyway(value)
                large.append(self._put(_digest(data), data))
                known[id(value)] = Held(len(large) - 1)
            return known[id(value)]

        packed = dumps_anyway(
            [
                (tuple(map(light, args)), {name: light(value) for name, value in kwargs.items()})
                for args, kwargs in calls
            ]
        )
        return packed if len(packed) < _MOST_SENT else self._cluster.put(packed), large

    def _put(self, key: str, data: bytes) -> Any:
        with self._lock:
            held = self._kept.get(key)
            if held is None or not self._cluster.is_held(held):
                held = self._kept[key] = self._cluster.put(data)
                self.count += 1
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return held


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=20).hexdigest()


def _size(value: Any) -> int:
    """Bytes of a value, roughly; what hides them travels with its calls."""
    try:
        size: Any = getattr(value, "nbytes", 0)
        return max(getsizeof(value, 0), size if type(size) is int else 0)
    except Exception:  # noqa: BLE001 - asking runs the user's code
        return 0


def unpack(outcome: Outcome, name: str, base: int | None) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Results of calls, and what was raised by place; `base` is the index of the first call in its job."""
    from pickle import loads

    from pointsman._outcome import unpack_exception, unreadable_result

    failures = [
        (place, unpack_exception(packed, name, None if base is None else base + place))
        for place, packed in outcome.failures
    ]
    try:
        results = loads(outcome.packed) if outcome.packed else []  # noqa: S301 - of workers of this program's calls
    except BaseException as why:  # noqa: BLE001 - unpickling runs the user's code
        return [], [(0, unreadable_result(why, name, base))]
    return results, failures


def make(kind: str, address: str | None, workers: int | None) -> Cluster:
    """Connect to a cluster, or start one."""
    if kind == "ray":
        from pointsman.backends.ray import RayCluster

        return RayCluster(address, workers)
    from pointsman.backends.dask import DaskCluster

    return DaskCluster(address, workers)


# The cluster that `pointsman.cluster` named, which `auto` may choose; of this process.
_named: tuple[int, Cluster] | None = None


def name(cluster: Cluster | None) -> None:
    """Let `auto` count a cluster as a candidate from now on; None for none."""
    global _named  # noqa: PLW0603 - one for the program
    _named = None if cluster is None else (os.getpid(), cluster)


def named() -> Cluster | None:
    """The cluster that `auto` may choose, while it can be reached."""
    if _named is None or _named[0] != os.getpid() or _named[1].closed or not _named[1].alive:
        return None
    return _named[1]


def of_job(kind: str, address: str | None, workers: int | None, *, chosen: bool) -> Cluster:
    """The cluster for a job; `chosen` by a plan, rather than asked for."""
    mine = _named[1] if _named is not None and _named[0] == os.getpid() and _named[1].kind == kind else None
    if mine is not None and (chosen or (address is None and workers is None)):
        mine.check()
        return mine
    return shared(kind, address, workers)


# One for each kind and address (or local worker count) that jobs have asked for, kept until the program ends.
_shared: dict[tuple[int, str, str | None, int | None], Cluster] = {}
_lock = threading.Lock()


def shared(kind: str, address: str | None, workers: int | None) -> Cluster:
    """The program's cluster for what is asked for; a lost one is replaced."""
    key = (os.getpid(), kind, address, workers)
    with _lock:
        cluster = _shared.get(key)
        if cluster is not None and (cluster.closed or not cluster.alive):
            cluster.close()
            cluster = None
        if cluster is None:
            cluster = _shared[key] = make(kind, address, workers)
        return cluster


def close_shared() -> None:
    """End the clusters that jobs have used. The next job that asks for one starts it."""
    with _lock:
        clusters = [cluster for (owner, *_), cluster in _shared.items() if owner == os.getpid()]
        _shared.clear()
    for cluster in clusters:
        cluster.close()
