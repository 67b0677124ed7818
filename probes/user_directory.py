"""Where netgraft keeps what is the user's own."""

import os
from pathlib import Path


def data_directory() -> Path:
    """NETGRAFT_DATA, or the system's place for a user's data."""
    from platformdirs import user_data_path

    named = os.environ.get("NETGRAFT_DATA")
    return Path(named) if named else user_data_path("netgraft")


def cache_directory() -> Path:
    """NETGRAFT_CACHE, or the system's place for files that can be made again."""
    from platformdirs import user_cache_path

    named = os.environ.get("NETGRAFT_CACHE")
    return Path(named) if named else user_cache_path("netgraft")
