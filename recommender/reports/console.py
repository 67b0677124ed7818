"""What all terminal pages share."""

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from recommender.explanation.text import clean

_LENIENT = "netgraft_lenient"  # name of our handler of encoding errors
_IN_ASCII = {"█": "#", "░": ".", "◀": "<", "•": "*", "·": "-", "…": "~", "→": ">", "×": "x", "–": "-", "’": "'"}


def lenient_output(errors: str = "replace") -> None:
    """Let standard output replace characters that the terminal's encoding lacks, in place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=errors)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(letter) or _without_accent(letter) for letter in lacking), error.end


def _without_accent(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


def console() -> Console:
    """Standard output, for pages."""
    codecs.register_error(_LENIENT, _replaced)
    lenient_output(_LENIENT)
    return Console()


def print_plainly(parts: Iterable[RenderableType], console: Console) -> None:
    """Print; where the output is no terminal, without colours and trailing blanks."""
    page = Group(*parts)
    if console.is_terminal:
        console.print(page, highlight=False, crop=False)
        return
    with console.capture() as captured:
        console.print(page, highlight=False, crop=False)
    lines = captured.get().strip("\n").split("\n")
    console.file.write("\n".join(line.rstrip() for line in lines) + "\n")


def bullets(title: str, lines: Iterable[str]) -> RenderableType:
    """A list under a heading."""
    return Group(Text(title, "bold"), points(lines))


def points(lines: Iterable[str]) -> Table:
    """A list."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row(" •", Text(clean(line), overflow="fold"))
    return table


def grid(*rows: tuple[str, str | Text]) -> Table:
    """A table of bold names and what they stand for; rows without a content are left out."""
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, content in rows:
        if content:
            table.add_row(name, content if isinstance(content, Text) else Text(content))
    return table
