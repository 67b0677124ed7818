"""`recommend fit`."""

from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource

from recommender.cli import options
from recommender.cli.compare import comparison
from recommender.cli.run import Request, run


@options.command("fit")
@options.hidden("compare", "budget", "plot")
@options.data
@options.answer
@click.option(
    "--epochs",
    panel="Training",
    type=click.FloatRange(min=0),
    metavar="N",
    help="How often each image is used in fine-tuning. By default it follows the number of images.",
)
@click.option(
    "--steps", panel="Training", type=click.IntRange(min=0), metavar="N", help="Batches, in place of --epochs."
)
@click.option("--resume", panel="Training", is_flag=True, help="Resume where the same training was interrupted.")
@click.option(
    "--logs",
    panel="Training",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write logs for TensorBoard.",
)
@click.option("--compare", is_flag=True)
@comparison
@options.output
@click.pass_context
def fit(
    context: click.RichContext,
    /,
    data: str,
    epochs: float | None,
    steps: int | None,
    resume: bool,
    logs: Path | None,
    compare: bool,
    budget: float,
    plot: Path | None,
    **arguments: Any,
) -> None:
    """Train the recommended model, and evaluate it on images that were not used in training.

    It prints the recommendation first. Ctrl-C ends it with the best model so far.
    """
    if epochs is not None and steps is not None:
        raise click.UsageError("Expected --epochs or --steps. Received both.")
    sources = [context.get_parameter_source(name) for name in ("budget", "plot")]
    if ParameterSource.COMMANDLINE in sources and not compare:
        raise click.UsageError("Expected --budget and --plot with `recommend compare`. Received: `recommend fit`.")
    request = Request.take(
        arguments,
        fit={"epochs": epochs, "steps": steps, "resume": resume, "logs": logs},
        budget=budget if compare else None,
        plot=plot if compare else None,
    )
    run(data, request, command=context.obj, **arguments)
