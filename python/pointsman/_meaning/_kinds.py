"""Of which class an object is, without asking it.

Does not know: what the classes are for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import isinstance as is_a
    from typing import Any
else:

    def is_a(obj: object, kinds: Any) -> bool:
        """As `isinstance`, which asks an object for its `__class__`: objects may run code for that, and proxies do."""
        return issubclass(type(obj), kinds)


__all__ = ["is_a"]
