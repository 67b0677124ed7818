"""The plot of a comparison: accuracy against seconds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.atomic_files import check_plot, write_together
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.comparison.ranking import Row

# Colours of Okabe and Ito's palette, which colour-blind people can distinguish.
_STYLES = {
    Scenario.LINEAR_PROBE: ("#0072B2", "o", "1 whole backbone, frozen"),
    Scenario.PARTIAL_FINE_TUNE: ("#D55E00", "s", "2 last layers fine-tuned"),
    Scenario.FULL_FINE_TUNE: ("#CC79A7", "s", "3 everything fine-tuned"),
    Scenario.SHALLOW_FEATURES: ("#009E73", "o", "4 cut earlier, frozen"),
}
_INK, _FAINT, _BAND = "#222222", "#8a8a8a", "#f1efe9"
_LEADER = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 2, "shrinkB": 6, "relpos": (0, 0.5)}
_RING: dict[str, Any] = {"marker": "o", "mfc": "none", "mec": _INK, "mew": 1.4}  # around the advice
_STAR: dict[str, Any] = {"marker": "*", "color": "#E69F00", "mec": _INK, "mew": 0.7}  # on the preferred row
_SPACING = 0.045  # of the axis' height, between labels
_DEPTH = 0.2  # of accuracy below the best that is drawn; rows below are counted


def save_plot(comparison: "Comparison", path: Path) -> None:
    """Draw a comparison as PNG, SVG or PDF; the same comparison gives the same file."""
    check_plot(path)
    import matplotlib

    kind = path.suffix.lower()[1:]
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "netgraft", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure = draw(comparison)
        write_together(
            {path: lambda target: figure.savefig(target, format=kind, dpi=160, metadata=metadata, facecolor="white")}
        )


def draw(comparison: "Comparison") -> Any:
    """The figure: a point for each strategy, and labels of the important ones in a column on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.8), layout="constrained")
    axes = figure.add_subplot()
    marked = [comparison.recommended, comparison.preferred, comparison.winner]
    frozen = next((row for row in comparison.rows if row.frozen), None)
    named = [row for row in comparison.rows if not row.frozen or row in (frozen, *marked)]
    axes.axhspan(*(100 * bound for bound in comparison.interval), color=_BAND, zorder=0)
    for row in reversed(comparison.rows):
        _draw_row(axes, comparison, row, named=row in named)
    _frame(axes, comparison, named)
    _legend(axes, comparison)
    _label(axes, named, marked)
    return figure


def _draw_row(axes: Any, comparison: "Comparison", row: "Row", *, named: bool) -> None:
    colour, marker, _ = _STYLES[row.scenario]
    place = (row.seconds, 100 * row.accuracy)
    if named:
        axes.vlines(row.seconds, *(100 * bound for bound in row.interval), color=colour, lw=1.2, alpha=0.7, zorder=2)
    axes.plot(
        *place,
        marker,
        color=colour,
        mfc="white" if row.ended_early else colour,
        ms=7 if named else 5.5,
        alpha=1.0 if named else 0.75 if row in comparison.ties else 0.35,
        zorder=4 if named else 3,
    )
    if row is comparison.preferred:
        axes.plot(*place, ms=19, zorder=5, **_STAR)
    if row.recommended:
        axes.plot(*place, ms=19, zorder=6, **_RING)


def _frame(axes: Any, comparison: "Comparison", named: "list[Row]") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    rows, seconds = comparison.rows, [row.seconds for row in comparison.rows]
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 1.4, max(seconds) * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.xaxis.set_minor_formatter(NullFormatter())
    floor = max(rows[-1].accuracy, rows[0].accuracy - _DEPTH)
    bottom = min([floor, *(row.interval[0] for row in named)])
    axes.set_ylim(100 * bottom - 2, min(100 * max(row.interval[1] for row in named) + 1, 101))
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, which="both")
    axes.grid(axis="y", color="#e4e4e4", lw=0.7)
    axes.set_axisbelow(True)
    hidden = sum(100 * row.accuracy < 100 * bottom - 2 for row in rows)
    below = f"; {hidden} more lie below" if hidden else ""
    axes.set_xlabel(f"time to train, with the pass over the images{below}", color=_INK)
    axes.set_ylabel(f"accuracy on {comparison.n_held_out:,} held-out images", color=_INK)
    title = {
        "right": f"The advice was right: {comparison.winner.label} is the best",
        "tied": "The advice ties with the best",
        "wrong": f"The advice was wrong: {comparison.winner.label} is better",
        "unknown": "The advice was not trained",
    }[comparison.verdict]
    axes.figure.suptitle(title, x=0.01, ha="left", fontsize=13.5, color=_INK, weight="bold")


def _legend(axes: Any, comparison: "Comparison") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], ls="", marker=marker, color=colour, label=name)
        for scenario, (colour, marker, name) in _STYLES.items()
        if any(row.scenario is scenario for row in comparison.rows)
    ]
    handles += [Line2D([], [], ls="", ms=12, label="advised", **_RING)]
    handles += [Line2D([], [], ls="", ms=13, label="preferred", **_STAR)]
    handles += [Line2D([], [], ls="", marker="s", mfc="white", mec=_FAINT, label="ended early")]
    handles += [Patch(color=_BAND, label="choosing the best strategy (95 %)")]
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8.5)


def _label(axes: Any, rows: "list[Row]", marked: "list[Row | None]") -> None:
    """Labels in a column on the right, with a thin line from each to its point."""
    low, high = axes.get_ylim()
    ordered = sorted(rows, key=lambda row: (-row.accuracy, -row.seconds))
    heights = _apart([(100 * row.accuracy - low) / (high - low) for row in ordered], _SPACING)
    for row, height in zip(ordered, heights, strict=True):
        axes.annotate(
            f"{row.accuracy:.1%}  {row.label}",
            (row.seconds, 100 * row.accuracy),
            xytext=(1.03, height),
            textcoords="axes fraction",
            fontsize=8.5,
            va="center",
            color=_INK if row in marked else "#666666",
            weight="bold" if row in marked else "normal",
            arrowprops=_LEADER,
            zorder=1,
        )


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
