"""The command `recommend`."""

from recommender.cli.recommend import main

__all__ = ["main"]
