"""The page of a comparison: a table of the strategies, and whether the advice was right."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recommender.explanation.text import clean, duration, interval_text, percent, points_text
from recommender.reports.console import bullets, print_plainly

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison

_ROWS_SHOWN, _TIES_SHOWN = 14, 4
_STYLES = {
    "right": "bold green",
    "tied": "bold green",
    "wrong": "bold red",
    "undecided": "bold yellow",
    "unknown": "bold yellow",
}


def print_comparison(comparison: "Comparison", console: Console) -> None:
    """Print the whole page."""
    sentence = Text(clean(comparison.sentence), _STYLES[comparison.verdict])
    notes = bullets("Notes", _notes(comparison))
    console.print()
    parts = (Text("Compared", "bold"), _method(comparison), _table(comparison), Text(), sentence, Text(), notes)
    print_plainly(parts, console)


def _method(comparison: "Comparison") -> Text:
    sample = f", a sample of {comparison.n_images:,}" if comparison.is_sample else ""
    validation = comparison.judged_by == "validation"
    how = f"on {comparison.n_judged:,} images of your validation split"
    if not validation:
        how = f"by cross-validation on the same {comparison.n_judged:,} images{sample}"
    tuned = ""
    if any(row.steps for row in comparison.rows):
        held_out = "of these images" if validation else "that were held out of these images"
        tuned = (
            f". Fine-tuned ones learned from {comparison.n_training:,} images; their accuracy is estimated by "
            f"comparing them with a frozen one on {comparison.n_held_out:,} {held_out}"
        )
    interrupted = "; interrupted" if comparison.interrupted else ""
    return Text(
        f"{len(comparison.rows)} strategies, evaluated {how}{tuned}; took {duration(comparison.seconds)} of "
        f"{duration(comparison.budget)}{interrupted}\n"
    )


def _table(comparison: "Comparison") -> Table:
    """The best rows, and all that are fine-tuned, recommended or preferred; what is not tied with the best is dim."""
    table = Table(box=None, padding=(0, 1, 0, 1), collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("Strategy", overflow="fold", min_width=20)
    for name in ("Accuracy", "90 % interval", "Time", "Steps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column()
    hidden = 0
    for number, row in enumerate(comparison.rows):
        if number >= _ROWS_SHOWN and row.frozen and not (row.recommended or row is comparison.preferred):
            hidden += 1
            continue
        table.add_row(
            clean(row.label),
            percent(row.accuracy),
            interval_text(row.interval, 0),
            duration(row.seconds),
            f"{row.steps:,}" if row.steps else "",
            ", ".join(comparison.marks(row)),
            style="" if any(row is tie for tie in comparison.ties) else "dim",
        )
    if hidden:
        table.add_row(f"… and {hidden} more (all with --json)", style="dim")
    return table


def _notes(comparison: "Comparison") -> Iterator[str]:
    yield "Of the rows the best is the best of many on the same images, so its own accuracy is too high."
    if any(row.frozen and len(row.strategy.head.levels) > 1 for row in comparison.rows):
        yield "“+ stages”: the head also reads the end of every stage below the cut."
    ties = [row.label for row in comparison.ties if row is not comparison.winner]
    if ties:
        more = f"; and {len(ties) - _TIES_SHOWN} more" if len(ties) > _TIES_SHOWN else ""
        yield f"Tied with {comparison.winner.label}: {'; '.join(ties[:_TIES_SHOWN])}{more}."
    curve = comparison.curve
    if curve is not None and curve.doubled is not None and curve.gain is not None:
        yield (
            f"Twice the images would take {comparison.curve_label} from {percent(curve.points[-1].accuracy)} to about "
            f"{percent(curve.doubled.accuracy)}: {points_text(curve.gain)} points (90 % interval)."
        )
    for reason in dict.fromkeys(comparison.skipped.values()):
        labels = [label for label, why in comparison.skipped.items() if why == reason]
        yield f"Not trained, {reason}: {'; '.join(labels)}."
    if any(row.steps for row in comparison.rows):
        augmentation = " and ".join(comparison.augmentation or ()) or "no augmentation"
        yield (
            f"Fine-tuned with {augmentation}, each through a whole schedule of as many steps as the budget allows; "
            "`recommend fit` takes more."
        )
