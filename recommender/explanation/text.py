"""Names and durations as printable text."""

import unicodedata


def printable(name: str) -> str:
    """A file's or folder's name as valid Unicode: bytes that are none become escapes like \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def clean(text: str) -> str:
    """A name or message that can't disturb a terminal: on one line, control characters as their escapes."""
    return "".join(
        char if unicodedata.category(char)[0] != "C" else char.encode("unicode_escape").decode()
        for char in printable(text)
    )


def duration(seconds: float) -> str:
    """Seconds for a reader: "3.4 s", "95 s", "12 min", "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
