"""Work on bytes that the standard library does without the GIL."""

from __future__ import annotations

import hashlib
import zlib

_TEXT = b"".join(b"%d: the quick brown fox jumps over the lazy dog %d\n" % (i, i * i) for i in range(20_000))
_BLOCK = _TEXT * 8


def digest(x: int) -> str:
    """Hash 9 MB."""
    seen = hashlib.sha256(_BLOCK)
    seen.update(x.to_bytes(8, "big"))
    return seen.hexdigest()


def compress(x: int) -> int:
    """Compress 1 MB."""
    return len(zlib.compress(memoryview(_TEXT)[x:], 6))


def fingerprint(data: bytes) -> str:
    """Hash some kilobytes."""
    return hashlib.sha256(data).hexdigest()
