"""Where netgraft keeps what it measured for a user."""

import os
from pathlib import Path


def data_directory() -> Path:
    """$NETGRAFT_DATA, or the operating system's folder for a user's data."""
    from platformdirs import user_data_path

    return Path(os.environ.get("NETGRAFT_DATA") or user_data_path("netgraft"))


def cache_directory() -> Path:
    """$NETGRAFT_CACHE, or the operating system's folder for files that can be made again."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("NETGRAFT_CACHE") or user_cache_path("netgraft"))
