"""All checks of the data. A new check is one new file in this folder and one line here."""

from collections.abc import Callable, Iterator

from probes.quality.checked_data import CheckedData, InspectedData
from probes.quality.checks import classes, files, label_errors, odd_pictures, repeats, shortcuts
from probes.quality.findings import SEVERITIES, Finding

# Each yields findings in the order in which they are reported among others of the same severity.
CHECKS: tuple[Callable[[CheckedData], Iterator[Finding]], ...] = (
    files.unreadable,
    repeats.check,
    label_errors.check,
    shortcuts.check,
    classes.small,
    classes.imbalance,
    classes.names,
    classes.validation,
    files.omissions,
    odd_pictures.check,
)
# Those that need no measured image.
FILE_CHECKS: tuple[Callable[[InspectedData], Iterator[Finding]], ...] = (files.unreadable, files.omissions)


def find(data: CheckedData) -> tuple[Finding, ...]:
    """Everything that is wrong or odd, the most severe first."""
    found = [finding for check in CHECKS for finding in check(data)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def find_in_files(data: InspectedData) -> tuple[Finding, ...]:
    """What is wrong with data that can't be measured: images that were omitted or are unreadable."""
    return tuple(finding for check in FILE_CHECKS for finding in check(data))
