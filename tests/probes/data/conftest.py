"""What tests of data share."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache for unpacked and downloaded data."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NETGRAFT_CACHE", str(folder))
    return folder
