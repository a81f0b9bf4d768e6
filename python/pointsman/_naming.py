"""Names of functions, classes and backends: in messages, and in the place of what they name.

Does not know what they are for.

Invariants:
    N1. A module is lost only if it is certain that a worker would not find it: doubt leaves it to its name.
    N2. Nothing of the user's runs but the finders that each import asks.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib_external import ExtensionFileLoader
from functools import partial
from sys import modules
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What users choose by name; an executor of their own is named after its class.
BACKENDS = ("auto", "inline", "threads", "processes", "interpreters", "asyncio")
# Engines that an optional package brings.
CLUSTERS = ("dask", "ray")


def is_partial(function: object) -> bool:
    """Whether it is a partial. Nothing but its type is asked: a Mock, or a proxy of a server, has every attribute."""
    return issubclass(type(function), partial)


def unwrapped(function: Any) -> Any:
    """What a partial calls, or one in a partial; everything else as it is."""
    while is_partial(function):
        function = function.func
    return function


def name_of(function: Any) -> str:
    """The name that messages use for a function."""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str):
        return name
    return f"partial({name_of(function.func)})" if is_partial(function) else type(function).__qualname__


# The program's main module, and what multiprocessing calls it in its children, where both names are known.
_MAINS = ("__main__", "__mp_main__")
# Whether modules that were asked for can be found, by their names; and the specification and the path that was so for.
_known: dict[str, tuple[Any, list[str], bool]] = {}


def _sign(name: str) -> bytes:
    """How pickle writes a short text: there a module's name begins what travels by name."""
    text = name.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(text)]) + text if len(text) <= 0xFF else text  # noqa: PLR2004 - a byte's worth


# What pickles have in them that mention a lost module.
signs = [b"__main__", _sign("__mp_main__")]


def is_importable(value: object) -> bool:
    """Whether another process finds a function or class where it says it is, so that its name will do there."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: object = modules.get(module) if isinstance(module, str) and module != "__main__" else None
    for part in name.split("."):
        found = getattr(found, part, None)
    # What is compiled has no other way than its name.
    return found is value and (type(value) is BuiltinFunctionType or not is_lost(module))


def is_lost(name: object) -> bool:
    """Whether a module is here, and workers would not find it: what it defines travels by value, as the program's own.

    One that was made by the program, or loaded from a file that is not on the path; the main module; and one that is
    being imported, whose import would begin in each worker what it is amid here.
    """
    if type(name) is not str or name in _MAINS:
        return type(name) is str
    if _is_amid_import(name):
        _sign_of_lost(name)
        return True
    # What is in a package is there as soon as that is, often by the package's own hand.
    root = name.partition(".")[0]
    module = modules.get(root)
    # Others than plain ones might be loaded by a look at them; where no Python code ran there is nothing to send.
    if type(module) is not ModuleType or root in sys.stdlib_module_names or "__builtins__" not in vars(module):
        return False
    spec = vars(module).get("__spec__")
    read_for, path, lost = _known.get(root, (None, None, False))
    if spec is not read_for or path != sys.path:
        try:
            lost = not _is_found(root, vars(module), spec)
        except Exception:  # noqa: BLE001 - whoever was asked, an import will tell
            lost = False
        _known[root] = spec, list(sys.path), lost
    if lost:
        _sign_of_lost(name)
    return lost


def _sign_of_lost(name: str) -> None:
    if (sign := _sign(name)) not in signs:
        signs.append(sign)


def _is_amid_import(name: str) -> bool:
    """Whether a module's own code runs, or that of a package that it is in."""
    while name:
        module = modules.get(name)
        spec = vars(module).get("__spec__") if type(module) is ModuleType else None
        if spec is not None and getattr(spec, "_initializing", False):
            return True
        name = name.rpartition(".")[0]
    return False


def place_of(kind: type) -> str | None:
    """Name the module where a class is found that says it is in another, where it is not."""
    name, claimed = kind.__qualname__, kind.__module__
    if "." in name or is_lost(claimed):
        # One that a call has made is nowhere.
        return None
    for place, module in list(modules.items()):
        if type(module) is ModuleType and vars(module).get(name) is kind and not is_lost(place):
            return place
    return None


def mentions_lost(pickled: bytes) -> bool:
    """Whether what was pickled by name mentions a module that is known to be lost, or looks as if it did."""
    # A generator would take three times as long.
    for sign in signs:  # noqa: SIM110
        if sign in pickled:
            return True
    return False


def notice(value: object) -> None:
    """Find out whether the module of a function or class is lost, or of those in a tuple, so that pickles tell."""
    for one in value if type(value) is tuple else (value,):
        inner = getattr(one, "func", None) if type(one).__module__ == "functools" else one
        inner = inner.__func__ if type(inner) is MethodType else inner
        if type(inner) is FunctionType or type(inner) is type:
            is_lost(inner.__module__)


def _is_found(name: str, inside: dict[str, Any], spec: Any) -> bool:
    """Whether an import of this name finds this module, or it is none that could go without its name."""
    if spec is not None and (spec.name != name or type(spec.loader) is ExtensionFileLoader):
        return True
    for finder in sys.meta_path:
        found = finder.find_spec(name, None)
        if found is not None:
            return _is_same(found, inside, spec)
    return False


def _is_same(found: Any, inside: dict[str, Any], spec: Any) -> bool:
    """Whether what an import would load is what has been loaded, and not another of the same name."""
    origin = inside.get("__file__") if spec is None else spec.origin
    if found.origin is None:
        # A package without a file of its own.
        return origin is None and "__path__" in inside
    if not found.has_location:
        return True
    if type(origin) is not str:
        return False
    # Loaders of old name the compiled file.
    alike = os.path.splitext(origin)[0] == os.path.splitext(found.origin)[0]  # noqa: PTH122 - pathlib is dear to import
    return bool(alike or os.path.realpath(origin) == os.path.realpath(found.origin))
