"""`recommend predict`."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from recommender.cli import options
from recommender.cli.terminal import fail, say
from recommender.explanation.text import clean, printable
from recommender.progress import Progress, import_tensorflow, progress_bar

if TYPE_CHECKING:
    from recommender.prediction.predict import Prediction

_NOTE = "out-of-distribution"


@options.command(
    "predict",
    epilog="Exit code: 0 if every image was read, 1 if one was not or nothing could be done, 2 for wrong arguments.",
)
@click.argument("model", type=options.PATH)
@click.argument("images", nargs=-1, required=True, type=click.Path())
@options.output_panel(
    "--top", type=click.IntRange(min=1), default=1, metavar="K", help="Report the K most probable classes."
)
@options.output_panel(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print CSV: file, class, probability, out_of_distribution (true or false), distance, error.",
)
@options.output_panel("--json", "as_json", is_flag=True, help="Print one JSON array, an object per image.")
@options.output_panel("--json-lines", "as_json_lines", is_flag=True, help="Print one JSON object per line.")
@options.output_panel("--quiet", is_flag=True, help="Show no progress, and print no notes on standard error.")
@options.trust
@options.ray
@options.output_panel(
    "--output", metavar="FOLDER", help="With --ray: write Parquet shards into this folder or address; resumes there."
)
@options.output_panel("--embeddings", is_flag=True, help="With --output: also what the prediction layer reads.")
@options.column
def predict(model: Path, images: tuple[str, ...], ray: str | None, output: str | None, quiet: bool, **how: Any) -> None:
    """Predict the class of each image, its probability, and whether the image is out-of-distribution.

    MODEL is a .keras file that `recommend DATA --build MODEL.keras` wrote, or an export that was written with it: a
    .tflite or .onnx file, or the folder of a SavedModel. MODEL.json next to it names the classes, and
    MODEL.features.npz holds the out-of-distribution detector, which runs in every format but those of 8 bits. IMAGES
    are files, folders, which are searched at any depth, or - for a list of paths on standard input, one per line; also
    manifests (.csv, .parquet) with the column path, and WebDataset tars and Parquet files that hold images.

    An image that can't be read is reported, and the others are predicted.

    With --ray and --output a cluster predicts.
    """
    forms = [form for name, form in _FORMS.items() if how.pop(name)]
    if (ray is None) != (output is None):
        given = "--ray" if output is None else "--output"
        raise click.UsageError(f"Expected --ray and --output together. Received: {given} alone.")
    if len(forms) > 1:
        raise click.UsageError("Expected one of --csv, --json and --json-lines. Received: several.")
    if ray is not None and output is not None:
        if forms:
            raise click.UsageError("Expected Parquet shards with --output. Received: a form for standard output, too.")
        _predict_on_cluster(ray, model, images, output, how, quiet=quiet)
        return
    if how["embeddings"]:
        raise click.UsageError("Expected --embeddings with --output only. Received: it without --output.")
    with progress_bar(shown=not quiet and not sys.stdout.isatty(), first="Loading the model") as show:
        from recommender.prediction.exported_model import needs_tensorflow

        if needs_tensorflow(model):
            import_tensorflow()
        from recommender.prediction import predict as prediction
        from recommender.reports.console import lenient_output

        predictor = prediction.open_predictor(model, trust=how["trust"])
        for note in () if quiet else predictor.notes:
            say(note)
        lenient_output()

        form, top = next(iter(forms), _table_lines), how["top"]
        seen = _Counted(prediction.predict(predictor, _paths(images), top=top, columns=how["columns"]), show)
        try:
            for line in form(seen, min(top, len(predictor.classes))):
                click.echo(line)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted. Not all pictures were predicted.") from None
        finally:
            if form is _json_array:
                click.echo("]")  # the array ends even where the prediction fails
    if seen.failed:
        fail(f"{seen.failed:,} of {seen.n:,} pictures could not be read.")


@dataclass
class _Counted:
    """Predictions that are counted and reported as they are taken."""

    found: "Iterable[Prediction]"
    show: Progress
    n: int = 0
    failed: int = 0

    def __iter__(self) -> "Iterator[Prediction]":
        for one in self.found:
            self.n += 1
            self.failed += one.error is not None
            yield one
            self.show("predicting", self.n, 0)


def _predict_on_cluster(
    address: str, model: Path, images: tuple[str, ...], output: str, how: dict[str, Any], *, quiet: bool
) -> None:
    with progress_bar(shown=not quiet, first="Connecting to Ray") as show:
        from recommender.cluster.predict import predict_to_shards
        from recommender.cluster.session import connect

        cluster = connect(address)
        if cluster.dashboard and not quiet:
            say(f"Ray's dashboard: {cluster.dashboard}")
        try:
            found = predict_to_shards(cluster, model, images, output, progress=show, **how)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted. The same command resumes from what is written.") from None
    click.echo(found.sentence(output))
    if found.failed or found.problems:
        fail(f"{found.failed:,} of {found.n:,} pictures could not be read.")


def _paths(images: Iterable[str]) -> Iterator[str]:
    """The arguments, and the lines of standard input in place of -."""
    for name in images:
        if name != "-":
            yield name
            continue
        for line in sys.stdin.buffer:
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path


def _table_lines(found: "Iterable[Prediction]", _top: int) -> Iterator[str]:
    """A line per class; images that can't be read go to standard error. A long name shifts the other columns."""
    yield f"{'file':40}  {'class':20}  probability  note"
    for one in found:
        file, note = clean(one.file), _NOTE if one.out_of_distribution else ""
        if one.error is not None:
            say(f"{file}: {one.error}")
        for name, probability in zip(one.classes, one.probabilities, strict=True):
            yield f"{file:40}  {clean(name):20}  {probability:11.1%}  {note}".rstrip()
            file = note = ""


def _csv_lines(found: "Iterable[Prediction]", top: int) -> Iterator[str]:
    """A row per image: file, class and probability, then class_2, probability_2 … of --top.

    Then `out_of_distribution`, true or false, `distance` and `error`; the first two are empty without a detector.
    """

    def row(*cells: str) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(cells)
        return text.getvalue()

    more = [f"{column}_{number}" for number in range(2, top + 1) for column in ("class", "probability")]
    yield row("file", "class", "probability", *more, "out_of_distribution", "distance", "error")
    for one in found:
        pairs = zip(one.classes, one.probabilities, strict=True)
        cells = [cell for name, probability in pairs for cell in (name, f"{probability:.6f}")]
        cells += [""] * (2 * top - len(cells))
        flag = "" if one.out_of_distribution is None else str(one.out_of_distribution).lower()
        distance = "" if one.distance is None else f"{one.distance:.4f}"
        yield row(printable(one.file), *cells, flag, distance, one.error or "")


def _json_array(found: "Iterable[Prediction]", top: int) -> Iterator[str]:
    """An array without its last bracket, an object per line."""
    before = ""
    yield "["
    for line in _json_lines(found, top):
        yield before + line
        before = ","


def _json_lines(found: "Iterable[Prediction]", _top: int) -> Iterator[str]:
    """An object per line; the `classes` of an image, the most probable first, are empty on an error."""
    for one in found:
        pairs = zip(one.classes, one.probabilities, strict=True)
        record = {
            "file": printable(one.file),
            "classes": [{"name": name, "probability": probability} for name, probability in pairs],
            "out_of_distribution": one.out_of_distribution,
            "distance": one.distance,
            "error": one.error,
        }
        yield json.dumps(record)


_FORMS = {"as_csv": _csv_lines, "as_json": _json_array, "as_json_lines": _json_lines}  # by option; else a table
