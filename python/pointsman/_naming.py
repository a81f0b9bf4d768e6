"""The name of a function in messages. Does not know what it is for."""

from __future__ import annotations


def name_of(function: object) -> str:
    """The name that messages use for a function."""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str):
        return name
    inner = getattr(function, "func", None)
    return f"partial({name_of(inner)})" if inner is not None else type(function).__qualname__
