"""Figures of matplotlib in one style, and those of plain numbers: confusion, mistakes."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.errors import RecommendError
from recommender.explanation.text import class_name

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


@contextlib.contextmanager
def styled_figure(width: float, height: float, *, grid: bool = True) -> Iterator[Any]:
    """An empty figure, in inches, to be drawn in one style; a notebook shows it as the last value of a cell."""

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecommendError(
            "Expected matplotlib, which draws plots. Received: none. Install with: pip install 'netgraft[plot]'."
        ) from error
    figure: Any = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure._repr_png_ = png
    with matplotlib.rc_context(RC | {"axes.grid": grid}):
        yield figure


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
    with styled_figure(2.6 * columns, 0.6 + 2.9 * max(rows, 0.3), grid=False) as figure:
        for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True), start=1):
            axes = figure.add_subplot(rows, columns, place)
            pixels = np.clip(np.asarray(picture), 0, 255).astype(np.uint8)
            axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3], cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            axes.set_title(caption, fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure
