"""Named tuples for modules that every job loads.

`typing.NamedTuple` loads annotationlib from Python 3.14 on, and with it ast, which takes longer than a small job.
"""

from __future__ import annotations

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from collections import namedtuple

    class _Tuple(type):
        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body["__annotations__"]
            defaults = [body[field] for field in fields if field in body]
            return namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # noqa: PYI024 - see above

    class NamedTuple(metaclass=_Tuple):
        """Stands for `typing.NamedTuple`."""
