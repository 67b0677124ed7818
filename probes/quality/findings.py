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


def finding(
    kind: str,
    examples: Sequence[str],
    message: str,
    done: str,
    advice: str,
    *,
    severity: str = WARNING,
    n_files: int | None = None,
) -> Finding:
    """A finding with the first of its examples; by default it is about as many files as there are examples."""
    return Finding(
        kind=kind,
        severity=severity,
        n_files=len(examples) if n_files is None else n_files,
        examples=tuple(examples[:EXAMPLES]),
        message=message,
        done=done,
        advice=advice,
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 file", "2 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quoted(names: Sequence[str], most: int = 3) -> str:
    """ "'a', 'b'", or "'a', 'b', 'c' and 7 more"."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
