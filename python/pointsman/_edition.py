"""What this Python offers that others do not. Does not know what it is used for."""

from __future__ import annotations

import sys

INTERPRETERS = sys.version_info >= (3, 14) and sys.implementation.name == "cpython"
"""Whether this interpreter can run others beside itself, with the standard library's pool."""

NO_INTERPRETERS = (
    "backend='interpreters' needs CPython 3.14 or later, whose standard library has the pool; "
    f"this is {sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}: use backend='processes'"
)
