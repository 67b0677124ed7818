"""The linear classifier that separability is measured with, and that a model's prediction layer starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from probes.data.splits import Labels, Rows, balanced_weights, held_out_splits
from probes.evaluation.evaluation import Calibration, calibrate
from probes.evaluation.intervals import accuracy_error, accuracy_interval
from probes.separability.discriminant import FloatArray, Split, fit, fits


def joined(blocks: Sequence[npt.ArrayLike]) -> tuple[FloatArray, list[int]]:
    """Blocks of features, each of shape (n, channels), side by side, and their widths."""
    parts = [np.asarray(block, np.float64) for block in blocks]
    return np.concatenate(parts, axis=1), [part.shape[1] for part in parts]


def cross_validate(
    features: npt.ArrayLike,
    rows: Rows,
    splits: Sequence[Split],
    *,
    widths: Sequence[int] | None = None,
    balanced: bool = False,
) -> FloatArray:
    """Class probabilities of the rows that `held_out_splits` holds out, of shape (n, classes); others are 0."""
    values, n_classes = np.asarray(features, np.float64), int(rows.labels.max()) + 1
    probabilities = np.zeros((len(rows), n_classes))
    classifiers = fits(values, rows, splits, n_classes, widths=widths, balanced=balanced)
    for (_, held_out), classifier in zip(splits, classifiers, strict=True):
        probabilities[held_out] = classifier.probabilities(values[held_out])
    return probabilities


def judged_rows(splits: Sequence[Split]) -> Labels:
    """The rows that some split holds out, ascending."""
    return np.sort(np.concatenate([held_out for _, held_out in splits]))


def class_shares(labels: Labels, class_counts: Sequence[int] | None) -> FloatArray:
    """Weights, with mean 1, under which a sample has the classes in the shares of the whole data's counts."""
    if class_counts is None:
        return np.ones(len(labels))
    sampled = np.bincount(labels, minlength=len(class_counts))
    weights = (np.asarray(class_counts, np.float64) / np.maximum(sampled, 1))[labels]
    return np.asarray(weights / weights.mean()) if weights.any() else np.ones(len(labels))


def balanced_accuracy(
    correct: npt.NDArray[np.bool_], labels: Labels, groups: Labels | None = None
) -> tuple[float, float]:
    """Mean over classes of the share that was right, and its standard error; images of a group may be correlated."""
    of_image = np.arange(len(labels)) if groups is None else groups
    per_class = [(correct[labels == label], of_image[labels == label]) for label in np.unique(labels)]
    errors = np.array([accuracy_error(hits, groups=of_hits) for hits, of_hits in per_class])
    return float(np.mean([hits.mean() for hits, _ in per_class])), float(np.sqrt((errors**2).sum()) / len(per_class))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A classifier's results on m images whose groups it was not fitted on."""

    rows: Labels = field(repr=False)  # which of the measured images, ascending
    probabilities: FloatArray = field(repr=False)  # of shape (m, classes)
    accuracy: float  # with the classes in the shares of the whole data
    standard_error: float
    interval: tuple[float, float]  # 90 % interval of the accuracy
    balanced_accuracy: float
    balanced_error: float
    balanced_interval: tuple[float, float]  # 90 % interval of the balanced accuracy
    correct: tuple[bool, ...] = field(repr=False)
    fitted_share: float  # of the training images, that each classifier was fitted on

    def over(self, of_images: float, of_classes: float) -> "Judged":
        """The results where only those shares of the images and classes are known, and the others are all wrong."""
        return replace(
            self,
            accuracy=of_images * self.accuracy,
            standard_error=of_images * self.standard_error,
            interval=(of_images * self.interval[0], of_images * self.interval[1]),
            balanced_accuracy=of_classes * self.balanced_accuracy,
            balanced_error=of_classes * self.balanced_error,
            balanced_interval=(of_classes * self.balanced_interval[0], of_classes * self.balanced_interval[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """A linear classifier on pooled features, in plain coefficients with the scaling folded in."""

    kernel: FloatArray = field(repr=False)  # of shape (features, classes), divided by the temperature
    bias: FloatArray = field(repr=False)
    judged: Judged | None  # None if no images can be held out; before the temperature
    calibration: Calibration | None = None

    @property
    def accuracy(self) -> float | None:
        return None if self.judged is None else self.judged.accuracy

    @property
    def temperature(self) -> float:
        """That `kernel` and `bias` were divided by, 1.0 if none helps."""
        return 1.0 if self.calibration is None or not self.calibration.helps else self.calibration.temperature

    @property
    def standard_error(self) -> float | None:
        return None if self.judged is None else self.judged.standard_error

    @property
    def correct(self) -> tuple[bool, ...]:
        return () if self.judged is None else self.judged.correct


def solve(
    blocks: Sequence[npt.ArrayLike], rows: Rows, n_classes: int, *, balanced: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Kernel, of shape (features, classes), and bias of the classifier fitted on all training images."""
    features, widths = joined(blocks)
    train = np.flatnonzero(rows.training)
    classifier = fit(features[train], rows.taken(train), n_classes, widths=widths, balanced=balanced)
    return classifier.kernel, classifier.bias


def fit_linear_probe(
    blocks: Sequence[npt.ArrayLike],
    rows: Rows,
    n_classes: int,
    *,
    seed: int,
    balanced: bool = False,
    class_counts: Sequence[int] | None = None,
) -> LinearProbe:
    """Fit the classifier that a model's prediction layer starts from, judge it on held-out images, and calibrate it.

    `blocks` are the pooled features that the layer reads, each of shape (n, channels). A class without an image starts
    at a probability near 0. `class_counts` are those of the whole data, if the rows are a sample with other shares.
    """
    kernel, bias = solve(blocks, rows, n_classes, balanced=balanced)
    judged = judge(blocks, rows, seed=seed, balanced=balanced, class_counts=class_counts)
    return calibrated(kernel, bias, judged, rows, seed=seed)


def calibrated(kernel: FloatArray, bias: FloatArray, judged: Judged | None, rows: Rows, *, seed: int) -> LinearProbe:
    """The classifier of these coefficients, divided by a temperature where the images that judge it gain by that."""
    if judged is None:
        return LinearProbe(kernel=kernel, bias=bias, judged=None)
    held_out = rows.taken(judged.rows)
    calibration = calibrate(judged.probabilities, held_out.labels, seed=seed, groups=held_out.groups)
    scale = calibration.temperature if calibration.helps else 1.0
    return LinearProbe(kernel=kernel / scale, bias=bias / scale, judged=judged, calibration=calibration)


def judge(
    blocks: Sequence[npt.ArrayLike], rows: Rows, *, seed: int, balanced: bool, class_counts: Sequence[int] | None = None
) -> Judged | None:
    """Results of the classifier on held-out images, if there are any; arguments as of `fit_linear_probe`."""
    splits = held_out_splits(rows, seed=seed)
    if not splits:
        return None
    features, widths = joined(blocks)
    probabilities = cross_validate(features, rows, splits, widths=widths, balanced=balanced)
    judged = judged_rows(splits)
    share = float(np.mean([len(train) for train, _ in splits]) / rows.training.sum())
    return judged_by(probabilities[judged], judged, rows, class_counts, fitted_share=share)


def judged_by(
    probabilities: FloatArray,
    judged: Labels,
    rows: Rows,
    class_counts: Sequence[int] | None = None,
    *,
    fitted_share: float = 1.0,
) -> Judged:
    """Results by the class probabilities of the rows of these numbers, of shape (judged, classes)."""
    labels = rows.labels[judged]
    correct = probabilities.argmax(1) == labels
    weights, groups = class_shares(labels, class_counts), rows.groups[judged]
    mean, error = balanced_accuracy(correct, labels, groups)
    return Judged(
        rows=judged,
        probabilities=probabilities,
        accuracy=float(np.average(correct, weights=weights)),
        standard_error=accuracy_error(correct, weights, groups),
        interval=accuracy_interval(correct, groups, weights),
        balanced_accuracy=mean,
        balanced_error=error,
        balanced_interval=accuracy_interval(correct, groups, balanced_weights(labels, np.ones(len(labels)))),
        correct=tuple(correct.tolist()),
        fitted_share=fitted_share,
    )
