"""The command `recommend`: its arguments. Nothing heavy is imported before the work begins."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from builders.export.formats import FORMATS
from recommender.cli import actions as commands
from recommender.limits import LARGEST_SEED, SMALLEST_BUDGET, SMALLEST_INPUT, SMALLEST_SAMPLE

_BUDGET = 600.0  # seconds


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"netgraft {metadata.version('netgraft')}")
        context.exit()


def _print_backbones(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from builders.backbones.registry import BACKBONES

    for spec in BACKBONES.values():
        click.echo(f"{spec.name:22} {spec.native_size} px  {spec.paper:16}  {spec.availability}")
    context.exit()


class _Command(click.Command):
    """A command whose option --check has a value only where one is joined to it: `--check=full`.

    `recommend predict ...` is a command of its own.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta["arguments"] = list(args)
        if args[:1] == ["predict"]:
            from recommender.cli.predict import predict

            predict.main(args[1:], prog_name=f"{context.info_name} predict")
        own = args[: args.index("--")] if "--" in args else args
        given = ["--check=sample" if argument == "--check" else argument for argument in own]
        return super().parse_args(context, given + args[len(own) :])


def _columns(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """NAME=COLUMN, repeated, as a dict."""
    parts = [pair.partition("=") for pair in given]
    for name, equals, column in parts:
        if not (name and equals and column):
            raise click.BadParameter(f"Expected NAME=COLUMN, as label=diagnosis. Received: {name!r}.")
    return {name: column for name, _, column in parts} or None


def _seconds(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    """90, 90s, 10m or 1.5h in seconds."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", given.strip().lower())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds < SMALLEST_BUDGET:
        raise click.BadParameter(
            f"Expected a time of at least {SMALLEST_BUDGET} s, as 90s, 10m or 1h. Received: {given!r}."
        )
    return seconds


@click.command(
    cls=_Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The four scenarios: 1 LINEAR_PROBE (limited data, similar), 2 PARTIAL_FINE_TUNE (plentiful, similar), "
    "3 FULL_FINE_TUNE (plentiful, unlike), 4 SHALLOW_FEATURES (limited, unlike).",
)
@click.argument("data", required=False)
@click.option(
    "--check",
    type=click.Choice(["sample", "full"]),
    metavar="",
    help="Tell all that is wrong or odd with the data, in place of the recommendation; --check=full looks at every "
    "image, and goes on where it was interrupted.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    callback=_columns,
    help="The column of a manifest that holds NAME: path, label, split, group or weight.",
)
@click.option(
    "--backbone",
    default="efficientnet_lite0",
    show_default=True,
    metavar="NAME|PATH",
    help="Pretrained network: a name of --list-backbones, a .keras or .h5 file, a SavedModel or a hub handle.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its weights, for a name of keras.applications; by default Keras fetches ImageNet's.",
)
@click.option(
    "--pixels",
    type=click.Choice(["0..255", "0..1", "-1..1", "torch", "caffe"]),
    help="How it wants pixels scaled; measured where it is not known.",
)
@click.option("--trust", is_flag=True, help="Run code and any operation that the backbone's file holds.")
@click.option(
    "--input-size",
    type=click.IntRange(min=SMALLEST_INPUT),
    metavar="PX",
    help="Side of the network's input; follows the images by default.",
)
@click.option(
    "--max-images",
    type=click.IntRange(min=SMALLEST_SAMPLE),
    default=1000,
    show_default=True,
    metavar="N",
    help="Images measured at most.",
)
@click.option("--scenario", type=click.IntRange(1, 4), metavar="1..4", help="Override the choice of the scenario.")
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    metavar="N",
    help="Same seed, same answer.",
)
@click.option(
    "--build",
    "target",
    type=click.Path(path_type=Path),
    metavar="MODEL.keras",
    help="Write the model, and beside it MODEL.json, class names, a model card and what tells foreign pictures.",
)
@click.option("--fit", is_flag=True, help="Train the model, and judge it on images that it did not learn from.")
@click.option("--epochs", type=click.FloatRange(min=0), metavar="N", help="With --fit: how often each image is seen.")
@click.option("--steps", type=click.IntRange(min=0), metavar="N", help="With --fit: batches, in place of --epochs.")
@click.option("--resume", is_flag=True, help="With --fit: go on where the same training was broken off.")
@click.option(
    "--logs",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="With --fit: write logs for TensorBoard.",
)
@click.option("--compare", is_flag=True, help="Train the recommended strategy and its rivals, and tell which is best.")
@click.option("--budget", callback=_seconds, metavar="TIME", help="Time for --compare: 90s, 10m or 1h; 10m by default.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --compare: draw accuracy against seconds, as PNG, SVG or PDF.",
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="With --build: write the model in this form, too; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--quiet", is_flag=True, help="No progress, and the answer in one line.")
@click.option("--verbose", is_flag=True, help="Describe the backbone stage by stage, too.")
@click.option("--list-cuts", metavar="NAME|PATH", help="List the cut points of a backbone, and stop.")
@click.option(
    "--make-reference",
    "pictures",
    type=click.Path(path_type=Path),
    metavar="IMAGES",
    help="Keep how pictures of what --backbone was trained on look to it, and stop.",
)
@click.option(
    "--list-backbones",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_backbones,
    help="List the backbones.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def main(
    context: click.Context, /, data: str | None, list_cuts: str | None, pictures: Path | None, **arguments: Any
) -> None:
    """Measure labelled images and tell how to transfer a pretrained network to them: which of four scenarios, where to
    cut, what to freeze, and how accurate that is before any training. Then train it, compare it with its rivals,
    export it.

    DATA is a folder with one sub-folder a class, or with such a folder for each of train, val and test; a CSV, TSV or
    Parquet manifest with the columns path and label; a zip or tar of such a folder; TFRecord shards; or the address of
    one of these (gs://...).

    `recommend predict MODEL IMAGES...` tells what a built model sees in pictures (data of that name: ./predict).
    """
    asked = [
        name for name, value in (("DATA", data), ("--list-cuts", list_cuts), ("--make-reference", pictures)) if value
    ]
    if len(asked) != 1:
        raise click.UsageError(
            f"Expected one of DATA, --list-cuts and --make-reference. Received: {' and '.join(asked) or 'none'}."
        )
    wanted = _wanted(arguments)
    try:
        if list_cuts:
            commands.list_cuts(list_cuts, trust=arguments["trust"])
        elif pictures:
            commands.make_reference(pictures, as_json=wanted.as_json, quiet=wanted.quiet, **arguments)
        elif data:
            commands.run(data, wanted, command=commands.command_line(context.meta["arguments"]), **arguments)
    except KeyboardInterrupt as error:
        commands.fail(str(error) or "Interrupted. Nothing was written.")
    except Exception as error:
        if not commands.is_the_users(error):
            raise
        if arguments["check"]:
            commands.print_findings(error, as_json=wanted.as_json)
        commands.fail(str(error))


_ONLY_WITH = {
    "fit": ("epochs", "steps", "resume", "logs"),
    "compare": ("budget", "plot"),
    "target": ("exports",),
}
_NAMES = {"target": "build", "exports": "export"}


def _wanted(arguments: dict[str, Any]) -> commands.Wanted:
    """Take out of the arguments what is to be done beyond the recommendation.

    Raises:
        click.UsageError: an option goes with another that is missing, or two exclude one another.
    """
    for needed, names in _ONLY_WITH.items():
        for name in names:
            if arguments[name] and not arguments[needed]:
                raise click.UsageError(
                    f"Expected --{_NAMES.get(name, name)} to come with --{_NAMES.get(needed, needed)}. Received: "
                    f"--{_NAMES.get(name, name)} alone."
                )
    if arguments["check"] and (arguments["fit"] or arguments["compare"]):
        raise click.UsageError("Expected --check, or --fit and --compare. Received both. Check first, then train.")
    if arguments["epochs"] is not None and arguments["steps"] is not None:
        raise click.UsageError("Expected --epochs or --steps. Received both.")
    fit = {name: arguments.pop(name) for name in ("epochs", "steps", "resume", "logs")}
    budget = arguments.pop("budget")
    return commands.Wanted(
        target=arguments.pop("target"),
        exports=tuple(dict.fromkeys(arguments.pop("exports"))),
        fit=fit if arguments.pop("fit") else None,
        budget=(budget or _BUDGET) if arguments.pop("compare") else None,
        plot=arguments.pop("plot"),
        as_json=arguments.pop("as_json"),
        quiet=arguments.pop("quiet"),
        verbose=arguments.pop("verbose"),
    )
