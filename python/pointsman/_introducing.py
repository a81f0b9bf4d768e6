"""Has multiprocessing say of a worker that it is a child of the program, and not a main process.

Programs ask it who they are, and loggers write it into each record. It is dear to import, so it is told when it is.

Does not know pools, or how workers are started.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from pointsman._authkey import HOLDER, Teller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def introduce(parent: int) -> None:
    """From now on be a child of the process with this number, for whoever asks multiprocessing."""
    if (module := sys.modules.get(HOLDER)) is not None:
        _tell(parent, module)
    else:
        sys.meta_path.insert(0, Teller(partial(_tell, parent)))


def _tell(parent: int, module: Any) -> None:
    module.current_process()._name = f"PointsmanProcess-{os.getpid()}"  # noqa: SLF001 - the setter asks who is asking
    try:
        # It can be read once the process has ended, as the pipe that multiprocessing has for this.
        alive = os.pidfd_open(parent)
    except (AttributeError, OSError):
        return
    module._parent_process = module._ParentProcess("MainProcess", parent, alive)  # noqa: SLF001 - as spawned ones do
