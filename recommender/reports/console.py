"""What all terminal pages share."""

import io
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from recommender.explanation.text import clean

BAR, SMALL_BAR = 16, 8  # characters


def lenient_output() -> None:
    """Let standard output replace characters that the terminal's encoding lacks, in place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def console() -> Console:
    """Standard output, for pages."""
    lenient_output()
    return Console()


def print_plainly(page: RenderableType, console: Console) -> None:
    """Print; where the output is no terminal, without colours and trailing blanks."""
    if console.is_terminal:
        console.print(page, highlight=False)
        return
    with console.capture() as captured:
        console.print(page, highlight=False)
    lines = captured.get().strip("\n").split("\n")
    console.file.write("\n".join(line.rstrip() for line in lines) + "\n")


def heading(text: str) -> Text:
    return Text(text, style="bold")


def bullets(lines: Iterable[str]) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(" •", Text(clean(line)))
    return table


def grid() -> Table:
    """A table of bold names and what they stand for."""
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def bar(share: float, width: int = BAR) -> str:
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)
