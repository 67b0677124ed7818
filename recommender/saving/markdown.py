"""Text that users chose, made safe for Markdown, and the few forms that the model card is written in. Pure."""

import re
from collections.abc import Iterable, Sequence

from recommender.explanation.text import clean

_ALWAYS = re.compile(r"([\\`*\[\]<>|~$&#])")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it is harmless, and plain reads better
_ADDRESS = re.compile(r"(?i)(www)(?=\.)|(?<=\w)(?=://)")  # renderers make links of bare addresses


def escaped(text: str) -> str:
    """Text that a Markdown renderer shows as it is, on one line, whatever is in it."""
    plain = _ALWAYS.sub(r"\\\1", clean(text).strip())
    plain = _UNDERSCORE.sub(r"\\_", plain)
    return _ADDRESS.sub(lambda found: found[0] + "\\" if found[0] else "\\", plain)


def span(name: str) -> str:
    """A name in a code span, which has no escapes of its own."""
    return "`" + re.sub(r"[`|]", "?", clean(name)) + "`"


def bullets(lines: Iterable[str]) -> str:
    """A list; the lines are Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def facts(pairs: Iterable[tuple[str, str | None]]) -> str:
    """A list of named facts; those that are None are left out. The values are Markdown."""
    return bullets(f"**{name}:** {value}" for name, value in pairs if value is not None)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table whose cells are Markdown.

    Args:
        header: names of the columns.
        rows: of cells.
        numbers: indices of the columns that are set to the right.
    """
    rule = ["---:" if column in numbers else "---" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def code(text: str, language: str) -> str:
    """A block of code, fenced by more backticks than stand in a row in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
