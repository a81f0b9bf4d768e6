"""Says what this machine has: cores and memory as containers limit them, the GIL, and constants measured here.

It does not know what the figures are used for, how a constant is measured, or what value to take when none was.

Invariants:

M1. Nothing here raises for what a file holds or a directory forbids: a fact that cannot be read is taken from the
    next best source, a damaged cache is ignored with a warning, and an unwritable one is not written.
M2. The cache file is only ever replaced whole, so a reader in another process sees an old one or a new one. Two
    processes that write at the same moment may lose one measurement, never the file.
M3. No cgroup file is trusted to exist: own group and all its ancestors are looked at, and the smallest limit wins.
"""

# pathlib would cost more to import than all that is read here; programs put things of theirs in the place of `open`:
# ruff: noqa: PTH103, PTH105, PTH108, PTH111, PTH118, PTH120, UP020
from __future__ import annotations

import io
import math
import os
import sys
import time
from threading import Lock

from pointsman._records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = [
    "CONSTANTS",
    "Constant",
    "Facts",
    "constants",
    "facts",
    "fingerprint",
    "flush",
    "record",
]

CONSTANTS = (
    "thread_start",
    "thread_dispatch",
    "process_first",
    "process_next",
    "process_dispatch",
    "process_dispatch_alone",
    "interpreter_start",
    "bytes_per_second",
)
"""What may be recorded: seconds, but for the last, which is bytes per second."""

_FACTS_LAST = 1.0
_WEIGHT = 0.2
_VERSION = 1
_FIELDS, _KINDS = 5, 3
_LARGEST_FILE = 1 << 16
_LARGEST_VALUE = 1e15
_UNLIMITED = 1 << 60


class Facts(NamedTuple):
    """What the host gives this process now."""

    cores: float
    """Cores that this process may use: the smaller of affinity and cgroup quota. May be a fraction."""
    affinity: int
    """Cores that this process may be scheduled on."""
    quota: float | None
    """Cores that the cgroup quota allows, or None without one."""
    memory_limit: int
    """Bytes of memory that this process may ever use."""
    memory_available: int
    """Bytes of memory that it could take now without anything being swapped or killed."""
    gil: bool
    """Whether the GIL is on in this process."""
    free_threaded_build: bool
    """Whether this interpreter could run without it."""
    platform: str
    """Operating system and processor."""
    python: str
    """Implementation and version."""
    fingerprint: str
    """Names machine and interpreter in the keys of caches."""


class Constant(NamedTuple):
    """A figure measured on this machine."""

    value: float
    """Seconds, or bytes per second."""
    measured_at: float
    """Unix time in seconds of the last measurement."""
    provenance: str = "measured"


# ------------------------------------------------------------------------------------------------------------ facts


_last: tuple[float, Facts] | None = None


def facts(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> Facts:
    """Read the facts, or repeat those of less than a second ago: quotas may change while a program runs.

    `proc` and `cgroup` are where the kernel's files are mounted.
    """
    global _last  # noqa: PLW0603 - a value replaced whole; the worst race reads the files twice
    usual = (proc, cgroup) == ("/proc", "/sys/fs/cgroup")
    now = time.monotonic()
    if usual and _last is not None and now - _last[0] < _FACTS_LAST:
        return _last[1]
    affinity = _affinity()
    quota, limits = _cgroup_limits(proc, cgroup)
    total, available = _memory(proc)
    for limit, used in limits:
        total = min(total, limit)
        available = min(available, max(0, limit - used))
    found = Facts(
        cores=min(float(affinity), quota or math.inf, _cores_said()),
        affinity=affinity,
        quota=quota,
        memory_limit=total,
        memory_available=min(available, total),
        gil=has_gil(),
        free_threaded_build="free-threading" in sys.version,
        platform=_platform(),
        python=f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}",
        fingerprint=fingerprint(proc),
    )
    if usual:
        _last = (now, found)
    return found


def _affinity() -> int:
    """How many cores this process may be scheduled on, by whichever way the platform has."""
    count: int | None = None
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return count or os.cpu_count() or 1


def _cores_said() -> float:
    """Read the cores that the environment grants: the user's word, and a worker process's share."""
    try:
        cores = float(os.environ.get("POINTSMAN_CORES", "inf"))
    except ValueError:
        return math.inf
    return cores if cores > 0 else math.inf


def has_gil() -> bool:
    """Whether one thread at a time runs Python code."""
    ask = getattr(sys, "_is_gil_enabled", None)
    return bool(ask()) if ask is not None else True


def _platform() -> str:
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "unknown")
    return f"{sys.platform}-{machine}"


_fingerprints: dict[str, str] = {}


def fingerprint(proc: str = "/proc") -> str:
    """Name this kind of machine and interpreter; the same on every machine where constants would be the same."""
    known = _fingerprints.get(proc)
    if known is None:
        model = ""
        for line in _read(f"{proc}/cpuinfo", 4096).splitlines():
            if line.startswith(("model name", "CPU part", "Hardware")):
                model = line
                break
        tag = sys.implementation.cache_tag or sys.implementation.name
        build = "t" if "free-threading" in sys.version else ""
        identity = f"{model}|{os.cpu_count()}|{_platform()}|{sys.version_info[:3]}|{build}"
        known = _fingerprints[proc] = f"{_platform()}-{tag}{build}-{_digest(identity):08x}"
    return known


def _digest(text: str) -> int:
    """FNV-1a, 32 bits: the modules that have a checksum take longer to load."""
    found = 0x811C9DC5
    for byte in text.encode():
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


def _read(path: str, most: int = _LARGEST_FILE) -> str:
    """Read the beginning of a file, or nothing if it cannot be read (M1)."""
    try:
        with io.FileIO(path) as file:
            return (file.read(most) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """Read a limit in bytes or microseconds; None for "max", "-1", nothing, or nonsense."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    value = int(text[:24])
    return value if value < _UNLIMITED else None


# cgroups. A process is in one group of each hierarchy: one for everything (v2), or several for some controllers
# each (v1), or both at once (hybrid). What is mounted may be only the part of the tree below some group.


def _cgroup_limits(proc: str, cgroup: str) -> tuple[float | None, list[tuple[int, int]]]:
    """Read the smallest quota in cores, and (limit, use) in bytes of every group with a memory limit (M3)."""
    quotas: list[float] = []
    memory: list[tuple[int, int]] = []
    groups = _own_groups(proc)
    for controllers, mount, root in _mounts(proc, cgroup):
        unified = not controllers
        path = groups.get("") if unified else next((groups[name] for name in controllers if name in groups), None)
        if path is None:
            continue
        for folder in _upwards(mount, root, path):
            if unified or "cpu" in controllers:
                quota = _quota(folder, unified=unified)
                if quota is not None:
                    quotas.append(quota)
            if unified or "memory" in controllers:
                limit = _number(_read(f"{folder}/{'memory.max' if unified else 'memory.limit_in_bytes'}"))
                if limit is not None:
                    memory.append((limit, _used(folder, unified=unified)))
    return min(quotas, default=None), memory


def _own_groups(proc: str) -> dict[str, str]:
    """Read the path of this process's group for each controller; "" is the unified hierarchy."""
    groups = {}
    for line in _read(f"{proc}/self/cgroup").splitlines():
        _number_of_hierarchy, _, rest = line.partition(":")
        names, found, path = rest.partition(":")
        if found and path.startswith("/"):
            groups.update(dict.fromkeys(names.split(","), path))
    return groups


def _mounts(proc: str, cgroup: str) -> list[tuple[frozenset[str], str, str]]:
    """List the mounted hierarchies: controllers (none for v2), where mounted, and which group is at the top there."""
    found = []
    for line in _read(f"{proc}/self/mountinfo", 1 << 20).splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < _FIELDS or len(kind) < _KINDS or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        mount = fields[4]
        if mount.startswith("/sys/fs/cgroup"):
            mount = cgroup + mount.removeprefix("/sys/fs/cgroup")
        controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset[str]()
        found.append((controllers, mount, fields[3]))
    if found:
        return found
    # Without the list of mounts, the places where every distribution mounts them.
    usual = [(frozenset[str](), cgroup, "/"), (frozenset[str](), f"{cgroup}/unified", "/")]
    return usual + [(frozenset(name.split(",")), f"{cgroup}/{name}", "/") for name in ("cpu", "cpu,cpuacct", "memory")]


def _upwards(mount: str, root: str, path: str) -> Iterator[str]:
    """Yield the folders of this process's group and of its ancestors, as far as they are mounted."""
    root = root.rstrip("/")
    if path == root or path.startswith(root + "/"):
        path = path[len(root) :]
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        # The group lies outside what this namespace shows; only the top can be an ancestor of it.
        parts = []
    for depth in range(len(parts), -1, -1):
        yield "/".join([mount, *parts[:depth]])


def _quota(folder: str, *, unified: bool) -> float | None:
    """Read how many cores a group may use; None without a limit or for a malformed file."""
    if unified:
        fields = _read(f"{folder}/cpu.max").split()
        quota = _number(fields[0]) if fields else None
        period = _number(fields[1]) if len(fields) > 1 else 100_000
    else:
        quota = _number(_read(f"{folder}/cpu.cfs_quota_us"))
        period = _number(_read(f"{folder}/cpu.cfs_period_us"))
    return quota / period if quota and period else None


def _used(folder: str, *, unified: bool) -> int:
    """Read the bytes that a group uses and could not give back at once."""
    used = _number(_read(f"{folder}/{'memory.current' if unified else 'memory.usage_in_bytes'}")) or 0
    name = "inactive_file " if unified else "total_inactive_file "
    for line in _read(f"{folder}/memory.stat").splitlines():
        if line.startswith(name):
            used -= _number(line[len(name) :]) or 0
    return max(0, used)


def _memory(proc: str) -> tuple[int, int]:
    """Read the bytes of memory of the whole machine: all, and available."""
    figures = {}
    for line in _read(f"{proc}/meminfo").splitlines():
        name, _, rest = line.partition(":")
        figures[name] = (_number(rest.strip().partition(" ")[0]) or 0) * 1024
    total = figures.get("MemTotal", 0)
    if total:
        return total, figures.get("MemAvailable", figures.get("MemFree", total))
    return _memory_elsewhere()


def _memory_elsewhere() -> tuple[int, int]:
    """Ask for the same where there is no /proc."""
    if sys.platform == "win32":
        import ctypes

        # Length, load, then total and available bytes of physical memory, and four more figures.
        status = (ctypes.c_uint64 * 8)()
        status[0] = ctypes.sizeof(status)
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return int(status[1]), int(status[2])
    else:
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            total = os.sysconf("SC_PHYS_PAGES") * page
        except (OSError, ValueError):
            return _UNLIMITED, _UNLIMITED
        free = os.sysconf("SC_AVPHYS_PAGES") * page if "SC_AVPHYS_PAGES" in os.sysconf_names else total
        return total, free
    return _UNLIMITED, _UNLIMITED


# -------------------------------------------------------------------------------------------------------- constants


class _Store:
    """The constants of one cache file, and what was measured since it was last written."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = Lock()
        self.known = _load(path)
        # For each name: how many measurements are not written yet, and their weighted sum.
        self.unwritten: dict[str, tuple[int, float]] = {}


_stores: dict[str, _Store] = {}


def _store() -> _Store:
    """Find the store of the cache directory that the environment names now."""
    folder = os.environ.get("POINTSMAN_CACHE_DIR")
    if not folder:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = os.path.join(base, "pointsman")
    path = os.path.join(folder, f"machine-{fingerprint()}.json")
    store = _stores.get(path)
    if store is None:
        store = _stores.setdefault(path, _Store(path))
    return store


def constants() -> Mapping[str, Constant]:
    """Return what was measured on this machine, in this and in earlier programs."""
    store = _store()
    with store.lock:
        return dict(store.known)


def record(name: str, value: float) -> None:
    """Merge a measurement into a constant, in seconds or bytes per second; `flush` writes it to the cache.

    A constant follows its measurements with a weight of one fifth, so that one odd measurement does little. A figure
    that cannot be right (not positive, not finite) is dropped.
    """
    if name not in CONSTANTS:
        raise ValueError(f"no constant is called {name!r}: those are {', '.join(CONSTANTS)}")
    if not _plausible(value):
        return
    store = _store()
    with store.lock:
        before = store.known.get(name)
        merged = value if before is None else before.value * (1 - _WEIGHT) + value * _WEIGHT
        store.known[name] = Constant(merged, time.time())
        count, weighted = store.unwritten.get(name, (0, 0.0))
        store.unwritten[name] = (count + 1, weighted * (1 - _WEIGHT) + value * _WEIGHT)


def flush() -> None:
    """Write what was measured, merged with what other processes have written meanwhile. Never raises (M1)."""
    store = _store()
    with store.lock:
        unwritten, store.unwritten = store.unwritten, {}
        mine = dict(store.known)
    if not unwritten:
        return
    merged = _load(store.path)
    for name, (count, weighted) in unwritten.items():
        theirs = merged.get(name)
        # The same measurements, applied to the figure that is in the file now.
        value = mine[name].value if theirs is None else theirs.value * (1 - _WEIGHT) ** count + weighted
        merged[name] = Constant(value, mine[name].measured_at)
    with store.lock:
        store.known = {**merged, **{name: store.known[name] for name in store.unwritten}}
    _write(store.path, merged)


def _plausible(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 < value < _LARGEST_VALUE


def _load(path: str) -> dict[str, Constant]:
    """Read a cache file; one that is damaged counts as absent."""
    text = _read(path)
    if not text:
        return {}
    try:
        data = _from_json(text)
        if data["version"] != _VERSION:
            return {}
        found = dict(data["constants"].items())
        entries = {name: Constant(**found[name]) for name in CONSTANTS if name in found}
        damaged = [name for name, entry in entries.items() if not all(map(_plausible, entry[:2]))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _warn(f"ignored the damaged cache file {path} ({error}); it will be replaced")
        return {}
    if damaged:
        _warn(f"ignored {', '.join(damaged)} in the damaged cache file {path}")
    return {name: entry for name, entry in entries.items() if name not in damaged}


class _Scanning:
    """What the interpreter's own scanner of JSON asks for."""

    strict = True
    # The last came with CPython 3.15.
    object_hook = object_pairs_hook = array_hook = None
    parse_float = parse_constant = float
    parse_int = int


def _from_json(text: str) -> Any:
    """As `json.loads`, without the package, which compiles expressions for a millisecond amid the first job."""
    try:
        from _json import make_scanner

        data, end = make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]
        if not text[end:].strip():
            return data
    except (AttributeError, ImportError, StopIteration, SystemError, ValueError):
        # Up to CPython 3.11 an error within has no type until the package is loaded.
        pass
    from json import JSONDecoder

    return JSONDecoder().decode(text)


def _write(path: str, entries: Mapping[str, Constant]) -> None:
    """Replace a cache file (M2)."""
    from json import JSONEncoder

    # Programs put another in the place of `json.dumps`.
    constants = {name: entry._asdict() for name, entry in entries.items()}
    text = JSONEncoder().encode({"version": _VERSION, "constants": constants})
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with io.open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        from pointsman import _log

        _log.logger().debug("did not write %s: %s", path, error)


def _warn(message: str) -> None:
    from pointsman import _log

    _log.file_ignored(message)
