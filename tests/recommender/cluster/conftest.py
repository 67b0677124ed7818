"""One local Ray for all tests of this folder; they are skipped where Ray is not installed."""

import pytest


@pytest.fixture(scope="session")
def cluster():
    ray = pytest.importorskip("ray", reason="needs netgraft[ray]")
    from recommender.cluster.session import connect

    yield connect("local")
    ray.shutdown()
