"""Work that waits for a server."""

from __future__ import annotations

import urllib.request


def fetch(url: str) -> int:
    """Take a page."""
    with urllib.request.urlopen(url) as page:  # noqa: S310 - our own server
        return len(page.read())
