"""The plot of a comparison: accuracy against seconds."""

from pathlib import Path
from typing import Any

from recommender.atomic_files import check_plot, write_together
from recommender.comparison.ranking import Ranking, Row
from recommender.plots import INK, RC, styled_figure
from recommender.rules.scenario import Scenario

# Colours of Okabe and Ito's palette, which colour-blind people can distinguish.
_STYLES = {
    Scenario.LINEAR_PROBE: ("#0072B2", "o", "1 whole backbone, frozen"),
    Scenario.PARTIAL_FINE_TUNE: ("#D55E00", "s", "2 last layers fine-tuned"),
    Scenario.FULL_FINE_TUNE: ("#CC79A7", "s", "3 all layers fine-tuned"),
    Scenario.SHALLOW_FEATURES: ("#009E73", "o", "4 cut earlier, frozen"),
}
_LEADER = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 2, "shrinkB": 6, "relpos": (0, 0.5)}
_UNCLEAR = {"undecided": "Too few images to tell whether the advice is right", "unknown": "The advice was not trained"}
_SPACING = 0.045  # of the axis' height, between labels
_DEPTH = 0.2  # of accuracy below the best that is drawn; rows below are counted


def save_plot(ranking: Ranking, path: Path) -> None:
    """Draw a comparison as PNG, SVG or PDF; the same comparison gives the same file."""
    check_plot(path)
    import matplotlib

    kind = path.suffix.lower()[1:]
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context(RC):
        figure = plot(ranking)
        write_together(
            {path: lambda target: figure.savefig(target, format=kind, dpi=160, metadata=metadata, facecolor="white")}
        )


def plot(ranking: Ranking) -> Any:
    """A figure with a point for each strategy, and labels of the important ones in a column on the right."""
    with styled_figure(10, 5.8) as figure:
        axes = figure.add_subplot()
        marked = [ranking.recommended, ranking.preferred, ranking.winner]
        frozen = next((row for row in ranking.rows if row.frozen), None)
        named = [row for row in ranking.rows if not row.frozen or row in (frozen, *marked)]
        band = [100 * bound for bound in ranking.interval]
        axes.axhspan(*band, color="#f1efe9", zorder=0, label="choosing the best strategy (90 %)")
        for row in reversed(ranking.rows):
            _draw_row(axes, ranking, row, named=row in named)
        _frame(axes, ranking, named)
        low, high = axes.get_ylim()
        ordered = sorted(named, key=lambda row: (-row.accuracy, -row.seconds))
        heights = _apart([(100 * row.accuracy - low) / (high - low) for row in ordered], _SPACING)
        for row, height in zip(ordered, heights, strict=True):
            axes.annotate(
                f"{row.accuracy:.1%}  {row.label}",
                (row.seconds, 100 * row.accuracy),
                xytext=(1.03, height),
                textcoords="axes fraction",
                fontsize=8.5,
                va="center",
                color=INK if row in marked else "#666666",
                weight="bold" if row in marked else "normal",
                arrowprops=_LEADER,
                zorder=1,
            )
        handles, labels = axes.get_legend_handles_labels()
        legend = dict(sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0]))
        figure.legend(
            legend.values(), legend, loc="outside lower left", ncols=4, frameon=False, fontsize=8.5, markerscale=0.7
        )
        said = _UNCLEAR.get(ranking.verdict, f"The advice is {ranking.verdict}")
        title = f"{said}; the best is {ranking.winner.label}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13.5, color=INK, weight="bold")
    return figure


def _draw_row(axes: Any, ranking: Ranking, row: Row, *, named: bool) -> None:
    colour, marker, name = _STYLES[row.scenario]
    place = (row.seconds, 100 * row.accuracy)
    if named:
        axes.vlines(row.seconds, *(100 * bound for bound in row.interval), color=colour, lw=1.2, alpha=0.7, zorder=2)
    axes.plot(
        *place,
        marker,
        color=colour,
        mfc=colour if row.frozen else "white",
        ms=7 if named else 5.5,
        alpha=1.0 if named else 0.75 if row in ranking.ties else 0.35,
        zorder=4 if named else 3,
        ls="",
        label=name,
    )
    if row is ranking.preferred:
        axes.plot(*place, "*", ms=19, color="#E69F00", mec=INK, mew=0.7, zorder=5, ls="", label="preferred")
    if row.recommended:
        axes.plot(*place, "o", ms=19, mfc="none", mec=INK, mew=1.4, zorder=6, ls="", label="advised")


def _frame(axes: Any, ranking: Ranking, named: list[Row]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    rows, seconds = ranking.rows, [row.seconds for row in ranking.rows]
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 1.4, max(seconds) * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.xaxis.set_minor_formatter(NullFormatter())
    floor = max(rows[-1].accuracy, rows[0].accuracy - _DEPTH)
    bottom = 100 * min([floor, *(row.interval[0] for row in named)]) - 2
    axes.set_ylim(bottom, min(100 * max(row.interval[1] for row in named) + 1, 101))
    axes.yaxis.set_major_formatter("{x:g} %")
    hidden = sum(100 * row.accuracy < bottom for row in rows)
    below = f"; {hidden} more lie below" if hidden else ""
    axes.set_xlabel(f"time to train, with the pass over the images; hollow points judged on fewer images{below}")
    axes.set_ylabel(f"accuracy on {max(row.n_judged for row in rows):,} images")


def _apart(heights: list[float], spacing: float) -> list[float]:
    """Falling heights, moved apart to at least a spacing; within 0 and 1 if they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - spacing if placed else 1.0))
    lowest = 0.0
    for place in reversed(range(len(placed))):
        placed[place] = max(placed[place], lowest)
        lowest = placed[place] + spacing
    return placed
