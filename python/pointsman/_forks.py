"""What a fork of this process needs, where the system forks at all: Windows does not.

Does not know who asks.
"""

from __future__ import annotations

import os

# Workers load this before a program's first result: what `typing` and `threading` bring takes longer than all else.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def at_fork(after_in_child: Callable[[], object], before: Callable[[], object] | None = None) -> None:
    """Call `before` in the process that forks, and `after_in_child` in its child, at each fork from now on."""
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(after_in_child=after_in_child)
    if before is not None:
        os.register_at_fork(before=before)
