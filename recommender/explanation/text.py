"""Names, numbers and durations as printable text."""

import re
import textwrap
import unicodedata
from collections.abc import Iterable


def printable(name: str) -> str:
    """A file's or folder's name as valid Unicode: bytes that are none become escapes like \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def clean(text: str) -> str:
    """A name or message that can't disturb a terminal: on one line, control characters as their escapes."""
    return "".join(
        char if unicodedata.category(char)[0] != "C" else char.encode("unicode_escape").decode()
        for char in printable(text)
    )


def class_name(name: str) -> str:
    """The name of a class; in quotes where it has no letter, so that nobody takes it for a number of images."""
    shown = clean(name)
    return shown if any(char.isalpha() for char in shown) else f"'{shown}'"


def data_name(path: str) -> str:
    """The last part of a path or URL, by which people call their data."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def percent(share: float, digits: int = 1) -> str:
    """A share for a reader: "92.7 %"."""
    return f"{100 * share:.{digits}f} %"


def interval_text(interval: tuple[float, float], digits: int = 1) -> str:
    """An interval of a share: "90.2 to 94.6 %"."""
    low, high = (f"{100 * bound:.{digits}f}" for bound in interval)
    return f"{low} to {high} %"


def points_text(interval: tuple[float, float]) -> str:
    """An interval of a difference of shares, in points: "-0.4 to +2.8"."""
    low, high = interval
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def rows_text(rows: Iterable[tuple[str, str]], width: int = 80) -> str:
    """Names and what there is to say of each, as plain text; rows without a content are left out."""
    shown = [(name, content) for name, content in rows if content]
    column = max((len(name) for name, _ in shown), default=0) + 2
    return "\n".join(
        textwrap.fill(
            content,
            width,
            initial_indent=name.ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for name, content in shown
    )


def duration(seconds: float) -> str:
    """Seconds for a reader: "3.4 s", "95 s", "12 min", "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
