"""How reasons call a callable.

Does not know: what it does.

Invariants:

I1. Finding the name runs no code of the user's: only types whose name is a slot are asked for it.
"""

from __future__ import annotations

from functools import partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    WrapperDescriptorType,
)

from ._kinds import is_a

_NAMED = (
    FunctionType,
    BuiltinFunctionType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
    ClassMethodDescriptorType,
    type,
)


def name_of(func: object) -> str:
    """The name of a function or a class, or of the class of any other object."""
    while is_a(func, partial | MethodType):
        func = func.func if is_a(func, partial) else func.__func__
    found = func if is_a(func, _NAMED) else type(func)
    return str(found.__qualname__).rpartition("<locals>.")[2]
