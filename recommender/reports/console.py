"""What all terminal pages share."""

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from recommender.explanation.text import clean


def print_plainly(page: RenderableType, console: Console) -> None:
    """Print; elsewhere than on a terminal without colours and trailing blanks."""
    if console.is_terminal:
        console.print(page, highlight=False)
        return
    with console.capture() as captured:
        console.print(page, highlight=False)
    lines = captured.get().strip("\n").split("\n")
    console.file.write("\n".join(line.rstrip() for line in lines) + "\n")


def heading(text: str) -> Text:
    return Text(text, style="bold")


def bullets(lines: tuple[str, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(" •", Text(clean(line)))
    return table
