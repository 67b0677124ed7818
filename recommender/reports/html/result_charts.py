"""Charts of what was trained: learning curve, validation checks, calibration, confusion."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from builders.training.state import Check
from probes.evaluation.intervals import wilson, z
from probes.separability.learning_curve import LearningCurve
from recommender.explanation.text import interval_text, percent
from recommender.fit.result import Predictions
from recommender.reports.html.svg import Axis, Plot, linear_axis, share_axis, whole_percent

CONFUSED_CLASSES = 20  # that the matrix shows at most
_BINS, _PER_BIN = 10, 20  # of the calibration chart at most, and images that each should hold


def curve_chart(curve: LearningCurve) -> Markup:
    """Accuracy by number of images, and the forecast for twice as many."""
    points, doubled = curve.points, curve.doubled
    sizes = [float(point.n_images) for point in points] + ([2.0 * points[-1].n_images] if doubled else [])
    lows = [point.accuracy - z() * point.standard_error for point in points] + ([doubled.low] if doubled else [])
    forecast = f"; with twice the images about {percent(doubled.accuracy)}" if doubled else ""
    title = "images to learn from"
    plot = Plot(
        words=f"Learning curve: {percent(points[-1].accuracy)} with {points[-1].n_images:,} images{forecast}.",
        x=Axis(low=0.8 * sizes[0], high=1.25 * sizes[-1], title=title, ticks=_log_ticks(sizes), log=True),
        y=share_axis(lows, "held-out accuracy"),
    )
    plot.line([(point.n_images, point.accuracy) for point in points], "own")
    for point in points:
        error = z() * point.standard_error
        plot.interval(point.n_images, point.accuracy - error, min(point.accuracy + error, 1.0), "own")
        plot.mark(point.n_images, point.accuracy, "own", title=f"{point.n_images:,} images: {percent(point.accuracy)}")
    if doubled:
        plot.line([(points[-1].n_images, points[-1].accuracy), (sizes[-1], doubled.accuracy)], "floor")
        plot.interval(sizes[-1], doubled.low, doubled.high, "known")
        title = f"a forecast for {sizes[-1]:,.0f} images: {interval_text((doubled.low, doubled.high))}"
        plot.mark(sizes[-1], doubled.accuracy, "known", "square", title, 1.2)
    return plot.render()


def _log_ticks(values: list[float]) -> list[tuple[float, str]]:
    """Marks at the values themselves, without those too near to the one before."""
    kept: list[float] = []
    for value in sorted(values):
        if not kept or math.log(value / kept[-1]) > 0.3:
            kept.append(value)
    return [(value, f"{value:,.0f}") for value in kept]


def checks_chart(history: Sequence[Check]) -> Markup:
    """Held-out accuracy at each validation check of the first trial."""
    known = [(check.step, check.accuracy) for check in history if check.accuracy is not None]
    plot = Plot(
        words=f"Held-out accuracy over {len(known)} validation checks, at last {percent(known[-1][1])}.",
        x=linear_axis(0.0, float(max(known[-1][0], 1)), "training step"),
        y=share_axis((accuracy for _, accuracy in known), "held-out accuracy"),
    )
    plot.line(known, "own")
    for step, accuracy in known:
        plot.mark(step, accuracy, "own", title=f"step {step:,}: {percent(accuracy)}")
    return plot.render()


def loss_chart(history: Sequence[Check]) -> Markup:
    """Training loss and held-out loss at each validation check of the first trial."""
    training = [(check.step, check.loss) for check in history if _is_finite(check.loss)]
    held_out = [(check.step, check.held_out_loss) for check in history if _is_finite(check.held_out_loss)]
    values = [loss for _, loss in (*training, *held_out)]
    plot = Plot(
        words=f"Loss over {len(held_out)} validation checks, of training and held-out images.",
        x=linear_axis(0.0, float(max(history[-1].step, 1)), "training step"),
        y=linear_axis(0.0, 1.05 * max(values), "loss"),
    )
    plot.line(training, "floor")
    plot.line(held_out, "own")
    for step, loss in training:
        plot.mark(step, loss, "known", "square", f"step {step:,}: training loss {loss:.3f}", 0.8)
    for step, loss in held_out:
        plot.mark(step, loss, "own", "circle", f"step {step:,}: held-out loss {loss:.3f}", 0.8)
    return plot.render()


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def calibration_chart(found: Predictions) -> Markup:
    """Share of images that are right, against the probability of their most probable class, in bins of equal size."""
    correct, order = found.predicted == found.labels, np.argsort(found.confidence, kind="stable")
    n_bins = int(np.clip(len(order) // _PER_BIN, 1, _BINS))
    bins = [each for each in np.array_split(order, n_bins) if len(each)]
    plot = Plot(
        words=f"Calibration: the share that is right by predicted probability, in {len(bins)} bins of images.",
        x=linear_axis(0.0, 1.0, "predicted probability", whole_percent),
        y=linear_axis(0.0, 1.0, "share that is right", whole_percent),
    )
    plot.line([(0.0, 0.0), (1.0, 1.0)], "floor")
    for rows in bins:
        at, right = float(found.confidence[rows].mean()), float(correct[rows].mean())
        low, high = wilson(right * len(rows), len(rows))
        plot.interval(at, low, high, "own")
        plot.mark(
            at, right, "own", title=f"{len(rows):,} images: predicted {percent(at, 0)}, right {percent(right, 0)}"
        )
    return plot.render()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """The confusion matrix of some classes, and the pairs of all that are confused most."""

    classes: list[int]  # numbers of the classes that are shown
    counts: list[list[int]]  # rows true, columns predicted
    shares: list[list[float]]  # of the images of the true class
    others: bool  # whether there are other classes
    pairs: list[tuple[int, int, int, int]]  # true, predicted, how often, images of the true class


def confusion(found: Predictions, *, most_pairs: int = 12) -> Confusion:
    """From what was predicted; of many classes, those that take part in most mistakes."""
    times = Counter(zip(found.labels.tolist(), found.predicted.tolist(), strict=True))
    wrong = sorted((pair for pair in times if pair[0] != pair[1]), key=lambda pair: (-times[pair], pair))
    totals, mistakes = Counter(found.labels.tolist()), Counter[int]()
    for pair in wrong:
        mistakes.update(dict.fromkeys(pair, times[pair]))
    present = sorted({label for pair in times for label in pair})
    shown = sorted(sorted(present, key=lambda label: -mistakes[label])[:CONFUSED_CLASSES])
    counts = [[times[true, other] for other in shown] for true in shown]
    return Confusion(
        classes=shown,
        counts=counts,
        shares=[[count / max(totals[true], 1) for count in row] for true, row in zip(shown, counts, strict=True)],
        others=len(shown) < len(present),
        pairs=[(*pair, times[pair], totals[pair[0]]) for pair in wrong[:most_pairs]],
    )


def worst_mistakes(found: Predictions, most: int) -> npt.NDArray[np.int64]:
    """Rows that are wrong, those that were predicted with the highest probability first."""
    wrong = np.flatnonzero(found.predicted != found.labels)
    return np.asarray(wrong[np.argsort(-found.confidence[wrong], kind="stable")[:most]])
