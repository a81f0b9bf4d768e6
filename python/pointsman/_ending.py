"""The end of the program, as seen by what still runs then.

Does not know who asks.

Invariants:
    E1. A daemon thread of the user's that waits here does not come back: the interpreter would cut it off a bit later,
        wherever it is then, and in a native frame that crashes the program. Nothing of ours waits for such a thread.
"""

from __future__ import annotations

import sys
from sys import modules, version_info

_tried = False
# How the daemon threads of our own are called: they are waited for.
_OURS = "pointsman-"


def is_ending() -> bool:
    """Whether the program has come to its end: the threads that are left are being waited for, or have been."""
    threading = modules.get("threading")
    return _is_over() or bool(threading is not None and getattr(threading, "_SHUTTING_DOWN", False))


def _is_over() -> bool:
    """Whether the modules go, and nothing can be imported any more."""
    return sys.meta_path is None


def was_interrupted() -> bool:
    """Whether a Ctrl-C has brought the program to its end."""
    return issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)


def starts_no_thread() -> bool:
    """Whether no thread of Python's can be started any more: from 3.12 on none can once the program ends.

    Before, one that is started while the modules go never gets to run, and whoever waits for it waits for ever.
    """
    return _is_over() or (version_info >= (3, 12) and (is_ending() or _tried))


def cannot_start() -> None:
    """Note that a thread could not be started: nothing else tells, where the program had none before its end."""
    global _tried  # noqa: PLW0603 - the state of the program
    _tried = True


def is_waited_for() -> bool:
    """Whether the program that ends waits for the current thread, so that what it starts can be ended after it."""
    if _is_over():
        return False
    from threading import current_thread, main_thread

    me = current_thread()
    return not (me.daemon or me is main_thread())


def stay_if_daemon() -> None:
    """Leave a daemon thread where it is once the program ends, without a word, as daemon threads end (E1)."""
    if is_ending():
        from threading import Event, current_thread

        me = current_thread()
        if me.daemon and not me.name.startswith(_OURS):
            Event().wait()


def leave() -> None:
    """End the process here and now, as a Ctrl-C does a program that does not listen."""
    import os
    import signal

    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib is dear to import
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - nobody reads it, or it is closed; the program ends anyway
            pass
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    # Where a signal ends no process by itself.
    os._exit(130)
