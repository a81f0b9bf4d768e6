"""Which random generators are a program's own, so that two copies of one give the same numbers twice.

Does not know: bytecode, how a call is followed.

Invariants:

I1. No code of the user's runs: generators are looked at, never asked.
I2. The generators that modules keep for the whole process (`random.random()`, `numpy.random.rand()`) are nobody's own:
    each worker has its own of these, as documented.
"""

from __future__ import annotations

import sys

from ._origins import class_of, full_name
from ._tables import METHOD_ALIAS, METHOD_HOLDS, MUTATORS

_GENERATORS = frozenset(
    [
        "random.Random",
        "numpy.random._generator.Generator",
        "numpy.random.mtrand.RandomState",
        "numpy.random.bit_generator.BitGenerator",
        "numpy.random.bit_generator.SeedSequence",
    ]
)
# It asks the system, and has no state that could be copied.
_STATELESS = "random.SystemRandom"
_OF_THE_PROCESS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))
_READING = frozenset(["getstate", "get_state", "jumped", "generate_state"])
# Modules whose functions keep, copy or describe what they are given, and draw nothing from it.
_KEEPING = frozenset(["builtins", "collections", "copy", "functools", "itertools", "operator", "pickle", "types"])

_KEEPING_METHODS = MUTATORS | METHOD_ALIAS | METHOD_HOLDS


def is_own_generator(obj: object) -> bool:
    """Whether drawing from `obj` changes what this program draws next."""
    cls = class_of(obj)
    if cls is None:
        return False
    names = {full_name(base) for base in cls.__mro__}
    if _GENERATORS.isdisjoint(names) or _STATELESS in names:
        return False
    return not is_process_generator(obj)


def is_process_generator(obj: object) -> bool:
    """Whether `obj` is the generator behind the functions of a module (I2)."""
    return any(
        module in sys.modules and obj is sys.modules[module].__dict__.get(name) for module, name in _OF_THE_PROCESS
    )


def draws(obj: object, method: str) -> bool:
    """Whether a method of this name takes something out of `obj`, which is a generator of the program's own."""
    return not (method.startswith("__") or method in _READING) and is_own_generator(obj)


def seeds(obj: object, method: str) -> bool:
    """Whether a method of this name sets where a generator begins that is not of the call's own making."""
    return method == "seed" and (is_own_generator(obj) or is_process_generator(obj))


def is_seed_of_numpy(obj: object) -> bool:
    """Whether it is `numpy.random.seed`, which is no method."""
    return getattr(sys.modules.get("numpy.random"), "seed", None) is obj


def is_kept(name: str) -> bool:
    """Whether the library's function or method of this name leaves a generator that it is given as it is."""
    module, dot, _name = name.partition(".")
    return module in _KEEPING if dot else name in _KEEPING_METHODS or name.startswith("__")
