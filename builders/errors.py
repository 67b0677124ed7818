"""The error that a user of the builders can cause."""


class BuildError(Exception):
    """What was asked for can't be built: the message says what was expected, what arrived and what to do."""
