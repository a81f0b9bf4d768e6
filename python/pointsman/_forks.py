"""Has functions called around a fork of this process, where the system forks at all: Windows does not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def at_fork(after_in_child: Callable[[], object], before: Callable[[], object] | None = None) -> None:
    """Call `before` in the process that forks, and `after_in_child` in its child, at each fork from now on."""
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(after_in_child=after_in_child)
    if before is not None:
        os.register_at_fork(before=before)
