"""The command `recommend predict`. Nothing heavy is imported before the work begins."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from recommender.cli.actions import fail, is_the_users
from recommender.cli.terminal import import_tensorflow

if TYPE_CHECKING:
    from recommender.prediction.predict import Prediction

_NOTE = "unlike the training pictures"
_WIDEST = 60  # characters of a name in the table, from which on the other columns give way


@click.command(
    name="predict",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit code: 0 if every picture was read, 1 if one was not or nothing could be done, 2 for wrong arguments.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, metavar="K", help="Classes told of each picture."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: file, class, probability, foreign, distance, error.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, an object a picture.")
@click.option("--trust", is_flag=True, help="Run code that the model's file holds.")
@click.option("--quiet", is_flag=True, help="No progress and no notes on standard error.")
def predict(
    model: Path, images: tuple[str, ...], top: int, as_csv: bool, as_json: bool, trust: bool, quiet: bool
) -> None:
    """Tell the class of each picture, how probable it is, and whether the picture is unlike all that the model was
    trained on.

    MODEL is a .keras file that `recommend DATA --build MODEL.keras` wrote; MODEL.json beside it names the classes, and
    MODEL.features.npz tells foreign pictures. IMAGES are files, folders, which are searched at any depth, or - for a
    list of paths on standard input, one a line.

    A picture that can't be read is told, and the others are predicted all the same.
    """
    if as_csv and as_json:
        raise click.UsageError("Expected one of --csv and --json. Received: both.")
    try:
        failed, n = _run(
            model, images, top=top, trust=trust, quiet=quiet, form=_Csv if as_csv else _Json if as_json else _Table
        )
    except KeyboardInterrupt:
        fail("Interrupted. Not all pictures were predicted.")
    except Exception as error:
        if not is_the_users(error):
            raise
        fail(str(error))
    if failed:
        fail(f"{failed:,} of {n:,} pictures could not be read.")


class _Printer(Protocol):
    """Prints predictions as they come."""

    def show(self, found: "Prediction") -> None: ...

    def close(self) -> None:
        """Print what ends the output."""


def _run(
    model: Path,
    images: tuple[str, ...],
    *,
    top: int,
    trust: bool,
    quiet: bool,
    form: Callable[[int], _Printer],
) -> tuple[int, int]:
    """Predict and print; returns how many pictures could not be read, and how many there were."""
    failed = n = 0
    with _progress(shown=not quiet and not sys.stdout.isatty()) as show:
        import_tensorflow()
        from recommender.prediction.predict import predict
        from recommender.prediction.predictor import open_predictor

        predictor = open_predictor(model, trust=trust)
        for note in () if quiet else predictor.notes:
            click.echo(_printable(note), err=True)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks must not cost the answer
        with contextlib.closing(form(min(top, len(predictor.classes)))) as printer:
            for n, found in enumerate(predict(predictor, _paths(images), top=top), start=1):
                failed += found.error is not None
                printer.show(found)
                show(n)
    return failed, n


def _paths(images: Iterable[str]) -> Iterator[str]:
    """The arguments, and the lines of standard input in place of -."""
    for name in images:
        if name != "-":
            yield name
            continue
        for line in sys.stdin.buffer:
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path


def _printable(text: str) -> str:
    from recommender.explanation.text import clean

    return clean(text)


class _Table:
    """For people: a line a class, as wide as the names seen so far need; pictures that can't be read on standard error.

    Args:
        top: how many classes are told of each picture.
    """

    def __init__(self, top: int) -> None:
        del top  # there is a line for each
        self._widths = [0, 0]

    def show(self, found: "Prediction") -> None:
        file = _printable(found.file)
        if found.error is not None:
            click.echo(f"{file}: {_printable(found.error)}", err=True)
            return
        note = _NOTE if found.foreign else ""
        for number, (name, probability) in enumerate(zip(found.classes, found.probabilities, strict=True)):
            self._line("" if number else file, _printable(name), f"{probability:11.1%}", "" if number else note)

    def _line(self, *cells: str) -> None:
        if not any(self._widths):
            self._widths = [len("file"), len("class")]
            self._grow(cells)
            self._print("file", "class", "probability", "note")
        self._grow(cells)
        self._print(*cells)

    def _grow(self, cells: tuple[str, ...]) -> None:
        self._widths = [max(width, min(len(cell), _WIDEST)) for width, cell in zip(self._widths, cells, strict=False)]

    def _print(self, file: str, name: str, probability: str, note: str) -> None:
        click.echo(f"{file:{self._widths[0]}}  {name:{self._widths[1]}}  {probability}  {note}".rstrip())

    def close(self) -> None:
        """Nothing is left to print."""


class _Csv:
    """A row a picture: file, class and probability (then class_2, probability_2 … of --top), foreign, distance, error.

    `foreign` is true or false; it and `distance` are empty where no detector lies beside the model.

    Args:
        top: how many classes are told of each picture.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        more = [f"{column}_{number}" for number in range(2, top + 1) for column in ("class", "probability")]
        self._row(["file", "class", "probability", *more, "foreign", "distance", "error"])

    def _row(self, cells: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(cells)
        click.echo(text.getvalue())

    def show(self, found: "Prediction") -> None:
        from recommender.explanation.text import printable

        pairs: list[Any] = [""] * (2 * self._top)
        for number, (name, probability) in enumerate(zip(found.classes, found.probabilities, strict=True)):
            pairs[2 * number : 2 * number + 2] = name, f"{probability:.6f}"
        foreign = "" if found.foreign is None else str(found.foreign).lower()
        distance = "" if found.distance is None else f"{found.distance:.4f}"
        self._row([printable(found.file), *pairs, foreign, distance, found.error or ""])

    def close(self) -> None:
        """Nothing is left to print."""


class _Json:
    """One array, an object a picture, printed as they come.

    Each has `file` (string), `classes` (array of {`name`: string, `probability`: number 0 to 1}, the most probable
    first, empty where there is an error), `foreign` (true, false, or null where no detector lies beside the model),
    `distance` (number or null) and `error` (string or null).

    Args:
        top: how many classes are told of each picture.
    """

    def __init__(self, top: int) -> None:
        del top  # each object says itself how many
        self._n = 0

    def show(self, found: "Prediction") -> None:
        from recommender.explanation.text import printable

        pairs = zip(found.classes, found.probabilities, strict=True)
        row = {
            "file": printable(found.file),
            "classes": [{"name": name, "probability": probability} for name, probability in pairs],
            "foreign": found.foreign,
            "distance": found.distance,
            "error": found.error,
        }
        click.echo((",\n" if self._n else "[\n") + json.dumps(row), nl=False)
        self._n += 1

    def close(self) -> None:
        """End the array, so that what was printed can be read whatever happened."""
        click.echo("\n]" if self._n else "[]")


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Any]:
    """A count of pictures on standard error, if that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    # A copy of standard error: the count stays visible while native logs are sent away.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        console = Console(file=terminal, force_terminal=True)
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
            task = bar.add_task("Loading the model", total=None)
            yield lambda done: bar.update(task, description=f"{done:,} pictures")
