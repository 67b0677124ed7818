"""The errors that a user of the probes can cause."""

from typing import Any


class ProbeError(Exception):
    """What was given can't be measured: the message says what was expected, what arrived and what to do."""


class BrokenData(ProbeError):
    """Images that can't be measured were looked at all the same.

    Args:
        message: as of `ProbeError`.
        findings: what was found, of `probes.quality.findings.Finding`.
    """

    def __init__(self, message: str, findings: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.findings = findings
