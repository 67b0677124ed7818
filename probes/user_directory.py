"""Where netgraft keeps the user's own files."""

import os
from pathlib import Path


def data_directory() -> Path:
    """$NETGRAFT_DATA, or the operating system's folder for a user's data."""
    from platformdirs import user_data_path

    return Path(os.environ.get("NETGRAFT_DATA") or user_data_path("netgraft"))
