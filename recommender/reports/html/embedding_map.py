"""The map of the images: their features in two dimensions, by principal component analysis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from scipy.sparse.linalg import svds

from recommender.explanation.text import class_name, clean
from recommender.pipeline.decision import Decision
from recommender.reports.html.svg import SHAPES, Axis, Plot, element
from recommender.reports.html.words import clipped

_MOST_IMAGES = 1200  # that are shown
_COLOURS = 8  # in report.css
MARKED = 24  # classes with a mark of their own: each pair of a colour and a shape stands once
_WIDTH, _HEIGHT = 760, 480
_NAMED = 12  # classes whose names stand on the map
_LABEL = 18  # characters of a class name on the map


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMap:
    """Images of the sample as points."""

    rows: npt.NDArray[np.int64]  # which of the measured images
    places: npt.NDArray[np.float64]  # of shape (n, 2)
    variance: float  # share of the features' variance that the two dimensions hold
    layer: str  # whose pooled features they are
    classes: tuple[int, ...]  # numbers of the classes with a mark of their own


def embedding_map(found: Decision) -> EmbeddingMap:
    """Project the pooled features at the cut on their first two principal components."""
    features, layer = found.features, found.strategy.cut
    n_images = len(features.files)
    rows = np.arange(n_images)
    if n_images > _MOST_IMAGES:
        rows = np.sort(np.random.default_rng(found.seed).permutation(n_images)[:_MOST_IMAGES])
    places, variance = principal_components(features.pooled[layer][rows])
    counts = np.bincount(features.labels[rows], minlength=len(found.index.class_names))
    largest = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]][:MARKED]
    return EmbeddingMap(
        rows=rows,
        places=places,
        variance=variance,
        layer=clean(layer),
        classes=tuple(sorted(largest)),
    )


def principal_components(features: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], float]:
    """Places of n images on the first two components, of shape (n, 2), and their share of the variance.

    The image farthest out lies on the positive side of each. Pearson, On lines and planes of closest fit, 1901.
    """
    values, places = np.asarray(features, np.float64), np.zeros((len(features), 2))
    if not np.ptp(values, axis=0).any():  # equal images
        return places, 0.0
    values = values - values.mean(0)
    total, least = float((values**2).sum()), min(values.shape)
    if least > 2:
        left, sizes, _ = svds(values, k=2, v0=np.random.default_rng(0).normal(size=least))
    else:
        left, sizes, _ = np.linalg.svd(values, full_matrices=False)
    order = np.argsort(-sizes)[:2]
    places[:, : len(order)] = left[:, order] * sizes[order]
    farthest = places[np.abs(places).argmax(0), [0, 1]]
    return np.where(farthest < 0, -places, places), float((sizes[order] ** 2).sum()) / total


def style_of(classes: Sequence[int], label: int) -> tuple[str, str]:
    """CSS class and shape of a class's mark."""
    if label not in classes:
        return "rest", "circle"
    number = list(classes).index(label)
    return f"c{number % _COLOURS}", list(SHAPES)[number % len(SHAPES)]


def class_mark(classes: Sequence[int], label: int) -> Markup:
    """The mark of a class, for a legend."""
    colour, shape = style_of(classes, label)
    return element(
        "svg", element("path", d=SHAPES[shape], class_=colour), viewBox="-7 -7 14 14", class_="key", aria_hidden="true"
    )


def embedding_chart(found: Decision, shown: EmbeddingMap) -> Markup:
    """One mark for each image, and the name of each class at its centre."""
    names, labels = found.index.class_names, found.features.labels[shown.rows]
    low, high = shown.places.min(0), shown.places.max(0)
    margin = 0.04 * np.maximum(high - low, 1e-9)
    low, high = low - margin, high + margin
    axes = [Axis(low=low[axis], high=high[axis], title=f"component {axis + 1}", ticks=()) for axis in (0, 1)]
    plot = Plot(
        words=f"{len(shown.rows):,} images on the first two principal components of their features, by class.",
        x=axes[0],
        y=axes[1],
        width=_WIDTH,
        height=_HEIGHT,
    )
    for row, label, (x, y) in zip(shown.rows, labels, shown.places, strict=True):
        colour, shape = style_of(shown.classes, int(label))
        left, top = plot.at(x, y)
        words = f"{clipped(names[label], 40)}: {clipped(found.features.files[row], 60)}"
        plot.add(
            "path",
            element("title", words),
            d=SHAPES[shape],
            transform=f"translate({left:.1f} {top:.1f})",
            class_=f"image {colour}",
            data_row=int(row),
        )
    counts = np.bincount(labels, minlength=len(names))
    for label in sorted(shown.classes, key=lambda label: -counts[label])[:_NAMED]:
        x, y = np.median(shown.places[labels == label], axis=0)
        plot.text(float(x), float(y), clipped(class_name(names[label]), _LABEL), "middle strong halo", dy=4)
    return plot.render()
