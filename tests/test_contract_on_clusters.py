"""What every backend promises, on clusters of dask and ray."""

import pytest

from engines import KINDS, QUIET
from pointsman.backends import _cluster
from test_contract import *  # noqa: F403 - the same tests, with another fixture

pytestmark = [
    pytest.mark.slow,
    # The first of each engine starts its cluster.
    pytest.mark.timeout(300),
    *QUIET,
]


@pytest.fixture(scope="module", params=KINDS)
def backend(request):
    """Name each engine; its local cluster ends when the next one's turn has come."""
    yield request.param
    _cluster.close_shared()


# Those that name their backends themselves have run where they belong.
for name in [name for name in globals() if name.startswith("test_")]:
    if "backend" not in globals()[name].__code__.co_varnames[: globals()[name].__code__.co_argcount]:
        del globals()[name]
