"""The command `recommend`."""

import sys


def run() -> None:
    """What is installed as `recommend` and as `netgraft`; Ctrl-C ends it in one line while it is imported, too."""
    try:
        from recommender.cli.recommend import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted. Nothing was written.\n")
        sys.exit(130)
