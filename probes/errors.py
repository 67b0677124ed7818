"""The errors that a user of the probes can cause."""

from typing import Any


class ProbeError(Exception):
    """Data that can't be measured: the message says what was expected, what was received and what to do."""


class BrokenData(ProbeError):
    """Images that can't be measured, though they were inspected; `findings` say why."""

    def __init__(self, message: str, findings: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.findings = findings
