"""Where what a function prints, logs and warns of would go in this program, and not in another process.

Does not know: bytecode, how a call is followed.

Invariants:

I1. No code of the user's runs: streams, loggers and handlers are looked at, never asked.
I2. What workers write to their own standard streams appears where this program's appears; nothing else of it does.
"""

from __future__ import annotations

import io
import sys

from ._origins import full_name, instance_dict

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30}
_LEVELS |= dict.fromkeys(("error", "exception"), 40) | dict.fromkeys(("critical", "fatal"), 50)
_LOGS = frozenset((*_LEVELS, "log"))
# Streams of others that show what reaches the standard streams of the process, too.
_TRANSPARENT = frozenset(["ipykernel.iostream.OutStream"])
_DEEPEST = 50


def is_own(stream: object) -> bool:
    """Whether what is written to a stream appears likewise if a worker writes it (I2)."""
    own = [each for each in (sys.__stdout__, sys.__stderr__) if each is not None]
    buffers = [getattr(each, "buffer", None) for each in own]
    if stream is None or any(stream is each for each in (*own, *buffers) if each is not None):
        return True
    if type(stream) is io.TextIOWrapper and any(stream.buffer is each for each in buffers):
        return True
    return full_name(type(stream)) in _TRANSPARENT


def every_logger() -> list[object]:
    """The loggers that the program has."""
    return [sys.modules["logging"].root, *_named_loggers().values()]


def logger_of(name: str) -> object:
    """The logger that decides for a name: its own, or the nearest of those above it that are there."""
    named = _named_loggers()
    while name:
        # A name that only has others below it is a PlaceHolder, which has no handlers of its own.
        if "handlers" in instance_dict(named.get(name)):
            return named[name]
        name = name.rpartition(".")[0]
    return sys.modules["logging"].root


def _named_loggers() -> dict[str, object]:
    root = sys.modules["logging"].root
    manager = instance_dict(instance_dict(root).get("manager") or getattr(type(root), "manager", None))
    known = manager.get("loggerDict")
    return known if type(known) is dict else {}


def logs_elsewhere(logger: object, method: str) -> bool:
    """Whether a call of a logger's method may reach handlers or filters, which workers do not have."""
    if method not in _LOGS:
        return False
    own = instance_dict(logger)
    if "handlers" not in own:
        # An adapter, which has the logger that it speaks through.
        own = instance_dict(own.get("logger"))
    level, threshold = _LEVELS.get(method, 50), 0
    # Its own filters are asked, those of the loggers above it are not.
    handled = bool(own.get("filters"))
    for _ in range(_DEEPEST):
        if not threshold:
            found = own.get("level", 0)
            threshold = found if type(found) is int else 0
        handlers = own.get("handlers")
        handled = handled or (
            type(handlers) is list and any(full_name(type(each)) != "logging.NullHandler" for each in handlers)
        )
        if not own.get("propagate", True) or own.get("parent") is None:
            break
        own = instance_dict(own["parent"])
    return handled and level >= threshold


def warns_elsewhere() -> bool:
    """Whether somebody has put something in the place that shows warnings."""
    warnings = sys.modules.get("warnings")
    if warnings is None:
        return False
    shown, usual = (warnings.__dict__.get(name) for name in ("showwarning", "_showwarning_orig"))
    last = getattr(warnings.__dict__.get("_showwarnmsg_impl"), "__module__", None)
    return (usual is not None and shown is not usual) or last not in ("warnings", "_py_warnings")
