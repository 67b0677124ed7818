"""The classifier that a model's prediction layer starts from, and how it does on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows, held_out_splits
from probes.separability.classifier import cross_validate, fit_quietly, fitting_weights, judged_rows, linear_classifier

_UNSEEN = 12.0  # logits by which a class without an image starts below the others

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def accuracy_error(correct: npt.NDArray[np.bool_], weights: FloatArray | None = None) -> float:
    """Standard error of an accuracy over n images, with one success and one failure added so that it is never 0.

    Args:
        correct: whether each image was right, of shape (n,).
        weights: of the images; they then count as (sum of weights)² / sum of weights² images.

    Reference:
        Agresti and Coull, Approximate is better than "exact" for interval estimation, 1998. Kish, Survey sampling,
        1965: the number that weighted images count as.
    """
    counted = np.ones(len(correct)) if weights is None else np.asarray(weights, np.float64)
    n_images = counted.sum() ** 2 / (counted**2).sum()
    share = (np.average(correct, weights=counted) * n_images + 1) / (n_images + 2)
    return float(np.sqrt(share * (1 - share) / (n_images + 2)))


def class_shares(labels: Labels, class_counts: Sequence[int] | None) -> FloatArray:
    """Weights, with mean 1, under which a sample has the classes in the shares that the whole data have.

    Args:
        labels: of the sample, of shape (n,).
        class_counts: images of each class in the whole data; None where the sample is as the data are.
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
    """How a classifier did on images whose groups it had not seen.

    Attributes:
        rows: which of the measured images, ascending, of shape (m,).
        probabilities: of every class, of shape (m, classes).
        accuracy: share that is right where the classes come in the shares that the data have, 0 to 1.
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
        judged: how it does on held-out images; None where there can be none.
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
    """Fit the classifier on all training images.

    Args:
        blocks: pooled features of each cut that it reads, each of shape (n, channels).
        rows: the images, n of them; labels below `n_classes`, training images of at least two classes.
        n_classes: number of outputs; classes without an image start at a probability near 0.
        balanced: whether every class counts alike.

    Returns:
        Its kernel of shape (features, classes) and its bias of shape (classes,), the scaling folded in.
    """
    widths = [np.shape(block)[1] for block in blocks]
    features = np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    train = np.flatnonzero(rows.training)
    seen, numbers = np.unique(rows.labels[train], return_inverse=True)
    weights = fitting_weights(rows, train, balanced)
    scaler, regression = fit_quietly(linear_classifier(len(train), widths), features[train], numbers, weights)
    coefficients, intercept = regression.coef_, regression.intercept_
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
        balanced: whether every class counts alike.
        class_counts: images of each class in the whole data, of which the rows may be a sample with other shares.

    Returns:
        The classifier fitted on all training images, and how it does on held-out ones.
    """
    kernel, bias = solve(blocks, rows, n_classes, balanced=balanced)
    return LinearProbe(
        kernel=kernel, bias=bias, judged=judge(blocks, rows, seed=seed, balanced=balanced, class_counts=class_counts)
    )


def judge(
    blocks: Sequence[npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool,
    class_counts: Sequence[int] | None = None,
) -> Judged | None:
    """How the classifier that `fit_linear_probe` fits does on held-out images; None where none can be held out."""
    widths = [np.shape(block)[1] for block in blocks]
    features = np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    splits = held_out_splits(rows, seed=seed)
    if not splits:
        return None
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
        correct=tuple(bool(hit) for hit in correct),
    )
