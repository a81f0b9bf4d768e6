"""What is special to a worker interpreter: its beginning, and trying a function out.

Does not know pools. Nothing native is imported here.
"""

from __future__ import annotations

from _pickle import loads
from time import perf_counter
from types import CodeType
from typing import TYPE_CHECKING, Any

from pointsman import _initialized, _outcome, _within
from pointsman._awaited import Awaited, Limited
from pointsman._naming import unwrapped
from pointsman._retrying import Retrying
from pointsman._standard_worker import Sent, loaded
from pointsman._transport import dumps_anyway

if TYPE_CHECKING:
    from collections.abc import Mapping

# What stands before a user's function that travels.
_WRAPPERS = (Awaited, Limited, Retrying)


def begin(packed: bytes | None) -> None:
    """Prepare a worker interpreter; `packed` is the user's initializer with its arguments."""
    _within.install()
    if packed is not None:
        _initialized.run(packed)


def load(function: bytes, items: bytes, imports: list[str]) -> tuple[Sent, float, None]:
    """Load a function and inputs, and import modules."""
    began = perf_counter()
    try:
        loaded(function)
        loads(items)
        for name in imports:
            __import__(name)
        sent: Sent = True, dumps_anyway(None)
    except BaseException as error:  # noqa: BLE001 - unpickling and importing run the user's code
        sent = False, _outcome.pack_exception(error)
    return sent, perf_counter() - began, None


def imports_of(function: Any, known: Mapping[str, object]) -> list[str]:
    """Names of the loaded modules that the function's own code imports when it is called."""
    function = unwrapped(function)
    while type(function) in _WRAPPERS:
        function = unwrapped(function.function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    names: set[str] = set()
    if isinstance(code, CodeType):
        _gather(code, names)
    return sorted(name for name in names if name in known)


def _gather(code: CodeType, names: set[str]) -> None:
    from dis import get_instructions

    for step in get_instructions(code):
        if step.opname == "IMPORT_NAME" and isinstance(step.argval, str):
            names.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _gather(constant, names)
