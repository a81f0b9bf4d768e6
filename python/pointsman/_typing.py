"""What of `typing` is needed while a program runs: that module takes longer to load than most of this package.

Does not know who is annotated.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import overload as overload
else:

    def overload(function: Any) -> Any:
        """Mark one of several signatures, for type checkers."""
        return function
