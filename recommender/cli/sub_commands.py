"""The sub-commands on labelled images (recommend, check, fit, compare) or a network (backbones, cuts, reference)."""

import json
import re
from pathlib import Path
from typing import Any

import rich_click as click

from probes.errors import BrokenData
from recommender.cli import options
from recommender.cli.run import run
from recommender.limits import SMALLEST_BUDGET
from recommender.progress import import_tensorflow, loading_quietly, progress_bar


@options.command("recommend")
@options.data
@options.ray
@options.answer
@options.answer_panel(
    "--trial",
    is_flag=True,
    help="Before choosing, train on a part of the images, and compare fine-tuned and frozen network on the others.",
)
@options.build
@options.report
@options.form
@click.pass_obj
def recommend(command: str, /, **arguments: Any) -> None:
    """Recommend a strategy (the default: `recommend DATA`).

    It prints which of four scenarios fits, where to cut the network, what to freeze, why, and the accuracy before any
    training.

    DATA is a folder with one sub-folder a class, or with such a folder for each of train, val and test; a CSV, TSV or
    Parquet manifest with the columns path and label; a zip or tar of such a folder; TFRecord, WebDataset or Parquet
    shards with images; or the address of one of these (gs://...).
    """
    run(command, **arguments)


@options.command("check")
@options.data
@options.ray
@options.data_panel(
    "--full", is_flag=True, help="Check every image, and resume where an earlier check was interrupted."
)
@options.form
@click.pass_obj
def check(command: str, /, full: bool, as_json: bool, **arguments: Any) -> None:
    """Report what is wrong or unusual in the data: which files, what was done, what you may do.

    Without --full it checks the images that are measured, and the test split for leaks.
    """
    try:
        run(command, check="full" if full else "sample", as_json=as_json, **arguments)
    except BrokenData as error:
        from recommender.reports.console import console
        from recommender.reports.data_check_page import print_findings
        from recommender.reports.json_schema import Finding

        if as_json:
            findings = [Finding.of(finding).to_dict() for finding in error.findings]
            click.echo(json.dumps({"findings": findings}, indent=2))
        else:
            print_findings(error.findings, console())
        raise


def _names(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    """Names with commas between them; none of them by the word none."""
    if given is None:
        return None
    return tuple(name for name in given.replace(" ", "").split(",") if name not in ("", "none"))


@options.command("fit")
@options.data
@options.ray
@options.answer
@options.training_panel(
    "--epochs",
    type=click.FloatRange(min=0),
    metavar="N",
    help="How often each image is used in fine-tuning. By default it follows the number of images.",
)
@options.training_panel("--steps", type=click.IntRange(min=0), metavar="N", help="Batches, in place of --epochs.")
@options.training_panel("--resume", is_flag=True, help="Resume where the same training was interrupted.")
@options.training_panel(
    "--augment",
    "augmentation",
    metavar="NAMES",
    callback=_names,
    help="mirror, shift and brightness, with commas, or none. By default all; mirror only if labels stay right.",
)
@options.training_panel("--force", is_flag=True, help="Return the fine-tuned model even if it is not probably better.")
@options.training_panel(
    "--embeddings",
    metavar="FOLDER",
    help="With --ray: keep the embeddings of all images there, and resume from them; a folder or an address that all "
    "workers can write.",
)
@options.training_panel("--logs", type=options.PATH, metavar="FOLDER", help="Write logs for TensorBoard.")
@options.build
@options.report
@options.form
@click.pass_obj
def fit(command: str, /, **arguments: Any) -> None:
    """Train the recommended model, and evaluate it on images that were not used in training.

    It prints the recommendation first. The fine-tuned model comes back only if it is probably better than the frozen
    one, by images that were held out. Ctrl-C during the training ends it with the best model so far.

    With --ray a frozen model is fitted on all images by the cluster.
    """
    own = ("epochs", "steps", "resume", "augmentation", "force", "embeddings", "logs")
    fitting = {"ray": arguments["ray"], **{name: arguments.pop(name) for name in own}}
    if fitting["embeddings"] is not None and fitting["ray"] is None:
        raise click.UsageError("Expected --embeddings with --ray. Received: it alone.")
    if fitting["epochs"] is not None and fitting["steps"] is not None:
        raise click.UsageError("Expected --epochs or --steps. Received both.")
    run(command, fit=fitting, **arguments)


def _seconds(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    """90, 90s, 10m or 1.5h in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", given.strip().lower())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds < SMALLEST_BUDGET:
        raise click.BadParameter(
            f"Expected a time of at least {SMALLEST_BUDGET} s, as 90s, 10m or 1h. Received: {given!r}."
        )
    return seconds


@options.command("compare")
@options.data
@options.answer
@options.answer_panel(
    "--budget", default="10m", callback=_seconds, metavar="TIME", help="Time for the comparison: 90s, 10m or 1h."
)
@options.output_panel(
    "--plot", type=options.PATH, metavar="FILE", help="Plot accuracy against seconds, as PNG, SVG or PDF."
)
@options.build
@options.report
@options.form
@click.pass_obj
def compare(command: str, /, **arguments: Any) -> None:
    """Train the recommended strategy and its rivals on the same images, and report which is best.

    It prints the recommendation first. Ctrl-C ends it with what is trained by then. --build writes the preferred model,
    the cheapest within one standard error of the best.
    """
    run(command, **arguments)


@options.command("backbones")
def backbones() -> None:
    """List the networks that have a name."""
    from builders.backbones.registry import KINDS

    for line in filter(None, (kind.listing for kind in KINDS)):
        click.echo(line)


@options.command("cuts")
@click.argument("backbone", metavar="NAME|PATH")
@options.trust
def cuts(backbone: str, trust: bool) -> None:
    """List the cut points of a network: the layers at which it can be cut or frozen."""
    from builders.backbones.registry import check_backbone

    check_backbone(backbone)
    import_tensorflow()
    from builders.backbones.load import structure
    from builders.surgery.cut import cut_points
    from recommender.reports.recommendation_page import cut_table

    click.echo("\n".join(cut_table(cut_points(structure(backbone, trust=trust)))))


@options.command("reference")
@click.argument("images", type=options.PATH)
@options.sampling
@options.backbone
@options.weights_of_network
@options.size
@options.form
def reference(images: Path, as_json: bool, quiet: bool, **arguments: Any) -> None:
    """Measure images of the data that --backbone was trained on.

    IMAGES is a folder of a few hundred such images. Their statistics are kept under the fingerprint of the network's
    weights, and later runs measure the similarity of other images against them. Networks without BatchNorm need this.
    """
    from recommender.pipeline.make_reference import make_reference

    with progress_bar(shown=not (quiet or as_json)) as show:
        path = make_reference(images, progress=loading_quietly(show), **arguments)
    click.echo(json.dumps({"reference": str(path)}) if as_json else f"Wrote {path}")
