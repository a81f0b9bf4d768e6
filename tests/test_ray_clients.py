"""Ways to a ray cluster that is there: the one of this machine, and a server of ray's own clients, which may fail.

What it does not know: how ray works.
"""

import contextlib
import os
import socket

import pytest

import pointsman
from engines import QUIET, elsewhere, needs
from functions import fail_at_seven, square
from functions import process as pid_of
from pointsman.backends import _cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), *QUIET]


def connected(address):
    """Connect, more than once if need be: ray's server gives up on a client's own one that starts slowly."""
    for _ in range(2):
        with contextlib.suppress(pointsman.PoolBrokenError):
            return pointsman.cluster(address)
    return pointsman.cluster(address)


@needs("ray")
def test_a_client_that_could_not_connect_leaves_ray_usable(monkeypatch):
    from ray._private import client_mode_hook
    from ray.util import client_connect

    def fail(*_args, **_kwargs):
        # As ray's own does, up to where it fails.
        client_mode_hook._set_client_hook_status(True)
        client_mode_hook._explicitly_enable_client_mode()
        raise ConnectionAbortedError("the server did not start")

    monkeypatch.setattr(client_connect, "connect", fail)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(pointsman.PoolBrokenError, match="did not start"),
    ):
        pointsman.cluster(f"ray://127.0.0.1:{server.getsockname()[1]}")

    assert pointsman.execute(square, range(4), backend="ray", max_workers=1) == [0, 1, 4, 9]
    _cluster.close_shared()


@needs("ray")
def test_auto_is_the_ray_of_this_machine_and_an_address_of_its_clients_is_another_way_to_it(tmp_path, monkeypatch):
    ways = {}
    with elsewhere("ray", tmp_path) as there:
        # Of several clusters on a machine ray takes the one that was started last; here it shall be ours.
        monkeypatch.setenv("RAY_ADDRESS", there.address)
        for address in filter(None, ["auto", there.client]):
            with connected(address) as connection:
                pids = set(pointsman.execute(pid_of, range(6), backend="ray"))
                error = pointsman.options(backend="ray").submit(fail_at_seven, 7).exception(60)
                ways[address] = (connection.address, connection.workers, os.getpid() in pids, type(error))
            _cluster.close_shared()
            assert there.head.is_running()

    expected = {"auto": (there.address, 2, False, ValueError)}
    if there.client:
        expected[there.client] = (there.client, 2, False, ValueError)
    assert ways == expected
