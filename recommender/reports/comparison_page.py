"""What a person reads of a comparison: who won, a table, accuracy against seconds, and whether the advice was right."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recommender.comparison.verdict import _points, _time
from recommender.explanation.text import clean
from recommender.reports.console import bullets, heading, print_plainly

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.comparison.outcome import Row

_INTERVAL, _SMALL_INTERVAL, _WIDE = 20, 12, 96  # characters: of an interval, and of a page with room for the longer
_ROWS_SHOWN = 14
_PLOT_WIDTH, _PLOT_HEIGHT = 60, 12
_ADVICE, _PREFERRED = "◆", "★"


def print_comparison(comparison: "Comparison", console: Console) -> None:
    """Print all of it."""
    shown, hidden = _shown(comparison)
    parts: list[RenderableType] = [Text(), heading("Compared"), Text(clean(_judged(comparison))), Text()]
    parts.append(_table(comparison, shown, _INTERVAL if console.width >= _WIDE else _SMALL_INTERVAL))
    if hidden:
        lowest, highest = hidden[-1].accuracy, hidden[0].accuracy
        parts.append(Text(f" … and {len(hidden)} more, {lowest:.0%} to {highest:.0%} (all with --json)", "dim"))
    parts += [Text(), _plot(comparison, shown), Text(), _headline(comparison), Text()]
    notes = _notes(comparison)
    print_plainly(Group(*parts, bullets(notes)), console)


def _judged(comparison: "Comparison") -> str:
    of = f", a sample of {comparison.n_images:,}" if comparison.is_sample else ""
    by = "your validation images" if comparison.judged_by == "validation" else "others"
    took = f"{_time(comparison.seconds)} of {_time(comparison.budget)}"
    cut = "; interrupted" if comparison.interrupted else ""
    return (
        f" {len(comparison.rows)} strategies, fitted on the same {comparison.n_training:,} images{of}, judged by the "
        f"same {comparison.n_held_out:,} {by}; {took}{cut}"
    )


def _shown(comparison: "Comparison") -> tuple[list["Row"], list["Row"]]:
    """Rows for the table: the best, and whatever is fine-tuned or marked; then the others."""
    marked = (comparison.winner, comparison.preferred, comparison.recommended)
    must = [row for row in comparison.rows if not row.frozen or any(row is other for other in marked)]
    rest = [row for row in comparison.rows if not any(row is other for other in must)]
    kept = {id(row) for row in (*must, *rest[: max(0, _ROWS_SHOWN - len(must))])}
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
    scale = f"{low:.0%}{f'{high:.0%}':>{width - len(f'{low:.0%}')}}"
    table.add_column(scale, no_wrap=True, min_width=width)
    table.add_column("Time", justify="right", no_wrap=True, min_width=6)
    table.add_column("Steps", justify="right", no_wrap=True, min_width=5)
    notes = ["ended early" if row.ended_early else "no gain" if row.steps and not row.gained else "" for row in rows]
    table.add_column(no_wrap=True, min_width=max(map(len, notes)))
    ties = comparison.ties
    for row, note in zip(rows, notes, strict=True):
        tied = any(row is other for other in ties)
        table.add_row(
            Text(_marks(comparison, row), "bold"),
            clean(row.label),
            f"{row.accuracy:.1%}",
            _interval(row, low, high, width),
            _time(row.seconds),
            f"{row.steps:,}" if row.steps else "",
            note,
            style="" if tied else "dim",
        )
    return table


def _marks(comparison: "Comparison", row: "Row") -> str:
    return _ADVICE * row.recommended + _PREFERRED * (row is comparison.preferred)


def _interval(row: "Row", low: float, high: float, width: int) -> str:
    """A dot with its interval, on a common scale."""

    def place(share: float) -> int:
        return round((share - low) / max(high - low, 1e-9) * (width - 1))

    first, middle, last = place(row.interval[0]), place(row.accuracy), place(row.interval[1])
    cells = [" "] * first + ["─"] * (last - first + 1)
    cells[middle] = "●"
    return "".join(cells)


def _plot(comparison: "Comparison", rows: Sequence["Row"]) -> Text:
    """Accuracy against seconds, on a logarithmic axis; a point is the number of its scenario."""
    logs = [math.log10(max(row.seconds, 1e-2)) for row in rows]
    left, right = min(logs), max(logs)
    bottom, top = min(row.accuracy for row in rows), max(row.accuracy for row in rows)
    grid = [[" "] * _PLOT_WIDTH for _ in range(_PLOT_HEIGHT)]
    # The worst first, so that what matters is drawn over it.
    order = sorted(range(len(rows)), key=lambda number: (len(_marks(comparison, rows[number])), rows[number].accuracy))
    for number in order:
        row = rows[number]
        column = round((logs[number] - left) / max(right - left, 1e-9) * (_PLOT_WIDTH - 1))
        line = round((top - row.accuracy) / max(top - bottom, 1e-9) * (_PLOT_HEIGHT - 1))
        grid[line][column] = _point(comparison, row)
    lines = []
    for number, cells in enumerate(grid):
        share = top - (top - bottom) * number / (_PLOT_HEIGHT - 1)
        label = f"{share:.0%}" if number in (0, _PLOT_HEIGHT // 2, _PLOT_HEIGHT - 1) else ""
        lines.append(f" {label:>5} ┤{''.join(cells).rstrip()}")
    first, last = _time(10**left), _time(10**right)
    lines.append(f"       └{'─' * _PLOT_WIDTH}")
    lines.append(f"        {first}{last:>{_PLOT_WIDTH - len(first)}}")
    lines.append(f"        accuracy against time; 1 to 4 is the scenario, {_ADVICE} the advice, {_PREFERRED} preferred")
    return Text("\n".join(lines), no_wrap=True)


def _point(comparison: "Comparison", row: "Row") -> str:
    if row is comparison.preferred:
        return _PREFERRED
    return _ADVICE if row.recommended else str(row.scenario.id)


def _headline(comparison: "Comparison") -> RenderableType:
    style = {"right": "bold green", "tied": "bold green", "wrong": "bold red", "unknown": "bold yellow"}
    return Padding(Text(clean(comparison.sentence), style=style[comparison.verdict]), (0, 0, 0, 1))


def _notes(comparison: "Comparison") -> tuple[str, ...]:
    low, high = comparison.interval
    notes = [
        f"Choosing the best of {len(comparison.rows)} gives {comparison.accuracy:.1%} ({low:.1%} to {high:.1%}): the "
        "winner's own figure is the best of many on the same images, and too high."
    ]
    others = [row for row in comparison.ties if row is not comparison.winner]
    if others:
        names = "; ".join(row.label for row in others[:4])
        more = f"; and {len(others) - 4} more" if len(others) > 4 else ""
        notes.append(f"Tied with {comparison.winner.label}: {names}{more}.")
    if comparison.curve is not None:
        notes.append(_curve_line(comparison))
    for reason in dict.fromkeys(comparison.skipped.values()):
        labels = [label for label, why in comparison.skipped.items() if why == reason]
        notes.append(f"Not trained, {reason}: {'; '.join(labels)}.")
    if any(row.steps for row in comparison.rows):
        augmentation = " and ".join(comparison.augmentation or ()) or "no augmentation"
        notes.append(f"Fine-tuned with {augmentation}, in as many steps as the budget allows; `--fit` takes longer.")
    return tuple(notes)


def _curve_line(comparison: "Comparison") -> str:
    curve, label = comparison.curve, comparison.curve_label
    if curve is None or curve.doubled is None or curve.gain is None:
        return "There are too few images to tell what more of them would bring."
    last, doubled, gain = curve.points[-1], curve.doubled, curve.gain
    return (
        f"Twice the images would take {label} from {last.accuracy:.1%} to about {doubled.accuracy:.1%}: "
        f"{_points(gain[0])} to {_points(gain[1])} points (95 % interval)."
    )
