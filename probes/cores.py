"""How many cores this process uses."""

import os


def n_cores() -> int:
    """As many as the machine has, or as `NETGRAFT_CORES` says, which each worker of a cluster sets to its share."""
    given = os.environ.get("NETGRAFT_CORES", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1
