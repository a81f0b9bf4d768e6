"""The programs of the zygote and of the worker processes that it forks.

Does not know the pool, backends or the planner. The zygote is started clean (never a fork of the user's process) and
stays single-threaded, so that forking it is safe; a worker serves its lanes until the pool closes.
"""

from __future__ import annotations

# Every millisecond here comes before a program's first result: `_signal` is `signal` without enums, and there is no
# `contextlib`.
# ruff: noqa: S110, SIM105
import _signal  # type: ignore[import-not-found]
import _thread
import os
import sys
from _pickle import dumps, loads

from pointsman import _introducing, _native, _streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

# Exit code of a worker whose initializer raised; the native pool knows it too.
INITIALIZER_RAISED = 81
# Exit code of a worker that makes room for a new one; the native pool knows it, too.
RECYCLED = 82

# The file of the import system's code, and its callbacks of weak references: `remove` since CPython 3.12.
_IMPORTING, _CALLBACKS = "<frozen importlib._bootstrap>", ("cb", "remove")

_BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def zygote(socket: int, parent: int, needed: list[str], path: list[str], flags: dict[str, int]) -> None:
    """Fork a worker for each request until the parent has gone. `socket` and `parent` are descriptors.

    Some requests are for spares: workers that wait to be given to a pool.

    The modules that are needed are imported first, from `path`; `flags` are the program's that this process has not.
    """
    # What every worker needs is imported before the first is forked.
    import gc
    import warnings  # noqa: F401

    import pointsman._functions  # noqa: F401
    from pointsman import _initialized

    _initialized.begin(vars(sys.modules["__main__"]))
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    # Blocked at the start, so that none could end this process before the line above.
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
    _streams.share()
    if sys.flags.no_site:
        _add_builtins()
    if sys.version_info < _WRITES_FLAGS:
        sys.flags = _Flags(flags)  # type: ignore[assignment]
    server = _native.ZygoteServer(socket, parent)
    _prepare({"path": path, "preload": needed})
    packed, config = b"", {}
    while (request := server.next()) is not None:
        try:
            if request.config != packed:
                packed, config = b"", loads(request.config)
                _prepare(config)
                _set_environment(config)
                _look_at_warnings(config)
                _set_process(config)
                # What is here now lives on: workers need not look at it, which would copy its pages.
                gc.freeze()
                packed = request.config
            # Each object touched from here on is a page to copy, there and here: with the lines above a fork took twice
            # as long.
            pid = os.fork()
        except Exception as error:  # noqa: BLE001 - the pool is told why, and the next request may fare better
            server.failed(request, f"{type(error).__name__}: {error}")
            continue
        if pid == 0:
            code = 1
            # The zygote's end of the socket is not this process's.
            del server
            try:
                if request.is_spare:
                    _warm_up()
                descriptors = request.adopt()
                code = _serve(descriptors, config) if descriptors is not None else 0
            except BaseException:  # noqa: BLE001 - the last frame of a process
                import traceback

                traceback.print_exc()
            finally:
                _flush()
                os._exit(code)
        try:
            server.launched(request, pid)
        except OSError:
            # The pool that asked has gone meanwhile, and with it what the worker would do; others want more of them.
            continue


# From this version on Python writes to the object itself (`sys.set_int_max_str_digits`), which must then be its own.
_WRITES_FLAGS = (3, 14)


class _Flags(tuple):  # type: ignore[type-arg]  # noqa: SLOT001 - its names are in its dictionary
    """`sys.flags` with some of them set otherwise: Python lets nobody make another.

    What calls start (loky, multiprocessing) is given the flags that are seen here. Those of this process only make it
    start sooner, and would leave that without what is installed.
    """

    def __new__(cls, other: dict[str, int]) -> _Flags:  # noqa: PYI034 - `typing` is dear to import
        real = sys.flags
        values = {name: getattr(real, name) for name in dir(real) if not hasattr(tuple, name)} | other
        made = super().__new__(cls, [values[name] for name in real.__match_args__])
        made.__dict__.update(values)
        return made

    def __repr__(self) -> str:
        named = zip(self.__dict__["__match_args__"], self, strict=True)
        return f"sys.flags({', '.join(f'{name}={value!r}' for name, value in named)})"


def _add_builtins() -> None:
    """Have `exit`, `help` and their like, which the site module gives to programs, and nothing else of it."""
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()


def _prepare(config: dict[str, Any]) -> None:
    """Import in the zygote what every worker would import by itself."""
    sys.path[:] = config["path"]
    news = [name for name in config["preload"] if name not in sys.modules]
    if not news:
        return
    for name in _BLAS_VARIABLES:
        os.environ[name] = "1"
    for name in news:
        try:
            __import__(name)
        except Exception:  # noqa: BLE001 - a worker that needs it and cannot have it will report that
            pass


def _set_environment(config: dict[str, Any]) -> None:
    """Have the environment that the workers of this pool are to have; mostly it is there already."""
    wanted: dict[str, str] = dict.fromkeys(_BLAS_VARIABLES, str(config["blas_threads"]))
    wanted["LOKY_MAX_CPU_COUNT"] = str(max(1, int(config["cores"])))
    wanted |= config["environ"]
    # What runs in there has its process's share of the cores, for pools of its own as well.
    wanted["POINTSMAN_CORES"] = str(config["cores"])
    present = dict(os.environ)
    for name in present.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if present.get(name) != value:
            os.environ[name] = value


def _set_process(config: dict[str, Any]) -> None:
    """Have what else of a process the calls may see, once the environment is there."""
    import time

    sys.setrecursionlimit(config["recursion_limit"])
    sys.set_int_max_str_digits(config["most_digits"])
    if config["umask"] is not None:
        os.umask(config["umask"])
    if (time.tzname, time.timezone, time.altzone) != config["zone"]:
        time.tzset()
    if config["authkey"] is not None:
        from pointsman import _authkey

        _authkey.take(config["authkey"])


def _look_at_warnings(config: dict[str, Any]) -> None:
    """Leave the filters alone that are as they shall be: mostly all are, and each worker would have to read them."""
    import warnings

    try:
        if [dumps(one, 5) for one in warnings.filters] == config["warnings"]:
            config["warnings"] = None
    except Exception:  # noqa: BLE001 - a worker will see to them
        return


def _warm_up() -> None:
    """Go through what a first call goes through: the pages that this touches are copied before anybody waits."""
    for module in ("_pointsman_looks_for_no_module", "pointsman._looks_for_no_module"):
        try:
            __import__(module)
        except ImportError:
            pass


def _serve(descriptors: tuple[int, list[int], int], config: dict[str, Any]) -> int:
    """Be a worker process: serve every lane, the first on the main thread. Returns the exit code."""
    host, own, parent = descriptors
    try:
        os.chdir(config["directory"])
    except OSError:
        # It may have gone since; relative paths will say so themselves.
        pass
    sys.argv = config["argv"]
    if config["warnings"] is not None:
        _set_warnings(config["warnings"])
    _native.watch_parent(parent)
    _introducing.introduce(config["program"])
    lanes = _native.open_lanes(host, own)
    if config["initializer"] is not None:
        from pointsman import _initialized

        try:
            _initialized.run(config["initializer"])
        except BaseException:  # noqa: BLE001 - whatever it is, this worker cannot be used
            import traceback

            traceback.print_exc()
            _flush()
            os._exit(INITIALIZER_RAISED)
    # Until here a Ctrl-C is ignored, as in the zygote: there is no call that it could end.
    _signal.signal(_signal.SIGINT, _interrupt)
    lanes[0].ready()
    others = []
    if len(lanes) > 1:
        import threading

        others = [
            threading.Thread(target=lane.serve, name=f"pointsman-lane-{n}", daemon=True)
            for n, lane in enumerate(lanes[1:], 1)
        ]
        for thread in others:
            thread.start()
    closed = lanes[0].serve(config["most_calls"], config["most_memory"])
    for thread in others:
        thread.join()
    if closed:
        _finish()
    return 0 if closed else RECYCLED


def _finish() -> None:
    """Let end what the calls have left running, in the order in which an interpreter does that.

    Processes that nobody has told to end are not waited for, as multiprocessing would: they may be those of a pool.
    """
    if (threading := sys.modules.get("threading")) is not None:
        threading._shutdown()  # noqa: SLF001 - what the interpreter calls
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        # Those with a priority, as the ends of pools, before their processes are gone.
        util._run_finalizers(0)  # noqa: SLF001 - what multiprocessing calls
        for child in sys.modules["multiprocessing.process"].active_children():
            if child.daemon:
                child.terminate()
        util._run_finalizers()  # noqa: SLF001 - as above


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    """On Ctrl-C end the call that runs, if one does, and nothing else."""
    if frame is None or frame.f_code.co_filename == __file__:
        return
    if frame.f_code.co_filename == _IMPORTING and frame.f_code.co_name in _CALLBACKS:
        # What these raise is printed, and ends nothing. They are over in a moment.
        _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
        return
    raise KeyboardInterrupt


def _interrupt_soon(thread: int) -> None:
    import time

    time.sleep(0.001)
    # To the thread itself: what it waits for in C has to end, too.
    _signal.pthread_kill(thread, _signal.SIGINT)


def _set_warnings(packed: list[bytes]) -> None:
    import warnings

    filters = []
    for one in packed:
        try:
            filters.append(loads(one))
        except Exception:  # noqa: BLE001 - a category that cannot be imported warns of nothing here
            pass
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001 - filters were set from outside


def _flush() -> None:
    if "logging" in sys.modules:
        sys.modules["logging"].shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 - a closed stream has nothing to flush
            pass
