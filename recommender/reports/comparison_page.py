"""The page of a comparison: a table, accuracy against seconds, and whether the advice was right."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recommender.explanation.text import clean, duration
from recommender.reports.console import bullets, heading, print_plainly

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.comparison.ranking import Row

_INTERVAL, _SMALL_INTERVAL, _WIDE = 20, 12, 96  # characters: of an interval, and of a page with room for the longer
_ROWS_SHOWN, _TIES_SHOWN = 14, 4
_PLOT_WIDTH, _PLOT_HEIGHT = 60, 12
_ADVICE, _PREFERRED = "◆", "★"
_STYLES = {"right": "bold green", "tied": "bold green", "wrong": "bold red", "unknown": "bold yellow"}


def print_comparison(comparison: "Comparison", console: Console) -> None:
    """Print the whole page."""
    shown, others = _shown(comparison)
    parts: list[RenderableType] = [Text(), heading("Compared"), Text(clean(_method(comparison))), Text()]
    parts.append(_table(comparison, shown, _INTERVAL if console.width >= _WIDE else _SMALL_INTERVAL))
    if others:
        lowest, highest = others[-1].accuracy, others[0].accuracy
        parts.append(Text(f" … and {len(others)} more, {lowest:.0%} to {highest:.0%} (all with --json)", "dim"))
    verdict = Text(clean(comparison.sentence), style=_STYLES[comparison.verdict])
    parts += [Text(), _plot(comparison, shown), Text(), Padding(verdict, (0, 0, 0, 1)), Text()]
    print_plainly(Group(*parts, bullets(_notes(comparison))), console)


def _method(comparison: "Comparison") -> str:
    sample = f", a sample of {comparison.n_images:,}" if comparison.is_sample else ""
    held_out = "of your validation split" if comparison.judged_by == "validation" else "that were held out"
    interrupted = "; interrupted" if comparison.interrupted else ""
    return (
        f" {len(comparison.rows)} strategies, trained on the same {comparison.n_training:,} images{sample}, evaluated "
        f"on the same {comparison.n_held_out:,} images {held_out}; {duration(comparison.seconds)} of "
        f"{duration(comparison.budget)}{interrupted}"
    )


def _shown(comparison: "Comparison") -> tuple[list["Row"], list["Row"]]:
    """The rows of the table (all that are fine-tuned or marked, and the best others), and the rest."""
    marked = {id(row) for row in (comparison.winner, comparison.preferred, comparison.recommended)}
    kept = {id(row) for row in comparison.rows if not row.frozen or id(row) in marked}
    for row in comparison.rows:
        if len(kept) < _ROWS_SHOWN:
            kept.add(id(row))
    return (
        [row for row in comparison.rows if id(row) in kept],
        [row for row in comparison.rows if id(row) not in kept],
    )


def _table(comparison: "Comparison", rows: Sequence["Row"], width: int) -> RenderableType:
    low, high = min(row.interval[0] for row in rows), max(row.interval[1] for row in rows)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column(no_wrap=True, min_width=2)
    table.add_column("Strategy", no_wrap=True, overflow="ellipsis")
    table.add_column("Accuracy", justify="right", no_wrap=True, min_width=8)
    table.add_column(f"{low:.0%}{f'{high:.0%}':>{width - len(f'{low:.0%}')}}", no_wrap=True, min_width=width)
    table.add_column("Time", justify="right", no_wrap=True, min_width=6)
    table.add_column("Steps", justify="right", no_wrap=True, min_width=5)
    notes = ["ended early" if row.ended_early else "no gain" if row.steps and not row.gained else "" for row in rows]
    table.add_column(no_wrap=True, min_width=max(map(len, notes)))
    ties = {id(row) for row in comparison.ties}
    for row, note in zip(rows, notes, strict=True):
        table.add_row(
            Text(_marks(comparison, row), "bold"),
            clean(row.label),
            f"{row.accuracy:.1%}",
            _interval(row, low, high, width),
            duration(row.seconds),
            f"{row.steps:,}" if row.steps else "",
            note,
            style="" if id(row) in ties else "dim",
        )
    return table


def _marks(comparison: "Comparison", row: "Row") -> str:
    return _ADVICE * row.recommended + _PREFERRED * (row is comparison.preferred)


def _cell(value: float, low: float, high: float, n: int) -> int:
    """The index of a value among n cells from low to high."""
    return round((value - low) / max(high - low, 1e-9) * (n - 1))


def _interval(row: "Row", low: float, high: float, width: int) -> str:
    """A dot with its interval, on a common scale."""
    first, middle, last = (_cell(share, low, high, width) for share in (row.interval[0], row.accuracy, row.interval[1]))
    cells = [" "] * first + ["─"] * (last - first + 1)
    cells[middle] = "●"
    return "".join(cells)


def _plot(comparison: "Comparison", rows: Sequence["Row"]) -> Text:
    """Accuracy against seconds, on a logarithmic axis; a point is the number of its scenario."""
    logs = [math.log10(max(row.seconds, 1e-2)) for row in rows]
    left, right = min(logs), max(logs)
    bottom, top = min(row.accuracy for row in rows), max(row.accuracy for row in rows)
    grid = [[" "] * _PLOT_WIDTH for _ in range(_PLOT_HEIGHT)]
    # The marked and the best last: they overwrite the others.
    for row, log in sorted(
        zip(rows, logs, strict=True), key=lambda pair: (_marks(comparison, pair[0]), pair[0].accuracy)
    ):
        line, column = _cell(row.accuracy, bottom, top, _PLOT_HEIGHT), _cell(log, left, right, _PLOT_WIDTH)
        grid[-1 - line][column] = (_marks(comparison, row) or str(row.scenario.id))[-1]
    lines = []
    for number, cells in enumerate(grid):
        share = top - (top - bottom) * number / (_PLOT_HEIGHT - 1)
        label = f"{share:.0%}" if number in (0, _PLOT_HEIGHT // 2, _PLOT_HEIGHT - 1) else ""
        lines.append(f" {label:>5} ┤{''.join(cells).rstrip()}")
    first, last = duration(10**left), duration(10**right)
    lines.append(f"       └{'─' * _PLOT_WIDTH}")
    lines.append(f"        {first}{last:>{_PLOT_WIDTH - len(first)}}")
    lines.append(f"        accuracy against time; 1 to 4 is the scenario, {_ADVICE} the advice, {_PREFERRED} preferred")
    return Text("\n".join(lines), no_wrap=True)


def _notes(comparison: "Comparison") -> Iterator[str]:
    low, high = comparison.interval
    yield (
        f"Choosing the best of {len(comparison.rows)} gives {comparison.accuracy:.1%} ({low:.1%} to {high:.1%}). The "
        "winner's own accuracy is the best of many on the same images, so it is too high."
    )
    ties = [row.label for row in comparison.ties if row is not comparison.winner]
    if ties:
        more = f"; and {len(ties) - _TIES_SHOWN} more" if len(ties) > _TIES_SHOWN else ""
        yield f"Tied with {comparison.winner.label}: {'; '.join(ties[:_TIES_SHOWN])}{more}."
    if comparison.curve is not None:
        yield _curve_line(comparison)
    for reason in dict.fromkeys(comparison.skipped.values()):
        labels = [label for label, why in comparison.skipped.items() if why == reason]
        yield f"Not trained, {reason}: {'; '.join(labels)}."
    if any(row.steps for row in comparison.rows):
        augmentation = " and ".join(comparison.augmentation or ()) or "no augmentation"
        yield (
            f"Fine-tuned with {augmentation}, in as many steps as the budget allows; `recommend fit` trains for longer."
        )


def _curve_line(comparison: "Comparison") -> str:
    curve = comparison.curve
    if curve is None or curve.doubled is None or curve.gain is None:
        return "There are too few images to predict the effect of more."
    now, doubled, (low, high) = curve.points[-1].accuracy, curve.doubled.accuracy, curve.gain
    return (
        f"Twice the images would take {comparison.curve_label} from {now:.1%} to about {doubled:.1%}: "
        f"{100 * low:+.1f} to {100 * high:+.1f} points (95 % interval)."
    )
