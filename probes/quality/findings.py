"""A finding: something about the data that the user should know."""

from collections.abc import Sequence
from dataclasses import dataclass

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
EXAMPLES = 1000  # of a finding at most: enough to act on, whatever the size of the data


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about the data that the user should know."""

    kind: str  # "truncated", "leak", "imbalance" …
    severity: str  # "error" where numbers can't be trusted until it is fixed, "warning", or "note"
    n_files: int  # files, or images, that it is about
    examples: tuple[str, ...]  # up to `EXAMPLES`; worst first where they can be ranked
    message: str
    done: str  # what was done about it
    advice: str  # what the user may do


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 file", "2 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quoted(names: Sequence[str], most: int = 3) -> str:
    """ "'a', 'b'", or "'a', 'b', 'c' and 7 more"."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
