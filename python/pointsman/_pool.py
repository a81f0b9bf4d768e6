"""Worker processes: has them started, passes on what a worker must know, and ends them in time.

Does not know jobs, plans or futures. The native pool carries calls; this module only brings processes to life.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from _pickle import dumps
from io import TextIOWrapper

from pointsman import _authkey, _functions, _machine, _native, _zygote
from pointsman._ending import is_waited_for, was_interrupted
from pointsman._errors import InvalidArgumentError, PoolBrokenError
from pointsman._forks import at_fork
from pointsman._job import check_count, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Bytes of arguments on their way to workers beyond which `submit` waits for outcomes; an eighth of memory, if that is
# less. Arbitrary: more than any worker can be behind for, less than would hurt.
_MOST_WAITING = 1 << 30

# Seconds from which on the first worker of a pool has waited for more than its fork, which takes up to 4.9 ms
# (`benches/dispatch.py`, first result of a second pool).
_FORK = 5e-3
# Modules imported beforehand up to which a start is that of a bare worker. Arbitrary: they take some 7 ms.
_LIGHT = 15
# Bytes of an initializer and its arguments up to which the zygote keeps workers for the next pool with it. Arbitrary:
# more takes longer to compare and to keep than a fork does.
_EXPECTED = 1 << 20
# How many times what is known one start may be said to have taken. Arbitrary between 1.5 and 4.
_SLOWEST = 2.0

_alive: weakref.WeakSet[Processes] = weakref.WeakSet()
# Pools that are gone but for the calls that they still run.
# At the program's end the patient ones are waited for.
_lingering: list[tuple[_native.ProcessPool, bool]] = []
# Set by pytest before each test: no call of a program depends on it.
_SET_BY_OTHERS = ("PYTEST_CURRENT_TEST", b"PYTEST_CURRENT_TEST")


def make(processes: int, threads: int = 1, *, kind: str = "processes", **options: Any) -> Any:
    """Return a pool of worker processes: our own, or the standard library's where that cannot be; or of interpreters.

    The one place that chooses. POINTSMAN_PROCESSES=stdlib in the environment asks for the standard library's.
    """
    if kind == "interpreters":
        from pointsman._edition import INTERPRETERS, NO_INTERPRETERS

        if not INTERPRETERS:
            # A plan that was made by another Python, for one.
            raise InvalidArgumentError(NO_INTERPRETERS)
        from pointsman._interpreters import Interpreters

        return Interpreters(processes, **options)
    if is_standard():
        from pointsman._standard import StandardProcesses

        return StandardProcesses(processes, threads, **options)
    try:
        return Processes(processes, threads, **options)
    except (OSError, MemoryError) as why:
        raise _without_workers(processes, why) from why


def _without_workers(processes: int, why: BaseException) -> PoolBrokenError:
    return PoolBrokenError(
        f"{processes} worker processes cannot be started: {why}; ask for fewer with max_workers=, or raise what the "
        f"system allows this program (`ulimit -a` shows that)"
    )


def prepare(function: object, slim: set[str] | None = None) -> None:
    """Have started what takes a while to start, before a pool is made for calls of `function`.

    `slim` are the modules that it needs, where it may travel without its own.
    """
    if is_standard():
        return
    try:
        _register_hooks()
    except PoolBrokenError:
        # The program ends: nothing is started that nobody would end.
        return
    _zygote.prepare(function, slim)


def is_standard() -> bool:
    """Whether worker processes are those of the standard library."""
    wanted = os.environ.get("POINTSMAN_PROCESSES", "")
    if wanted not in ("", "native", "stdlib"):
        message = f"POINTSMAN_PROCESSES must be 'native' or 'stdlib', not {wanted!r}"
        raise InvalidArgumentError(message)
    return wanted == "stdlib" or (not wanted and sys.platform != "linux")


def check_limits(*, memory_limit: int | None, shared_memory: int | None, **_others: object) -> None:
    """Raise for limits that the pool which `make` would make cannot keep."""
    if is_standard():
        from pointsman._standard import check

        check(memory_limit=memory_limit, shared_memory=shared_memory)


def job(
    pool: Any,
    function: Callable[..., Any],
    *,
    star: bool,
    keep_going: bool,
    base: int,
    terms: _native.Terms | None,
    number: int = 0,
    ordered: bool = True,
    slim: bool = False,
) -> Any:
    """Return a job of many calls on a pool that `make` has made.

    With `slim`, the function may travel without its module where that means the same.
    """
    if isinstance(pool, Processes):
        return _native.ProcessJob(pool.native, function, star, keep_going, base, terms, number, ordered, slim)
    from pointsman import _standard
    from pointsman._standard_job import StandardJob

    _standard.refuse(terms)
    return StandardJob(pool, function, star=star, keep_going=keep_going, base=base, number=number, ordered=ordered)


class Processes:
    """A pool of worker processes.

    Parameters
    ----------
    processes
        Worker processes to start.
    threads
        Threads in each that run calls.
    initializer, initargs
        Called in each worker before its first call.
    patient
        At the program's end run the queued calls first.
    max_tasks, memory_limit
        Calls, and bytes of private memory, after which a worker makes room for a new one. For pools whose processes
        have one thread each.
    shared_memory
        Bytes that the pool may share with its workers; None for what the environment says, else no cap.

    """

    def __init__(
        self,
        processes: int,
        threads: int = 1,
        *,
        cores: float = 1.0,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        patient: bool = False,
        max_tasks: int | None = None,
        memory_limit: int | None = None,
        shared_memory: int | None = None,
        breaks: bool = False,
    ) -> None:
        self._lock = threading.Lock()
        self._collector: threading.Thread | None = None
        self._closed = False
        self._owner = os.getpid()
        self._patient = patient
        self.size = 0
        self.threads = threads
        this = weakref.ref(self)

        def start_collector() -> None:
            pool = this()
            if pool is not None:
                pool._start_collector()  # noqa: SLF001 - this class

        # First of all: it starts up while the rest is prepared here.
        began = time.perf_counter()
        socket = _zygote.connect()
        # Only the first pool of a zygote, made while that starts up, tells how long a first worker takes; not one whose
        # calls need imports beyond the standard library's, which the planner reckons for itself.
        self._head_start = _zygote.age()
        lanes = threads * max(processes, round(cores))
        try:
            self.native = _native.ProcessPool(
                start_collector,
                _zygote.connect,
                shared_memory or _cap(),
                lanes,
                min(_MOST_WAITING, _machine.facts().memory_limit // 8),
            )
        except BaseException:
            os.close(socket)
            raise
        self.native.set_zygote(socket)
        self._config = _launch_config(processes * threads, cores, initializer, initargs)
        self._config |= {"most_calls": max_tasks, "most_memory": memory_limit}
        self.native.set_launch_config(dumps(self._config, 5))
        if breaks:
            self.native.break_on_death()
        if initializer is not None:
            self.native.set_initializer(name_of(initializer))
        _register_hooks()
        # Before there are workers: not all may come to be.
        self._finalizer = weakref.finalize(self, _let_go, self.native, kill=not patient, patient=patient)
        self._finalizer.atexit = False
        _alive.add(self)
        self._prepared = time.perf_counter() - began
        _flush()
        try:
            self.grow(processes)
        except BaseException:
            # Those that were started hold what the next pool may need.
            self._stop(wait=True, cancel=True, kill=True)
            raise

    @property
    def workers(self) -> int:
        """Workers that are alive."""
        return len(self.native.pids())

    @property
    def closed(self) -> bool:
        """Whether the pool takes no more calls."""
        return self._closed

    def grow(self, processes: int) -> None:
        """Start workers until there are this many."""
        with self._lock:
            while self.size < processes:
                try:
                    self.native.add_process(self.threads)
                except (OSError, MemoryError) as why:
                    raise _without_workers(processes, why) from why
                self.size += 1

    def _start_collector(self) -> None:
        with self._lock:
            if self._collector is not None or self._closed:
                return
            native, this = self.native, weakref.ref(self)

            def collect() -> None:
                while (pool := this()) is not None and not pool._closed:  # noqa: SLF001 - this class
                    del pool
                    native.collect(0.2)
                # What a closed pool still runs is waited for, too.
                while not native.join(0.0):
                    native.collect(0.2)
                native.collect(0.0)

            self._collector = threading.Thread(target=collect, name="pointsman-collector", daemon=True)
            self._collector.start()

    def outlast(self) -> None:
        """Take calls as long as anybody holds this pool, which another has replaced, and then end after the last."""
        # It serves whoever waits for one of these calls, also when nobody holds the pool any more.
        self._start_collector()
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _let_go, self.native, kill=False, patient=self._patient)
        self._finalizer.atexit = False

    def end(self) -> None:
        """End with the program, and remember how long the start took."""
        start_up = self.native.start_up()
        # What else is imported for the calls the planner reckons for itself.
        light = _functions.weight() <= _LIGHT
        if start_up is not None and light and start_up > max(_FORK, self._head_start / 2):
            known = _machine.constants().get("process_first")
            usual = known.value if known is not None else _native.Machine(cores=1.0).constants["process_first"][0]
            # A start on a loaded machine tells of the load.
            _machine.record("process_first", min(_SLOWEST * usual, self._head_start + self._prepared + start_up))
        # After a Ctrl-C nobody waits for the calls that are queued.
        self._stop(wait=True, cancel=False, kill=was_interrupted() or not self._patient)

    def shutdown(self, *, wait: bool = True, cancel: bool = False, kill: bool = False) -> None:
        """End the workers after the queued calls; with `cancel` these are cancelled, with `kill` all end now."""
        if self._owner != os.getpid():
            return
        self._stop(wait=wait, cancel=cancel, kill=kill)
        if wait and len(self._config["initializer"] or b"") <= _EXPECTED:
            # Who opens one pool after another opens them alike, and the cores are free now.
            config = self._config | {"preload": _preload(self._config["blas_threads"])}
            _zygote.expect(dumps(config, 5), self.size)

    def _stop(self, *, wait: bool, cancel: bool, kill: bool) -> None:
        if cancel:
            self.native.cancel_all()
        self.native.shutdown(kill)
        if wait:
            self.native.join(None)
        self._closed = True
        collector = self._collector
        if wait and collector is not None and collector is not threading.current_thread():
            collector.join()
        self._finalizer.detach()


def _flush() -> None:
    """Have what the program has printed stand before what its workers print."""
    # Any other thread might do that between a line's text and its end.
    if threading.current_thread() is not threading.main_thread():
        return
    for stream in (sys.__stdout__, sys.__stderr__):
        if type(stream) is TextIOWrapper:
            try:
                stream.flush()
            except (OSError, ValueError):
                # It is closed, or nobody reads it any more: the program will hear of that where it prints.
                continue


def outlast(pool: Any) -> None:
    """Let a pool that `make` has made, and that another replaces, end when nobody uses it any more."""
    # The standard library's do so by themselves.
    if isinstance(pool, Processes):
        pool.outlast()


def _let_go(
    native: _native.ProcessPool,
    *,
    kill: bool,
    patient: bool,
    # Bound here: a pool that was made at exit may outlive the names of this module.
    lingering: list[tuple[_native.ProcessPool, bool]] = _lingering,
) -> None:
    """End a pool that nobody holds any more; one with calls to run is kept until they have been run."""
    native.shutdown(kill)
    lingering[:] = [(pool, waits) for pool, waits in lingering if not pool.join(0.0)]
    if not native.join(0.0):
        lingering.append((native, patient))


def surroundings() -> tuple[Any, ...]:
    """What workers take over from the program when they start, as far as calls may depend on it."""
    # As the system has it, where that can be had: to decode it takes 30 us.
    environment: dict[Any, str | bytes] = dict(getattr(os.environ, "_data", os.environ))
    for name in _SET_BY_OTHERS:
        environment.pop(name, None)
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    # Proxies of managers are of use in workers that have the key. Others do not ask for it.
    key = _authkey.given() if "multiprocessing.managers" in sys.modules else None
    return _directory(), environment, tuple(sys.path), limits, time.tzname, key, _zygote.outputs()


def _launch_config(
    lanes: int, cores: float, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> dict[str, Any]:
    from pointsman._transport import dumps_anyway

    blas_threads = max(1, int(cores // max(1, lanes)))
    filters = sys.modules["warnings"].filters if "warnings" in sys.modules else []
    return {
        "program": os.getpid(),
        "path": list(sys.path),
        "directory": _directory(),
        "environ": dict(os.environ),
        "argv": list(sys.argv),
        "recursion_limit": sys.getrecursionlimit(),
        "most_digits": sys.get_int_max_str_digits(),
        "umask": _umask(),
        "zone": (time.tzname, time.timezone, time.altzone),
        "authkey": _authkey.given(),
        "preload": _preload(blas_threads),
        "blas_threads": blas_threads,
        "cores": max(1.0, cores / max(1, lanes)),
        # Packed apart: reading them may import what only the path above can find.
        "initializer": dumps_anyway((initializer, initargs)) if initializer is not None else None,
        "warnings": [packed for packed in map(_packed, filters) if packed is not None],
    }


def _preload(blas_threads: int) -> list[str]:
    """Name the modules that the zygote imports once for all workers."""
    # Where this program has needed cloudpickle its workers will.
    modules = ["cloudpickle"] if "cloudpickle" in sys.modules else []
    # An import that starts the threads of a BLAS must be left to the workers.
    return modules + _functions.needed if blas_threads == 1 else modules


def _cap() -> int | None:
    """Read the cap on shared memory that the environment sets, in bytes."""
    text = os.environ.get("POINTSMAN_SHARED_MEMORY", "")
    if not text:
        return None
    try:
        return check_count("POINTSMAN_SHARED_MEMORY", int(text))
    except ValueError:
        message = f"POINTSMAN_SHARED_MEMORY must be a positive number of bytes, not {text!r}"
        raise InvalidArgumentError(message) from None


def _packed(filter_: object) -> bytes | None:
    try:
        return bytes(dumps(filter_, 5))
    except Exception:  # noqa: BLE001 - a filter whose category cannot travel is of no use over there
        return None


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is dear to import
    except OSError:
        return "/"


def _umask() -> int | None:
    """Read the mask of new files' rights. `os.umask` sets it to read it, which other threads would notice."""
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - pathlib is dear to import
            return next((int(line[6:], 8) for line in file if line.startswith(b"Umask:")), None)
    except OSError:
        return None


_hooked = False


def _register_hooks() -> None:
    global _hooked  # noqa: PLW0603 - once per process
    if _hooked:
        return
    _hooked = True
    at_fork(_forget)
    atexit.register(_native.interpreter_ends)
    # Runs before the interpreter waits for its threads, so that none of ours meets a finalizing interpreter.
    try:
        threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - what concurrent.futures uses, too
    except RuntimeError:
        if not is_waited_for():
            _hooked = False
            message = "no worker process can be started any more: the program is ending (interpreter shutdown)"
            raise PoolBrokenError(message) from None
        atexit.register(_end_all)


def _forget() -> None:
    """In a forked child: the workers belong to the parent."""
    for pool in list(_alive):
        pool.native.disown()
        pool._closed = True  # noqa: SLF001 - this module
    for native, _patient in _lingering:
        native.disown()
    _alive.clear()
    _lingering.clear()
    _zygote.forget()


def _end_all() -> None:
    for pool in list(_alive):
        pool.end()
    for native, patient in _lingering:
        if not patient:
            native.shutdown(kill=True)
        native.join(None)
    _zygote.end()
    _machine.flush()
