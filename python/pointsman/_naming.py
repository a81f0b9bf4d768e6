"""Names of functions, classes and backends: in messages, and in the place of what they name.

Does not know what they are for.
"""

from __future__ import annotations

from sys import modules

# What users choose by name; an executor of their own is named after its class.
BACKENDS = ("auto", "inline", "threads", "processes", "interpreters", "asyncio")
# Engines that an optional package brings.
CLUSTERS = ("dask", "ray")


def name_of(function: object) -> str:
    """The name that messages use for a function."""
    name = getattr(function, "__qualname__", None)
    if isinstance(name, str):
        return name
    inner = getattr(function, "func", None)
    return f"partial({name_of(inner)})" if inner is not None else type(function).__qualname__


def is_importable(value: object) -> bool:
    """Whether another process finds a function or class where it says it is, so that its name will do there."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: object = modules.get(module) if isinstance(module, str) and module != "__main__" else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value
