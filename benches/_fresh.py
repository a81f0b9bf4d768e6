"""Runs one measurement in a fresh interpreter and brings its figures back.

What it does not know: what is measured. A question and an answer are dictionaries that JSON can hold.

Invariants:
    F1. Nothing of one measurement (pools, warm caches, imported modules) reaches the next.
    F2. A measurement that hangs, crashes or does not exit is an answer with a "failed" entry, never an exception
        here, and all that it started in its process group is killed.
    F3. Modules are compiled once, as those of an installed package are: bytecode is kept wherever it may be.
    F4. What pointsman learns of the machine stays within one run of a bench, which begins knowing nothing: figures do
        not depend on what ran before, and a bench leaves nothing behind in the user's cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = dict[str, Any]

CHILD = "--child"
_MARK = b"\x1eanswer "


@contextlib.contextmanager
def private_cache() -> Iterator[None]:
    """Let all measurements meanwhile share an own, at first empty, cache directory."""
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        os.environ["POINTSMAN_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["POINTSMAN_CACHE_DIR"]


def ask(script: str, question: dict[str, Any], limit: float) -> Answer:
    """Let `script` answer the question in a fresh interpreter, within `limit` seconds."""
    with subprocess.Popen(  # noqa: S603 - this interpreter, our own script
        [sys.executable, script, CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    ) as child:
        try:
            output, errors = child.communicate(json.dumps(question).encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            _kill_group(child.pid)
            output, errors = child.communicate()
            answer = _answer_in(output)
            if answer is None:
                return {"failed": f"no answer within {limit:.0f} s", "late": True, "stderr": _text(errors)}
            return {**answer, "complaint": "did not exit after its answer"}
        except BaseException:
            _kill_group(child.pid)
            raise
        _kill_group(child.pid)
    answer = _answer_in(output)
    if answer is None:
        lines = [line for line in _text(errors).splitlines() if line.strip()]
        return {"failed": lines[-1] if lines else f"exit code {child.returncode}", "stderr": _text(errors)}
    if child.returncode:
        answer["complaint"] = f"exit code {child.returncode} after its answer"
        answer["stderr"] = _text(errors)
    return answer


def _kill_group(group: int) -> None:
    """Kill what the measurement left behind. Its process group is its own, and its number is ours until waited for."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _answer_in(output: bytes) -> Answer | None:
    # Workers write to the same pipe: take what follows the last mark, up to the end of its line.
    _, mark, rest = output.rpartition(_MARK)
    if not mark:
        return None
    answer: Answer = json.loads(rest.split(b"\n", 1)[0])
    return answer


def _text(errors: bytes) -> str:
    return errors.decode(errors="replace")[-4000:]


def answering(function: Callable[[dict[str, Any]], Answer]) -> bool:
    """Answer the question on standard input if this process was started by `ask`; whether it was.

    The caller returns after it, so that what the measurement leaves open is ended as in any program.
    """
    if CHILD not in sys.argv[1:]:
        return False
    question = json.loads(sys.stdin.buffer.read())
    try:
        answer = function(question)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is the answer
        answer = {"failed": f"{type(error).__name__}: {error}", "stderr": traceback.format_exc()[-4000:]}
    os.write(1, b"\n" + _MARK + json.dumps(answer).encode() + b"\n")
    return True
