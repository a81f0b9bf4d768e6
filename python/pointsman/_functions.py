"""Packs plain functions that travel by value, without cloudpickle: their code, what they capture, and what they name.

For the common case: a function of `__main__`, a lambda or a closure that reaches modules, plain values, importable
things, and other such functions. Everything else is cloudpickle's. Importing cloudpickle takes 15 to 25 ms, in the
program and in each worker; this takes microseconds. Both sides run the same interpreter, so code travels marshalled.
"""

from __future__ import annotations

from _pickle import dumps
from marshal import dumps as dump_code
from marshal import loads as load_code
from sys import modules, stdlib_module_names
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType

from pointsman import _initialized
from pointsman._asked import globals_in, names_in
from pointsman._naming import is_importable, is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), range})
_MOST = 64
# What a function may ask another for that does not travel here.
_SAID = frozenset("__annotations__ __doc__ get_type_hints getdoc getfullargspec signature".split())  # noqa: SIM905

# Modules that functions sent to workers reach: workers that start later find them imported. Only those that are known
# to start no threads when they are imported, and to mean the same wherever they are.
needed: list[str] = []
STANDARD = stdlib_module_names
_TAME = frozenset({*STANDARD, "numpy", "scipy", "pandas", "sklearn", "PIL"}) - {"__main__"}


def note_module(name: str) -> None:
    """Remember that calls need this module."""
    if name in modules and name.partition(".")[0] in _TAME and name not in needed:
        needed.append(name)


def note(module: str) -> None:
    """Remember what the functions of a module need."""
    holder = modules.get(module)
    for value in (holder, *list(vars(holder).values())) if holder is not None else ():
        if type(value) is ModuleType:
            name: Any = value.__name__
        else:
            # A class or a function of another module, or an instance of such a class: `from typing import Any`.
            name = _module_of(value if issubclass(type(value), (type, FunctionType)) else type(value))
        if name.startswith("_"):
            continue
        note_module(name)


def home(function: Any) -> str:
    """The module of a function, or of what a partial calls."""
    return getattr(getattr(function, "func", function), "__module__", None) or ""


def _module_of(value: Any) -> str:
    """Where a class or function was defined. Nothing else may be asked: lazy objects run code of their own then."""
    try:
        name = value.__module__
    except Exception:  # noqa: BLE001 - a metaclass may do as it likes
        return ""
    return name if type(name) is str else ""


# Modules that a worker has before it imports anything for its calls.
_BARE = """_collections_abc _weakrefset abc builtins codecs collections contextlib copyreg encodings functools gc
genericpath io itertools marshal operator os posix posixpath reprlib stat sys time weakref"""
_THERE = frozenset(
    {*_BARE.split(), "__future__", "enum", "keyword", "pointsman", "signal", "types", "typing", "warnings"}
)
# How far it is followed what modules name. Arbitrary from 3 on; each module that is found brings about one more that is
# not: six modules of everyday work imported 44 to 150, of which 17 to 85 were found.
_STEPS = 3
# What one of those weighs that come with a package, which are all seen: numpy, pandas and scikit-learn take 0.6 to 0.7
# ms for each. What a module weighs that was found otherwise includes another that was not.
_EASY = 0.7
_behind: dict[str, int] = {}


def behind(function: Any) -> int:
    """How many modules a new worker has to import to call the function, roughly: those that its module reaches."""
    name = home(function)
    known = _behind.get(name)
    if known is None:
        known = _behind[name] = count([name])
    return known


def weight() -> int:
    """How many modules the zygote imports for the calls, roughly."""
    return count(needed)


def count(names: Iterable[str]) -> int:
    """How many modules are imported with these, beyond what a worker has, roughly."""
    seen: set[str] = set()
    level: set[str] = set(names)
    packages: set[str] = set()
    for _ in range(_STEPS + 1):
        following: set[str] = set()
        for name in level - seen - _THERE:
            if (module := modules.get(name)) is None:
                continue
            seen.add(name)
            root = name.partition(".")[0]
            if root not in STANDARD and name not in names:
                # Packages import themselves whole, as a rule.
                packages.add(root)
                continue
            for value in list(vars(module).values()):
                if type(value) is ModuleType:
                    following.add(value.__name__)
                elif issubclass(type(value), (type, FunctionType)):
                    following.add(_module_of(value))
        level = following
    others = _brought_by(packages) - seen - _THERE
    return len(seen - _THERE - {"__main__", "__mp_main__"}) + round(_EASY * len(others))


def _brought_by(packages: set[str]) -> set[str]:
    """Return the modules that came with these packages: they have their places between the first and the last of it."""
    if not packages:
        return set()
    names = list(modules)
    ends: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(names):
        root = name.partition(".")[0]
        if root in packages:
            ends[root] = ends.get(root, (place, place))[0], place
    return {name for first, last in ends.values() for name in names[first : last + 1]}


class Ref:
    """Stands for a function of the same pack, or for a module."""

    __slots__ = ("name", "number")

    def __init__(self, number: int, name: str | None = None) -> None:
        self.number = number
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return Ref, (self.number, self.name)


class Pack:
    """What unpickles to the first of the functions in it."""

    def __init__(self, specs: list[Any]) -> None:
        self.specs = specs

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, (self.specs,)


class TooRich(Exception):  # noqa: N818 - never leaves this module
    """The function reaches something that is cloudpickle's."""


def pack(function: Any) -> tuple[bytes, list[tuple[object, object, object]]] | None:
    """Return the packed function and everything that it reaches, or None if it is not a plain one.

    What it reaches is a list of a dictionary, a name in it and the value it has, or the dictionary again where the name
    is not in it; of a cell, None and its contents; of a function, None and its parts. The packed form is good for as
    long as all of this is so.
    """
    packer = Packer()
    try:
        packer.function(function)
        return dumps(Pack(packer.specs), 5), packer.reached
    except Exception:  # noqa: BLE001 - whatever it is, cloudpickle may manage
        return None


class Packer:
    def __init__(self) -> None:
        self.specs: list[Any] = []
        self.reached: list[tuple[object, object, object]] = []
        self._numbers: dict[int, int] = {}
        self._namespaces: dict[int, int] = {}

    def function(self, function: Any) -> int:
        number = self._numbers.get(id(function))
        if number is not None:
            return number
        if function.__dict__ or len(self.specs) >= _MOST:
            raise TooRich
        number = self._numbers[id(function)] = len(self.specs)
        spec: list[Any] = []
        self.specs.append(spec)
        code, names = function.__code__, function.__globals__
        space = self._namespaces.setdefault(id(names), len(self._namespaces))
        captured = []
        self.reached.append((function, None, parts_of(function)))
        for cell in function.__closure__ or ():
            value = cell.cell_contents
            self.reached.append((cell, None, value))
            captured.append(self.value(value))
        named, used = {}, sorted(names_in(code))
        if not _SAID.isdisjoint(used):
            raise TooRich
        for name in used:
            if name in names:
                self.reached.append((names, name, names[name]))
                named[name] = self.value(names[name])
        self.reached += [(names, name, names) for name in lacking(code, names)]
        defaults = tuple(self.value(value) for value in function.__defaults__ or ())
        keyword_defaults = {name: self.value(value) for name, value in (function.__kwdefaults__ or {}).items()}
        spec += [dump_code(code), function.__name__, function.__qualname__, function.__module__, space]
        spec += [captured if function.__closure__ is not None else None, named, defaults, keyword_defaults]
        spec.append(self._inside([*captured, *named.values()], used))
        return number

    def _inside(self, reached: list[Any], used: list[str]) -> list[Ref]:
        """The modules inside of packages that code goes on to: `import a.b` alone puts `b` where `a.b` finds it."""
        found = []
        packages = [value.name for value in reached if type(value) is Ref and value.name is not None]
        for package in packages:
            if "__path__" not in vars(modules[package]):
                continue
            for name in used:
                inner = f"{package}.{name}"
                if (module := modules.get(inner)) is not None:
                    self.reached.append((modules, inner, module))
                    found.append(Ref(-1, inner))
                    packages.append(inner)
        return found

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is tuple:
            return tuple(self.value(item) for item in value)
        if kind is ModuleType:
            name: str = value.__name__
            if modules.get(name) is not value or is_lost(name):
                raise TooRich
            note(name)
            return Ref(-1, name)
        if kind is FunctionType:
            return value if is_importable(value) else Ref(self.function(value))
        if (kind is BuiltinFunctionType or issubclass(kind, type)) and is_importable(value):
            return value
        raise TooRich


def parts_of(function: FunctionType) -> tuple[Any, ...]:
    """What is looked at of a function: its code and defaults, and its attributes if it has any."""
    parts = function.__code__, function.__defaults__, function.__kwdefaults__
    return (*parts, function.__dict__) if function.__dict__ else parts


def lacking(code: CodeType, names: dict[str, Any]) -> set[str]:
    """Return the globals that code asks for and that are not there, so far; one may come before a builtin."""
    found: set[str] = set()
    if any(name not in names for name in code.co_names):
        found = {name for name in globals_in(code) if name not in names}
    for constant in code.co_consts:
        if type(constant) is CodeType:
            found |= lacking(constant, names)
    return found


def unpack(specs: list[Any]) -> Any:
    """Rebuild the functions of a pack and return the first."""
    import builtins

    spaces: dict[int, dict[str, Any]] = {}
    functions: list[Any] = []
    for code, name, qualname, module, space, captured, *_ in specs:
        names = spaces.setdefault(space, {"__builtins__": builtins, "__name__": module})
        cells = None if captured is None else tuple(CellType() for _ in captured)
        function = FunctionType(load_code(code), names, name, None, cells)  # noqa: S302 - made by `pack` in the parent
        function.__qualname__, function.__module__ = qualname, module
        functions.append(function)

    for function, spec in zip(functions, specs, strict=True):
        captured, named, defaults, keyword_defaults, inside = spec[5:]
        for module in inside:
            _real(module, functions)
        for cell, value in zip(function.__closure__ or (), captured or (), strict=True):
            cell.cell_contents = _real(value, functions)
        for name, value in named.items():
            function.__globals__[name] = _real(value, functions)
        function.__defaults__ = _real(defaults, functions) or None
        function.__kwdefaults__ = {name: _real(value, functions) for name, value in keyword_defaults.items()} or None
    for function in functions:
        _initialized.apply(function)
    return functions[0]


def _real(value: Any, functions: list[Any]) -> Any:
    if type(value) is Ref:
        if value.name is None:
            return functions[value.number]
        __import__(value.name)
        return modules[value.name]
    return tuple([_real(item, functions) for item in value]) if type(value) is tuple else value
