"""`recommend predict`."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from recommender.cli import options
from recommender.cli.terminal import fail, import_tensorflow, progress

if TYPE_CHECKING:
    from recommender.prediction.predict import Prediction

_NOTE = "unlike the training pictures"
_WIDEST = 60  # characters of a name in the table; a longer one shifts the other columns

Writer = Callable[["Prediction"], None]


@options.command(
    "predict",
    epilog="Exit code: 0 if every image was read, 1 if one was not or nothing could be done, 2 for wrong arguments.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--top",
    panel="Output",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Report the K most probable classes.",
)
@click.option(
    "--csv",
    "as_csv",
    panel="Output",
    is_flag=True,
    help="Print CSV: file, class, probability, foreign (out-of-distribution: true or false), distance, error.",
)
@click.option("--json", "as_json", panel="Output", is_flag=True, help="Print one JSON array, an object per image.")
@click.option("--quiet", panel="Output", is_flag=True, help="Show no progress, and print no notes on standard error.")
@options.trust
def predict(
    model: Path, images: tuple[str, ...], top: int, as_csv: bool, as_json: bool, trust: bool, quiet: bool
) -> None:
    """Predict the class of each image, its probability, and whether the image is out-of-distribution.

    MODEL is a .keras file that `recommend DATA --build MODEL.keras` wrote; MODEL.json next to it names the classes, and
    MODEL.features.npz holds the out-of-distribution detector. IMAGES are files, folders, which are searched at any
    depth, or - for a list of paths on standard input, one per line.

    An image that can't be read is reported, and the others are predicted.
    """
    if as_csv and as_json:
        raise click.UsageError("Expected one of --csv and --json. Received: both.")
    failed = n = 0
    with progress(shown=not quiet and not sys.stdout.isatty(), first="Loading the model") as show:
        import_tensorflow()
        from recommender.prediction import predict as prediction
        from recommender.prediction import predictor as predictors
        from recommender.reports.console import lenient_output

        predictor = predictors.open_predictor(model, trust=trust)
        for note in () if quiet else predictor.notes:
            click.echo(_clean(note), err=True)
        lenient_output()
        form = _csv_writer if as_csv else _json_writer if as_json else _table_writer
        try:
            with form(min(top, len(predictor.classes))) as write:
                for n, found in enumerate(prediction.predict(predictor, _paths(images), top=top), start=1):
                    failed += found.error is not None
                    write(found)
                    show("predicting", n, 0)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted. Not all pictures were predicted.") from None
    if failed:
        fail(f"{failed:,} of {n:,} pictures could not be read.")


def _paths(images: Iterable[str]) -> Iterator[str]:
    """The arguments, and the lines of standard input in place of -."""
    for name in images:
        if name != "-":
            yield name
            continue
        for line in sys.stdin.buffer:
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path


def _clean(text: str) -> str:
    from recommender.explanation.text import clean

    return clean(text)


def _printable(text: str) -> str:
    from recommender.explanation.text import printable

    return printable(text)


@contextlib.contextmanager
def _table_writer(_top: int) -> Iterator[Writer]:
    """A line per class, as wide as the names seen so far need; images that can't be read go to standard error."""
    widths = [len("file"), len("class")]
    headed = False

    def line(*cells: str) -> None:
        nonlocal headed
        widths[:] = [max(width, min(len(cell), _WIDEST)) for width, cell in zip(widths, cells, strict=False)]
        if not headed:
            headed = True
            line("file", "class", "probability", "note")
        file, name, probability, note = cells
        click.echo(f"{file:{widths[0]}}  {name:{widths[1]}}  {probability}  {note}".rstrip())

    def write(found: "Prediction") -> None:
        file = _clean(found.file)
        if found.error is not None:
            click.echo(f"{file}: {_clean(found.error)}", err=True)
        for number, (name, probability) in enumerate(zip(found.classes, found.probabilities, strict=True)):
            note = _NOTE if found.foreign and not number else ""
            line("" if number else file, _clean(name), f"{probability:11.1%}", note)

    yield write


@contextlib.contextmanager
def _csv_writer(top: int) -> Iterator[Writer]:
    """A row per image: file, class and probability (then class_2, probability_2 … of --top), foreign, distance, error.

    `foreign` is true or false; it and `distance` are empty where the model has no detector.
    """

    def row(cells: list[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(cells)
        click.echo(text.getvalue())

    def write(found: "Prediction") -> None:
        pairs = zip(found.classes, found.probabilities, strict=True)
        cells = [cell for name, probability in pairs for cell in (name, f"{probability:.6f}")]
        cells += [""] * (2 * top - len(cells))
        foreign = "" if found.foreign is None else str(found.foreign).lower()
        distance = "" if found.distance is None else f"{found.distance:.4f}"
        row([_printable(found.file), *cells, foreign, distance, found.error or ""])

    more = [f"{column}_{number}" for number in range(2, top + 1) for column in ("class", "probability")]
    row(["file", "class", "probability", *more, "foreign", "distance", "error"])
    yield write


@contextlib.contextmanager
def _json_writer(_top: int) -> Iterator[Writer]:
    """One array, an object per image, written as they come; the array ends even where the prediction fails.

    Each has `file` (string), `classes` (array of {`name`: string, `probability`: number 0 to 1}, the most probable
    first, empty where there is an error), `foreign` (true, false, or null where the model has no detector),
    `distance` (number or null) and `error` (string or null).
    """
    separator = "\n"

    def write(found: "Prediction") -> None:
        nonlocal separator
        pairs = zip(found.classes, found.probabilities, strict=True)
        row = {
            "file": _printable(found.file),
            "classes": [{"name": name, "probability": probability} for name, probability in pairs],
            "foreign": found.foreign,
            "distance": found.distance,
            "error": found.error,
        }
        click.echo(separator + json.dumps(row), nl=False)
        separator = ",\n"

    click.echo("[", nl=False)
    try:
        yield write
    finally:
        click.echo("\n]")
