"""The classifier that a model's prediction layer starts from, and its accuracy on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows, held_out_splits
from probes.separability.classifier import cross_validate, fit_rows, joined, judged_rows

_UNSEEN = 12.0  # logits by which a class without an image starts below the others

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def accuracy_error(correct: npt.NDArray[np.bool_], weights: FloatArray | None = None) -> float:
    """Standard error of an accuracy over n images, with one success and one failure added so that it is never 0.

    Args:
        correct: whether each image was right, of shape (n,).
        weights: of the images, which then count as (sum of weights)² / sum of weights² images.

    Reference:
        Agresti and Coull, Approximate is better than "exact" for interval estimation, 1998. Kish, Survey sampling,
        1965: the number that weighted images count as.
    """
    counted = np.ones(len(correct)) if weights is None else np.asarray(weights, np.float64)
    n_images = counted.sum() ** 2 / (counted**2).sum()
    share = (np.average(correct, weights=counted) * n_images + 1) / (n_images + 2)
    return float(np.sqrt(share * (1 - share) / (n_images + 2)))


def class_shares(labels: Labels, class_counts: Sequence[int] | None) -> FloatArray:
    """Weights, with mean 1, under which a sample has the classes in the shares of the whole data.

    Args:
        labels: of the sample, of shape (n,).
        class_counts: images of each class in the whole data; None if the sample has the same shares.
    """
    if class_counts is None:
        return np.ones(len(labels))
    sampled = np.bincount(labels, minlength=len(class_counts))
    weights = (np.asarray(class_counts, np.float64) / np.maximum(sampled, 1))[labels]
    return np.asarray(weights / weights.mean()) if weights.any() else np.ones(len(labels))


def balanced_accuracy(correct: npt.NDArray[np.bool_], labels: Labels) -> tuple[float, float]:
    """Mean over classes of the share that was right, and its standard error.

    Args:
        correct: whether each image was right, of shape (n,).
        labels: their classes, of shape (n,).
    """
    per_class = [correct[labels == label] for label in np.unique(labels)]
    errors = np.array([accuracy_error(hits) for hits in per_class])
    return float(np.mean([hits.mean() for hits in per_class])), float(np.sqrt((errors**2).sum()) / len(per_class))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A classifier's results on images whose groups it was not fitted on.

    Attributes:
        rows: which of the measured images, ascending, of shape (m,).
        probabilities: of every class, of shape (m, classes).
        accuracy: share that is right, 0 to 1, with the classes in the shares of the whole data.
        standard_error: of that accuracy.
        balanced_accuracy: mean over classes of the share that was right.
        balanced_error: standard error of that.
        correct: for each image whether it was right.
    """

    rows: Labels
    probabilities: FloatArray
    accuracy: float
    standard_error: float
    balanced_accuracy: float
    balanced_error: float
    correct: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """A linear classifier on pooled features, in plain coefficients with the scaling folded in.

    Attributes:
        kernel: of shape (features, classes).
        bias: of shape (classes,).
        judged: its results on held-out images; None if none can be held out.
    """

    kernel: FloatArray
    bias: FloatArray
    judged: Judged | None

    @property
    def accuracy(self) -> float | None:
        return None if self.judged is None else self.judged.accuracy

    @property
    def standard_error(self) -> float | None:
        return None if self.judged is None else self.judged.standard_error

    @property
    def correct(self) -> tuple[bool, ...]:
        return () if self.judged is None else self.judged.correct


def solve(
    blocks: Sequence[npt.ArrayLike], rows: Rows, n_classes: int, *, balanced: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Fit the classifier on all training images; arguments as of `fit_linear_probe`.

    Returns:
        Its kernel of shape (features, classes) and its bias of shape (classes,), the scaling folded in.
    """
    features, widths = joined(blocks)
    train = np.flatnonzero(rows.training)
    scaler, regression = fit_rows(features, rows, train, widths=widths, balanced=balanced)
    seen, coefficients, intercept = regression.classes_, regression.coef_, regression.intercept_
    if len(seen) == 2:  # one row for both: softmax(-z / 2, z / 2) is (1 - sigmoid(z), sigmoid(z))
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    folded = (coefficients / scaler.scale_).T
    kernel = np.zeros((features.shape[1], n_classes))
    bias = np.full(n_classes, float(intercept.min()) - _UNSEEN)
    kernel[:, seen] = folded
    bias[seen] = intercept - scaler.mean_ @ folded
    return kernel, bias


def fit_linear_probe(
    blocks: Sequence[npt.ArrayLike],
    rows: Rows,
    n_classes: int,
    *,
    seed: int,
    balanced: bool = False,
    class_counts: Sequence[int] | None = None,
) -> LinearProbe:
    """Fit the classifier that a model's prediction layer starts from.

    Args:
        blocks: pooled features of each cut that it reads, each of shape (n, channels).
        rows: the images, n of them; labels below `n_classes`, training images of at least two classes.
        n_classes: number of outputs; classes without an image start at a probability near 0.
        seed: of the folds that measure its accuracy.
        balanced: whether every class has the same weight.
        class_counts: images of each class in the whole data, if the rows are a sample with other shares.

    Returns:
        The classifier fitted on all training images, and its results on held-out ones.
    """
    kernel, bias = solve(blocks, rows, n_classes, balanced=balanced)
    judged = judge(blocks, rows, seed=seed, balanced=balanced, class_counts=class_counts)
    return LinearProbe(kernel=kernel, bias=bias, judged=judged)


def judge(
    blocks: Sequence[npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool,
    class_counts: Sequence[int] | None = None,
) -> Judged | None:
    """Results of the classifier on held-out images, if there are any; arguments as of `fit_linear_probe`."""
    splits = held_out_splits(rows, seed=seed)
    if not splits:
        return None
    features, widths = joined(blocks)
    judged = judged_rows(splits)
    probabilities = cross_validate(features, rows, splits, widths=widths, balanced=balanced)[judged]
    labels = rows.labels[judged]
    correct = probabilities.argmax(1) == labels
    weights = class_shares(labels, class_counts)
    mean, error = balanced_accuracy(correct, labels)
    return Judged(
        rows=judged,
        probabilities=probabilities,
        accuracy=float(np.average(correct, weights=weights)),
        standard_error=accuracy_error(correct, weights),
        balanced_accuracy=mean,
        balanced_error=error,
        correct=tuple(correct.tolist()),
    )
