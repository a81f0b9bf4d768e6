"""The zygote: one clean process for the whole program, which forks workers for every pool.

Does not know pools or workers; it starts the process, connects pools with it, and collects it at the end.

Invariants:
    Z1. The process is spawned, never forked from this one, so nothing of the program's threads or locks is in it.
    Z2. It has one thread: it imports only what is known to start none.
    Z3. SIGINT is blocked from its birth until it ignores it, so that a Ctrl-C never ends it.
"""

from __future__ import annotations

import os
import sys
import threading
from _signal import SIGINT, SIGKILL  # type: ignore[import-not-found]
from time import perf_counter, sleep

from pointsman import _functions, _native
from pointsman._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Finders that do not change what can be imported from `sys.path`; any other means that the site module set one up
# (an editable install, for example), and then workers must run it too.
_PLAIN_FINDERS = frozenset(
    {
        "BuiltinImporter",
        "FrozenImporter",
        "PathFinder",
        "_SixMetaPathImporter",
        "DistutilsMetaFinder",
        "AssertionRewritingHook",
        "KeyGiver",
        "Teller",
    }
)
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is dear to import

# Seconds that the program's end waits for the zygote's. Arbitrary: it takes a millisecond or two.
_BURIAL = 0.05


class _Zygote(NamedTuple):
    pid: int
    registrar: _native.ZygoteRegistrar
    has_site: bool
    began: float
    # Where its output goes, and so that of its workers.
    outputs: tuple[Any, ...]


_lock = threading.Lock()
_zygote: _Zygote | None = None
# Whether a pool has asked for workers.
_asked = False
# Zygotes whose exit status has not been collected.
_pids: set[int] = set()


def connect() -> int:
    """Return a socket on which a pool can ask for workers; the zygote is started if there is none."""
    global _zygote, _asked  # noqa: PLW0603 - one for the program
    with _lock:
        _asked = True
        site = _needs_site()
        if _zygote is not None and (_zygote.has_site or not site) and _zygote.outputs == outputs():
            try:
                return _zygote.registrar.join()
            except OSError:
                # It has died, by whatever hand.
                pass
        _collect()
        _zygote = _start(site=site)
        return _zygote.registrar.join()


def prepare(function: object, slim: set[str] | None) -> None:
    """Have a zygote started, if there is none, and remember what calls of `function` need.

    `slim` are the modules that this is, where the function may travel without its own.

    It takes a while to boot and to import what the calls need, and costs this thread a millisecond.
    """
    global _zygote  # noqa: PLW0603 - one for the program
    with _lock:
        # What the function's module imports can be there before the first worker is.
        if slim is None:
            _functions.note(_functions.home(function))
        for module in slim or ():
            _functions.note_module(module)
        if _zygote is None:
            _zygote = _start(site=_needs_site())


def expect(config: bytes, processes: int) -> None:
    """Have workers forked for the next pool, which will most likely be configured like this; they wait some seconds."""
    with _lock:
        if _zygote is not None:
            try:  # noqa: SIM105 - contextlib is dear to import
                _zygote.registrar.expect(config, processes)
            except OSError:
                # They are forked when they are asked for.
                pass


def age() -> float:
    """Seconds since the zygote was started; 0 if there is none."""
    return perf_counter() - _zygote.began if _zygote is not None else 0.0


def end() -> None:
    """Let the zygote go, and collect its exit status."""
    global _zygote  # noqa: PLW0603 - one for the program
    with _lock:
        if not _asked:
            # Nothing hangs on it; and while it imports what calls would have needed, it hears of nothing.
            _kill_idle()
        _zygote = None
        _collect(_BURIAL)


def _kill_idle() -> None:
    _collect()
    # Those that are left are children of this process: no other has their numbers.
    for pid in _pids:
        os.kill(pid, SIGKILL)


def forget() -> None:
    """In a forked child: the zygote belongs to the parent."""
    global _lock, _zygote, _asked  # noqa: PLW0603 - one for the program
    _lock = threading.Lock()
    _zygote, _asked = None, False
    _pids.clear()


def outputs() -> tuple[Any, ...]:
    """Say to which files or pipes this process's standard output and error go: it may turn them elsewhere."""
    found: list[Any] = []
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _needs_site() -> bool:
    return any(
        type(finder).__name__ not in _PLAIN_FINDERS and getattr(finder, "__name__", "") not in _PLAIN_FINDERS
        for finder in sys.meta_path
    )


def _collect(patience: float = 0.0) -> None:
    """Collect the exit status of zygotes that have ended, waiting `patience` seconds for the others at most."""
    deadline = perf_counter() + patience
    for pid in list(_pids):
        while True:
            try:
                gone, _status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                # The program collects its children itself.
                gone = pid
            if gone:
                _pids.discard(pid)
            if gone or perf_counter() > deadline:
                break
            sleep(0.001)


def _start(*, site: bool) -> _Zygote:
    ours, theirs, parent = _native.zygote_descriptors()
    command = [sys.executable, "-P"]
    if not site:
        command.append("-S")
    command += ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    # It imports what workers need, and not what programs do.
    command += ["-X", "pointsman_worker"]
    command += ["-X", "utf8"] if sys.flags.utf8_mode else []
    # In a virtual environment it is the site module that sets these.
    prefixes = f"sys.prefix, sys.exec_prefix = {sys.prefix!r}, {sys.exec_prefix!r}"
    path = f"sys.path.insert(0, {_PACKAGE_PARENT!r})"
    flags = {"no_site": sys.flags.no_site, "safe_path": sys.flags.safe_path}
    start = f"zygote(3, 4, {_functions.needed!r}, {sys.path!r}, {flags!r})"
    command += ["-c", f"import sys; {prefixes}; {path}; from pointsman._worker import zygote; {start}"]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, theirs, 3),
        (os.POSIX_SPAWN_DUP2, parent, 4),
    ]
    began, goes_to = perf_counter(), outputs()
    try:
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsigmask=[SIGINT])
    finally:
        os.close(theirs)
        os.close(parent)
    _pids.add(pid)
    return _Zygote(pid, _native.ZygoteRegistrar(ours), site, began, goes_to)
