"""Packs what a call raised in a worker, and rebuilds it where the caller waits.

Does not know how the bytes travel.
"""

from __future__ import annotations

from _pickle import loads
from itertools import pairwise
from types import CoroutineType

from pointsman import _errors, _rebuilding
from pointsman._ending import stay_if_daemon
from pointsman._naming import name_of

# How the names of our modules begin.
_OURS = "pointsman."
# How the worker's message about a result begins.
_RESULT = "the result, "
# How its message about a call that it cannot read begins.
_ARGUMENTS = "the call "
# (pickled chain of the exception and its causes or None, type name, message, traceback text)
Packed = tuple[bytes | None, str, str, str]


def pack_exception(error: BaseException) -> Packed:
    """Packs an exception with its causes and its traceback's text; raises nothing but Ctrl-C."""
    import traceback

    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - a __str__ of the user's may raise anything
        text = f"{type(error).__qualname__} (its text could not be made)\n"
    try:
        pickled: bytes | None = _rebuilding.dumps(_chain(error))
    except KeyboardInterrupt:
        # Not of the exception's doing: it is for the call.
        raise
    except BaseException:  # noqa: BLE001 - as above
        pickled = None
    return pickled, type(error).__qualname__, _text(error), text


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a __str__ of the user's may raise anything
        return "(no text)"


def unpack_exception(packed: Packed, function: str, index: int | None) -> BaseException:
    """Rebuilds the exception; its causes end with the worker's traceback."""
    pickled, kind, message, text = packed
    remote = _errors._RemoteTraceback(_with_lines(text))  # noqa: SLF001 - shared by the package, not public
    if pickled is not None:
        try:
            chain: list[BaseException] = loads(pickled)
        except BaseException as why:  # noqa: BLE001 - unpickling runs the user's code
            reason = f"its class cannot be rebuilt here ({type(why).__name__}: {why})"
        else:
            for error, cause in pairwise([*chain, remote]):
                # Not in the way of its class, which may refuse: a frozen dataclass does.
                BaseException.__setattr__(error, "__cause__", cause)
            return _placed(chain[0], function, index)
    else:
        reason = "its class cannot be pickled, or makes no objects again"
    error = _errors.RemoteError(
        f"{_call(function, index)} raised {kind}: {message}\n"
        f"{reason[0].upper()}{reason[1:]}, so this error stands for it; "
        f"define the class in a module that both sides can import, or raise a built-in exception"
    )
    error.__cause__ = remote
    return error


def _with_lines(text: str) -> str:
    """The text of a traceback, with the lines that the worker had no file for: those of notebooks and consoles."""
    import linecache
    import re

    lines = text.splitlines(keepends=True)
    for place, line in reversed(list(enumerate(lines))):
        frame = re.fullmatch(r' +File "([^"]+)", line (\d+), in .*\n', line)
        # Where the worker had it, it stands below, further in.
        if frame is None or (place + 1 < len(lines) and lines[place + 1].startswith(line[: line.index("F")] + "  ")):
            continue
        source = linecache.getline(frame[1], int(frame[2])).strip()
        if source:
            lines.insert(place + 1, f"{line[: line.index('F')]}  {source}\n")
    return "".join(lines)


def _placed(error: BaseException, function: str, index: int | None) -> BaseException:
    """Add which call it was to an error that the worker made without knowing that."""
    if isinstance(error, _errors.PointsmanError) and str(error).startswith(_ARGUMENTS):
        placed: BaseException = type(error)(f"the call of {_call(function, index)} {str(error)[len(_ARGUMENTS) :]}")
        placed.__cause__ = error.__cause__
        return placed
    if type(error) is not _errors.CannotTravelError or not str(error).startswith(_RESULT):
        return error
    placed = _errors.CannotTravelError(f"the result of {_call(function, index)}, {str(error)[len(_RESULT) :]}")
    placed.__cause__ = error.__cause__
    return placed


def _call(function: str, index: int | None) -> str:
    return function if index is None else f"{function} (item {index})"


def cancelled() -> BaseException:
    """The exception of a call that was cancelled."""
    from concurrent.futures import CancelledError

    return CancelledError()


def unreadable_result(why: BaseException, function: str, index: int | None) -> BaseException:
    """The exception of a call whose result cannot be unpickled here."""
    error = _errors.UnreadableError(
        f"the result of {_call(function, index)} arrived but cannot be unpickled here: {type(why).__name__}: {why}; "
        f"return plain data, or an object whose class both sides can import"
    )
    error.__cause__ = why
    return error


def unreadable_arguments(why: BaseException) -> BaseException:
    """The exception of a call whose arguments cannot be unpickled in the worker; made there."""
    if isinstance(why, MemoryError | KeyboardInterrupt):
        # No fault of the bytes.
        return why
    error = _errors.UnreadableError(
        f"{_ARGUMENTS}arrived in the worker process but cannot be unpickled there: {type(why).__name__}: {why}; "
        f"pass plain data, or objects whose classes both sides can import"
    )
    error.__cause__ = why
    return error


def unpackable_result(value: object, why: BaseException) -> BaseException:
    """The exception of a call whose result cannot be pickled; made in the worker."""
    if isinstance(why.__cause__, SystemExit):
        # As if the call had asked for it.
        return why.__cause__
    # Pickle's own words: the advice about arguments does not fit here.
    own = why.__cause__ if isinstance(why, _errors.CannotTravelError) and why.__cause__ is not None else why
    error = _errors.CannotTravelError(
        f"{_RESULT}a {type(value).__qualname__}, cannot be pickled: {type(own).__name__}: {own}; "
        f"return plain data, or use backend='threads'"
    )
    error.__cause__ = why
    return error


def refuse_coroutine(value: object, function: object) -> None:
    """Raise if a call of a plain function gave back a coroutine, which a worker cannot await; close it.

    Raises
    ------
    InvalidTypeError
        With what to do about it.

    """
    if type(value) is not CoroutineType:
        return
    value.close()
    name = name_of(function)
    message = (
        f"{name} returned a coroutine, which a worker cannot await: pass the coroutine function itself, or wrap it: "
        f"lambda *a: asyncio.run({name}(*a))"
    )
    raise _errors.InvalidTypeError(message)


def named_stop(why: RuntimeError, name: str, index: int | None) -> RuntimeError:
    """Say whose `StopIteration` became this error on its way through our generators, and for which input.

    `index` is how many results were given out before it. Any other error is returned as it is, also one that a
    generator of the user's has made of it.
    """
    frames = why.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    raiser = "" if frames is None else str(frames.tb_frame.f_globals.get("__name__"))
    looped, cause = raiser.endswith(".inline"), why.__cause__
    # What a worker sent was not raised here.
    if not (raiser.startswith(_OURS) and isinstance(cause, StopIteration) and (looped or cause.__traceback__)):
        return why
    # Of a plain loop's batch nothing is given out when a call in it raises.
    item = "" if index is None or looped else f" for item {index} of its inputs"
    told = f"{name} raised StopIteration{item}, by which iterators say that they have ended: "
    return RuntimeError(f"{told}let it return a value, or raise something else")


def worker_died(
    cause: str, number: int, pid: int, function: str, index: int | None, breaks: bool = False
) -> BaseException:
    """The exception of a call whose worker process died, or that no process could be found for.

    `breaks` says that its executor broke with it.
    """
    # The end of the program may well be what it died of.
    if index is not None:
        stay_if_daemon()
    call = _call(function, index)
    kind, _, why = cause.partition(": ")
    if kind == "timeout":
        limit = f"its timeout of {float(why):g} s"
        text = f"{call} took longer than {limit}, so it was stopped with its worker process {pid}"
        return _errors.CallTimeoutError(text)
    if kind == "no room":
        return _errors.SharedMemoryFullError(f"{call} was not run: {why}; send less at a time, or raise shared_memory=")
    if kind == "never started":
        text = f"{call} was not run, for there is no worker process to run it: {why}"
        return _errors.broken_pool(text, _errors.broken_pool_of("process"))
    who = f"the worker process {pid}" if pid > 0 else "the worker process"
    others = "this executor broke with it, as on_worker_death='break' says" if breaks else "no other call is touched"
    text = f"{who} {_end(kind, number, call, why)}; {others}"
    return _errors.WorkerDied(text, cause, number, pid, function, index)


def _end(kind: str, number: int, call: str, why: str) -> str:
    """Say how a process came to its end while it ran a call."""
    if kind == "signal":
        return _ended_by_signal(number, call)
    if kind == "exit":
        return f"exited with code {number} while it ran {call}; os._exit ends the process, return or raise instead"
    told = {
        "neighbour": f"was stopped because another call took too long or was cancelled, which ran in it beside {call}",
        "cancelled": f"was stopped because {call} was cancelled",
        "memory": f"was stopped while it ran {call}, because it grew past its memory limit",
        "shutdown": f"was stopped by the shutdown of its pool while it ran or was to run {call}",
    }
    return told.get(kind) or f"ended while it ran or was to run {call} ({': '.join(filter(None, (kind, why)))})"


def _ended_by_signal(number: int, call: str) -> str:
    import signal

    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = {
        "SIGKILL": "the system may have run out of memory, or somebody killed it",
        "SIGSEGV": "an extension module that it called crashed",
        "SIGABRT": "an extension module that it called aborted",
    }.get(name, "see what sends that signal")
    return f"was ended by {name} while it ran {call}; {hint}"
