"""A picture of a comparison: accuracy against seconds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recommender.atomic_files import check_plot, write_together
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from recommender.comparison.outcome import Outcome, Row

# Okabe and Ito's palette, which colour-blind people can tell apart.
_COLOURS = {1: "#0072B2", 2: "#D55E00", 3: "#CC79A7", 4: "#009E73"}
_NAMES = {
    Scenario.LINEAR_PROBE: "1 whole backbone, frozen",
    Scenario.PARTIAL_FINE_TUNE: "2 last layers fine-tuned",
    Scenario.FULL_FINE_TUNE: "3 everything fine-tuned",
    Scenario.SHALLOW_FEATURES: "4 cut earlier, frozen",
}
_INK, _FAINT = "#222222", "#8a8a8a"
_GOLD, _BAND = "#E69F00", "#f1efe9"
_LEADER = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 2, "shrinkB": 6, "relpos": (0, 0.5)}
_SPACING = 0.045  # of the axis' height, between names
_DEPTH = 0.2  # of accuracy below the best that is drawn; what lies lower is counted


def save_plot(comparison: "Outcome", path: Path) -> None:
    """Draw it as PNG, SVG or PDF.

    Raises:
        RecommendError: there is no matplotlib, another suffix, or the disk refused.
    """
    check_plot(path)
    import matplotlib

    kind = path.suffix.lower()[1:]
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    # The same comparison gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "netgraft", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure = draw(comparison)
        write_together(
            {path: lambda target: figure.savefig(target, format=kind, dpi=160, metadata=metadata, facecolor="white")}
        )


def draw(comparison: "Outcome") -> Any:
    """The figure: a point a strategy, the names of those that matter in a column beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.8), layout="constrained")
    axes = figure.add_subplot()
    floor = comparison.winner.accuracy - _DEPTH
    shown = [row for row in comparison.rows if row.accuracy >= floor or _matters(comparison, row)]
    low, high = comparison.interval
    axes.axhspan(100 * low, 100 * high, color=_BAND, zorder=0)
    for row in sorted(shown, key=lambda row: row.accuracy):
        _draw_row(axes, comparison, row)
    _frame(axes, comparison, shown)
    _legend(axes, shown)
    _name(axes, comparison, [row for row in shown if _matters(comparison, row)])
    return figure


def _matters(comparison: "Outcome", row: "Row") -> bool:
    """Whether it gets a name: what is fine-tuned, what is marked, and the best frozen backbone."""
    frozen = next((other for other in comparison.rows if other.frozen), None)
    return not row.frozen or any(row is other for other in (frozen, *_marked(comparison)))


def _marked(comparison: "Outcome") -> "tuple[Row | None, ...]":
    return comparison.recommended, comparison.preferred, comparison.winner


def _draw_row(axes: Any, comparison: "Outcome", row: "Row") -> None:
    matters, tied = _matters(comparison, row), any(row is other for other in comparison.ties)
    colour, height = _COLOURS[row.scenario.id], 100 * row.accuracy
    if matters:
        axes.vlines(
            row.seconds, 100 * row.interval[0], 100 * row.interval[1], color=colour, lw=1.2, alpha=0.7, zorder=2
        )
    axes.plot(
        row.seconds,
        height,
        "o" if row.frozen else "s",
        color=colour,
        mfc="white" if row.ended_early else colour,
        ms=7 if matters else 5.5,
        alpha=1.0 if matters else 0.75 if tied else 0.35,
        zorder=4 if matters else 3,
    )
    if row is comparison.preferred:
        axes.plot(row.seconds, height, "*", ms=19, color=_GOLD, mec=_INK, mew=0.7, zorder=5)
    if row.recommended:
        axes.plot(row.seconds, height, "o", ms=19, mfc="none", mec=_INK, mew=1.4, zorder=6)


def _frame(axes: Any, comparison: "Outcome", shown: "list[Row]") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    seconds = [row.seconds for row in shown]
    axes.set_xlim(min(seconds) / 1.4, max(seconds) * 1.4)
    tops = [row.interval[1] for row in shown if _matters(comparison, row)]
    bottoms = [row.accuracy for row in shown] + [row.interval[0] for row in shown if _matters(comparison, row)]
    axes.set_ylim(100 * min(bottoms) - 2, min(100 * max(tops) + 1, 101))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, which="both")
    axes.grid(axis="y", color="#e4e4e4", lw=0.7)
    axes.set_axisbelow(True)
    hidden = len(comparison.rows) - len(shown)
    below = f"; {hidden} more lie below" if hidden else ""
    axes.set_xlabel(f"time to train, the pass over the images included{below}", color=_INK)
    axes.set_ylabel(f"accuracy on {comparison.n_held_out:,} held-out images", color=_INK)
    axes.figure.suptitle(_title(comparison), x=0.01, ha="left", fontsize=13.5, color=_INK, weight="bold")


def _legend(axes: Any, shown: "list[Row]") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    there = [scenario for scenario in Scenario if any(row.scenario is scenario for row in shown)]
    handles: list[Any] = [
        Line2D([], [], ls="", marker="o" if scenario.id in (1, 4) else "s", color=_COLOURS[scenario.id], label=name)
        for scenario, name in _NAMES.items()
        if scenario in there
    ]
    handles.append(Line2D([], [], ls="", marker="o", ms=12, mfc="none", mec=_INK, mew=1.4, label="advised"))
    handles.append(Line2D([], [], ls="", marker="*", ms=13, color=_GOLD, mec=_INK, mew=0.7, label="preferred"))
    if any(row.ended_early for row in shown):
        handles.append(Line2D([], [], ls="", marker="s", mfc="white", mec=_FAINT, label="ended early"))
    handles.append(Patch(color=_BAND, label="what choosing the best is worth (95 %)"))
    axes.figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=8.5,
        handletextpad=0.3,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _title(comparison: "Outcome") -> str:
    regret, best = comparison.regret, comparison.winner.label
    if comparison.verdict == "right":
        return f"The advice was right: {best} is the best"
    if comparison.verdict == "tied":
        return "The advice ties with the best"
    if comparison.verdict == "wrong" and regret is not None:
        return f"The advice was wrong by {100 * regret.difference:.1f} points: {best} is better"
    return "The advice was not trained"


def _name(axes: Any, comparison: "Outcome", rows: "list[Row]") -> None:
    """Names in a column on the right, a thin line from each to its point."""
    low, high = axes.get_ylim()
    ordered = sorted(rows, key=lambda row: (-row.accuracy, -row.seconds))
    heights = _apart([(100 * row.accuracy - low) / (high - low) for row in ordered], _SPACING)
    for row, height in zip(ordered, heights, strict=True):
        bold = any(row is other for other in _marked(comparison))
        axes.annotate(
            f"{row.accuracy:.1%}  {row.label}",
            (row.seconds, 100 * row.accuracy),
            xytext=(1.03, height),
            textcoords="axes fraction",
            fontsize=8.5,
            va="center",
            color=_INK if bold else "#666666",
            weight="bold" if bold else "normal",
            arrowprops=_LEADER,
            zorder=1,
        )


def _apart(heights: list[float], spacing: float) -> list[float]:
    """Heights, falling, moved so that none is nearer to the next than that; within 0 and 1 where they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - spacing) if placed else min(height, 1.0))
    lowest = 0.0
    for place in range(len(placed) - 1, -1, -1):
        placed[place] = max(placed[place], lowest)
        lowest = placed[place] + spacing
    return placed
