"""`pointsman.cluster`: the cluster that `auto` counts among its choices.

Does not know engines: it connects, and hands on what was measured of the connection.

Invariants:
    C1. Nothing of an engine is imported, and no connection made, before a cluster is named.
    C2. A cluster that cannot be reached any more is no choice.
"""

from __future__ import annotations

import sys

from pointsman._errors import InvalidArgumentError, InvalidTypeError
from pointsman._typing import overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from pointsman.backends._cluster import Cluster, Facts

# How addresses of dask begin: the transports that it knows.
_DASK = ("tcp://", "tls://", "ucx://", "ws://", "wss://")


class Connection:
    """A cluster that `auto` may choose, until `close` or the end of its `with` block.

    Attributes
    ----------
    address
        Of the cluster.
    backend
        "dask" or "ray".
    workers
        Calls that it runs at a time.
    dispatch
        Seconds that one small call takes there and back, as measured.
    bytes_per_second
        How fast arguments and results travel, as measured.

    """

    def __init__(self, cluster: Cluster) -> None:
        facts = cluster.facts()
        self._cluster: Cluster = cluster
        self.address: str = cluster.address
        self.backend: str = facts.kind
        self.workers: int = facts.processes * facts.threads
        self.dispatch: float = facts.dispatch
        self.bytes_per_second: float = facts.bytes_per_second

    def close(self) -> None:
        """Forget the cluster and end the connection; the cluster goes on."""
        from pointsman.backends import _cluster

        if _cluster.named() is self._cluster:
            _cluster.name(None)
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.backend} cluster at {self.address}, {self.workers} calls at a time>"


_current: Connection | None = None


@overload
def cluster(address: str) -> Connection: ...
@overload
def cluster(address: None) -> None: ...
def cluster(address: str | None) -> Connection | None:
    """Let `auto` count a cluster as a candidate, which it takes only when it is predicted to be faster.

    The connection is made, and what a dispatch and the bytes cost is measured, at once. Jobs and `options` with
    `backend="dask"` or "ray" and neither an address nor `max_workers` of their own use it, too.

    Parameters
    ----------
    address
        "tcp://host:8786" (also tls, ucx, ws) of a dask scheduler, "ray://host:10001" or "auto" of ray. None forgets the
        cluster that was named before, and ends the connection.

    Returns
    -------
    The connection, which is also a context manager that forgets the cluster at its end; None for None.

    Raises
    ------
    PoolBrokenError
        If no cluster answers.
    MissingExtraError
        If the engine is not installed; the message has the pip command.

    """
    global _current  # noqa: PLW0603 - one for the program
    kind = None if address is None else _kind(address)
    if _current is not None:
        _current.close()
        _current = None
    if kind is None:
        return None
    from pointsman.backends import _cluster

    made = _cluster.make(kind, address, None)
    try:
        _current = Connection(made)
    except BaseException:
        made.close()
        raise
    _cluster.name(made)
    return _current


def _kind(address: Any) -> str:
    if not isinstance(address, str):
        message = f"the address of a cluster must be a string or None, not {address!r}"
        raise InvalidTypeError(message)
    if address.startswith(_DASK):
        return "dask"
    if address == "auto" or address.startswith("ray://"):
        return "ray"
    message = (
        f"the address {address!r} does not say whose it is: dask's begin with 'tcp://', ray's with 'ray://', and "
        f"'auto' is the ray cluster of this machine"
    )
    raise InvalidArgumentError(message)


def facts() -> Facts | None:
    """What the planner needs of the cluster that `auto` may choose; None if there is none."""
    module = sys.modules.get("pointsman.backends._cluster")
    named = None if module is None else module.named()
    return None if named is None else named.facts()
