"""`recommend compare`."""

import re
from pathlib import Path
from typing import Any

import rich_click as click

from recommender.cli import options
from recommender.cli.run import Request, run
from recommender.limits import SMALLEST_BUDGET


def _seconds(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    """90, 90s, 10m or 1.5h in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", given.strip().lower())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds < SMALLEST_BUDGET:
        raise click.BadParameter(
            f"Expected a time of at least {SMALLEST_BUDGET} s, as 90s, 10m or 1h. Received: {given!r}."
        )
    return seconds


comparison = options.together(
    click.option(
        "--budget",
        panel="Answer",
        default="10m",
        show_default=True,
        callback=_seconds,
        metavar="TIME",
        help="Time for the comparison: 90s, 10m or 1h.",
    ),
    click.option(
        "--plot",
        panel="Output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Plot accuracy against seconds, as PNG, SVG or PDF.",
    ),
)


@options.command("compare")
@options.data
@options.answer
@comparison
@options.output
@click.pass_obj
def compare(command: str, /, data: str, budget: float, plot: Path | None, **arguments: Any) -> None:
    """Train the recommended strategy and its rivals on the same images, and report which is best.

    It prints the recommendation first. Ctrl-C ends it with what is trained by then. --build writes the preferred model.
    """
    run(data, Request.take(arguments, budget=budget, plot=plot), command=command, **arguments)
