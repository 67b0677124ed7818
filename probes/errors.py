"""The error that a user of the probes can cause."""


class ProbeError(Exception):
    """What was given can't be measured: the message says what was expected, what arrived and what to do."""
