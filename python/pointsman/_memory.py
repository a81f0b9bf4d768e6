"""What was learnt of functions, kept for later programs in a JSON file when that is asked for.

Does not know how anything is learnt or used: `_learning.py` gives entries and takes them.

Invariants:
    R1. The file is only ever replaced whole, under a lock beside it, merged with what others wrote meanwhile.
    R2. A damaged file is ignored with a warning and replaced at the next write; nothing here raises for what it holds.
    R3. Only figures that can be right are taken: finite, not negative.
    R4. Entries of another machine or interpreter are neither used nor dropped.
    R5. What is no regular file (a device, a pipe, a folder) is neither opened nor replaced, and nothing is made beside
        it. A link stays: the file that it leads to is written.
"""

# pathlib would cost more to import than all that is done here:
# ruff: noqa: PTH103, PTH105, PTH108, PTH110, PTH111, PTH113, PTH120, UP020
from __future__ import annotations

import io
import os
import threading
import time

from pointsman import _machine
from pointsman._errors import InvalidArgumentError, InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Entry = dict[str, Any]

ENVIRONMENT = "POINTSMAN_REMEMBER"
_VERSION = 1
_LARGEST_FILE = 1 << 26
_LARGEST_VALUE = 1e15
# Functions kept for a machine; the oldest go first.
_MOST_FUNCTIONS = 4096
# Seconds between two writes while a program runs; the last is made at its end.
_BETWEEN = 1.0


class Memory:
    """The entries of one file, by the keys of functions.

    Raises
    ------
    InvalidArgumentError
        If there is something that is no regular file (R5).

    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(os.path.expanduser(path))
        if self._is_taken():
            message = (
                f"what is learnt can be kept in a file only, and {path!r} is there and is no regular file: give the "
                f"path of one, or one where nothing is yet"
            )
            raise InvalidArgumentError(message)
        self._lock = threading.Lock()
        self._told: set[str] = set()
        machines, complaint = self._read()
        self._known = machines.get(_machine.fingerprint(), {})
        self._tell(complaint)
        self._new: dict[str, Entry] = {}
        self._written = float("-inf")

    def _is_taken(self) -> bool:
        """Whether there is something that is no file to be read or replaced."""
        return os.path.exists(self.path) and not os.path.isfile(self.path)

    def recall(self, key: str) -> Entry | None:
        """What is known of a function."""
        with self._lock:
            return self._known.get(key)

    def note(self, key: str, entry: Entry) -> None:
        """Replace what is known of a function; written soon, and at the end of the program."""
        with self._lock:
            self._known[key] = self._new[key] = {**entry, "at": time.time()}
            due = time.monotonic() - self._written > _BETWEEN
        if due:
            self.flush()

    def flush(self) -> None:
        """Write what is new (R1). Never raises: a file that cannot be written is not, and a warning says so."""
        with self._lock:
            new, self._new = self._new, {}
            self._written = time.monotonic()
        if not new:
            return
        if self._is_taken():
            self._tell(f"what was learnt could not be written to {self.path}: it is no regular file any more")
            return
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with io.open(f"{self.path}.lock", "ab") as lock:
                _hold(lock)
                complaint = self._merge(new)
        except OSError as why:
            complaint = f"what was learnt could not be written to {self.path}: {why}"
        # Not before the lock is released: who shows warnings is the program.
        self._tell(complaint)

    def _merge(self, new: dict[str, Entry]) -> str | None:
        """Replace the file; returns what was wrong with the one before."""
        # Programs put another in the place of `json.dumps`.
        from json import JSONEncoder

        machines, complaint = self._read()
        entries = machines.setdefault(_machine.fingerprint(), {})
        entries.update(new)
        oldest = sorted(entries, key=lambda key: float(entries[key].get("at", 0.0)))
        for key in oldest[: max(0, len(entries) - _MOST_FUNCTIONS)]:
            del entries[key]
        temporary = f"{self.path}.{os.getpid()}.{threading.get_ident()}.tmp"
        try:
            with io.open(temporary, "w", encoding="utf-8", opener=_private) as file:
                file.write(JSONEncoder().encode({"version": _VERSION, "machines": machines}))
            os.replace(temporary, self.path)
        except OSError:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        return complaint

    def _read(self) -> tuple[dict[str, dict[str, Entry]], str | None]:
        """The entries of all machines (R2, R4), and what is wrong with the file."""
        from json import JSONDecoder

        try:
            with io.open(self.path, "rb") as file:
                data = file.read(_LARGEST_FILE)
        except FileNotFoundError:
            return {}, None
        except OSError as why:
            return {}, f"what was learnt could not be read from {self.path}: {why}"
        try:
            found = JSONDecoder().decode(data.decode("utf-8"))
            if found["version"] != _VERSION:
                return {}, None
            machines = found["machines"]
            sound = {
                str(machine): {str(key): dict(entry) for key, entry in entries.items() if _is_sound(entry)}
                for machine, entries in machines.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as why:
            return {}, f"ignored the damaged file {self.path} ({type(why).__name__}: {why}); it will be replaced"
        return sound, None

    def _tell(self, message: str | None) -> None:
        """Say what is wrong with the file, once each."""
        if message is not None and message not in self._told:
            self._told.add(message)
            from pointsman import _log

            _log.file_ignored(message)


def _is_sound(entry: Any) -> bool:
    """Whether every figure of an entry, at whatever depth, can be right (R3)."""
    if isinstance(entry, dict):
        return all(map(_is_sound, entry.values()))
    if entry is None or isinstance(entry, bool):
        return True
    return isinstance(entry, int | float) and 0 <= entry < _LARGEST_VALUE


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _hold(file: Any) -> None:
    """Hold the lock on an open file until it is closed; where there are no such locks, the last writer wins."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)


_memory: Memory | None = None
_asked = False
_guard = threading.Lock()


def remember(path: str | os.PathLike[str] | None) -> None:
    """Keep what is learnt of functions in a file, and use what earlier programs learnt; None stops that.

    Calls of a function that is remembered need less measuring. The environment variable POINTSMAN_REMEMBER does the
    same from outside. Many processes may use one file.

    Parameters
    ----------
    path
        The file, or a link to it, made when there is something to write: JSON with a few hundred bytes for each
        function, keyed by its code, the sizes of its arguments, the machine and the interpreter; so it is forgotten
        when one of them changes.

    Raises
    ------
    InvalidTypeError
        If this is no path.
    InvalidArgumentError
        If there is something that is no regular file.

    """
    global _memory, _asked
    if path is not None and not isinstance(path, str | os.PathLike):
        message = f"remember() takes the path of a file, or None to stop, not {path!r}"
        raise InvalidTypeError(message)
    memory = Memory(os.fspath(path)) if path is not None else None
    with _guard:
        before, _memory, _asked = _memory, memory, True
    if before is not None:
        before.flush()
    _at_exit()


def current() -> Memory | None:
    """The memory in use: the one that was asked for, else the one that the environment names."""
    global _memory, _asked
    if not _asked:
        path = os.environ.get(ENVIRONMENT)
        memory = _named_by_environment(path) if path else None
        with _guard:
            if not _asked:
                _memory, _asked = memory, True
        if memory is not None:
            _at_exit()
    return _memory


def _named_by_environment(path: str) -> Memory | None:
    try:
        return Memory(path)
    except InvalidArgumentError as why:
        from pointsman import _log

        # Whoever calls a function of ours has not named the file: the program goes on without.
        _log.file_ignored(f"{ENVIRONMENT}: {why}")
        return None


_registered = False


def _at_exit() -> None:
    global _registered  # noqa: PLW0603 - once per program
    if not _registered:
        import atexit

        _registered = True
        atexit.register(_flush)


def _flush() -> None:
    if _memory is not None:
        _memory.flush()
