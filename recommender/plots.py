"""Figures of matplotlib: drift and accuracy by depth, the map of scenarios, confusion, mistakes. Plain numbers in."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.errors import RecommendError
from recommender.explanation.text import class_name
from recommender.rules import thresholds
from recommender.rules.scenario import Scenario

# Colours of Okabe and Ito's palette, which colour-blind people can distinguish.
BLUE, ORANGE, INK, GREY = "#0072B2", "#D55E00", "#222222", "#666666"
RC: Any = {
    "svg.hashsalt": "netgraft",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
}
MOST_CLASSES = 40  # of which a confusion matrix has names and numbers


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches, that a notebook shows as the last value of a cell."""

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecommendError(
            "Expected matplotlib, which draws plots. Received: none. Install with: pip install 'netgraft[plot]'."
        ) from error
    figure: Any = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure._repr_png_ = png
    return figure


@contextlib.contextmanager
def styled_figure(width: float, height: float, *, grid: bool = True) -> Iterator[Any]:
    """The same, to be drawn in one style for all figures."""
    figure = new_figure(width, height)
    import matplotlib

    with matplotlib.rc_context(RC | {"axes.grid": grid}):
        yield figure


def depth_figure(
    depths: Sequence[float],
    accuracy: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    drift: Sequence[float | None],
    *,
    chosen: float,
    title: str,
) -> Any:
    """Accuracy with its 90 % interval above, drift below, against the depth of the cut points; all as shares."""
    with styled_figure(8, 5.5) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        places = 100 * np.asarray(depths)
        if accuracy:
            low, high = 100 * np.asarray(intervals).T
            above.fill_between(places, low, high, color=BLUE, alpha=0.18, lw=0, label="90 % interval")
            above.plot(places, 100 * np.asarray(accuracy), "o-", color=BLUE, ms=4, label="accuracy of this cut point")
        for axes in (above, below):
            axes.axvline(100 * chosen, color=INK, ls="--", lw=1, label="chosen")
        below.bar(places, [np.nan if value is None else value for value in drift], width=2, color=ORANGE)
        above.set_ylabel("right, %")
        below.set_ylabel("drift")
        below.set_xlabel("depth of the cut point, % of the network's layers")
        above.legend(frameon=False, loc="lower right")
        above.set_title(title, loc="left", fontsize=11, color=INK)
    return figure


def map_figure(
    n_images: int, images_needed: float, score: float, interval: tuple[float, float] | None, *, title: str
) -> Any:
    """The four scenarios by number of images and similarity, and where one data set lies.

    `images_needed`: with so many fine-tuning is expected to be as good as freezing, on this task.
    """
    with styled_figure(7, 5, grid=False) as figure:
        axes = figure.add_subplot()
        threshold, similar = images_needed, thresholds.SIMILAR_SCORE
        axes.set_xscale("log")
        axes.set_xlim(min(10, n_images / 2, threshold / 2), max(1e5, 2 * n_images, 2 * threshold))
        axes.set_ylim(0, 1)
        axes.axvline(threshold, color=GREY, lw=1)
        axes.axhline(similar, color=GREY, lw=1)
        for scenario in Scenario:
            x = 0.02 if scenario.amount == "limited" else 0.98
            y = 0.97 if scenario.similarity == "similar" else 0.03
            axes.text(
                x,
                y,
                f"{scenario.id} {scenario.name}",
                transform=axes.transAxes,
                ha="left" if x < 0.5 else "right",
                va="top" if y > 0.5 else "bottom",
                color=GREY,
                fontsize=9,
            )
        if interval is not None:
            axes.vlines(n_images, *interval, color=BLUE, lw=2)  # 90 %
        axes.plot(n_images, score, "o", color=BLUE, ms=9)
        axes.annotate("your images", (n_images, score), (10, 6), textcoords="offset points", color=BLUE)
        axes.set_xlabel(
            f"images (on this task fine-tuning is expected to be as good as freezing with about {threshold:,.0f})"
        )
        axes.set_ylabel("similarity to what the network was trained on")
        axes.set_title(title, loc="left", fontsize=11, color=INK)
    return figure


def confusion_figure(confusion: npt.ArrayLike, class_names: Sequence[str]) -> Any:
    """Shares of each true class, a row, predicted as each class, a column; `confusion` of numbers of images."""
    counts = np.asarray(confusion)
    n = len(counts)
    named = n <= MOST_CLASSES
    side = min(3 + 0.45 * n, 14) if named else 8
    with styled_figure(side + 1, side, grid=False) as figure:
        axes = figure.add_subplot()
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        figure.colorbar(image, label="% of the true class", shrink=0.8)
        axes.set_xlabel("predicted as")
        axes.set_ylabel("true class")
        if named:
            names = [class_name(name) for name in class_names]
            axes.set_xticks(range(n), names, rotation=90)
            axes.set_yticks(range(n), names)
            for row, column in zip(*np.nonzero(counts), strict=True):
                colour = "white" if shares[row, column] > 0.6 else INK
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8, color=colour)
        right = np.trace(counts) / max(counts.sum(), 1)
        axes.set_title(f"{counts.sum():,} images, {100 * right:.1f} % right", loc="left", fontsize=11, color=INK)
    return figure


def mistakes_figure(pictures: Sequence[npt.ArrayLike], captions: Sequence[str], title: str) -> Any:
    """Pictures, of shape (height, width, channels), 0 to 255, each with a caption above."""
    columns = min(4, max(len(pictures), 1))
    rows = -(-len(pictures) // columns)
    figure = new_figure(2.6 * columns, 0.6 + 2.9 * max(rows, 0.3))
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        pixels = np.clip(np.asarray(picture), 0, 255).astype(np.uint8)
        axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3], cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure
