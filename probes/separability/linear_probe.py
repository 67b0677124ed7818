"""The linear classifier that separability is measured with, and that a model's prediction layer starts from."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.evaluation.evaluation import Calibration, calibrate
from probes.evaluation.intervals import effective_size

# The penalty on the classifier's weights, per image: C = 1 / (PENALTY * images). Ours, from trials on the data sets of
# docs/method.md: C from 0.1 to 1 was best at 10 images a class, from 0.03 to 0.3 at 1,000 images.
PENALTY = 0.025
_CONSTANT = 1e-6  # of the largest standard deviation: below it a feature is constant
_UNSEEN = 12.0  # logits by which a class without an image starts below the others

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Split = tuple[Labels, Labels]


class ParetoScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centre each feature and divide it by the square root of its standard deviation.

    Half-way between unscaled and standardised features: on pooled features full standardisation enlarges the many
    rarely active channels. Blocks of features, of these `widths`, are scaled to the same mean variance, one over the
    number of blocks. van den Berg et al., Centering, scaling, and transformations, BMC Genomics 7:142, 2006.
    """

    def __init__(self, widths: Sequence[int] | None = None) -> None:
        self.widths = widths

    def fit(self, X: npt.ArrayLike, y: object = None) -> "ParetoScaler":  # noqa: ARG002, N803
        """Set `mean_` and `scale_`, each of shape (features,); the scale of a constant feature is infinity."""
        values = np.asarray(X, np.float64)
        widths = [values.shape[1]] if self.widths is None else list(self.widths)
        self.mean_ = values.mean(0)
        deviations = np.split(values.std(0), np.cumsum(widths)[:-1])
        self.scale_ = np.concatenate([_pareto_scale(part) * np.sqrt(len(widths)) for part in deviations])
        return self

    def transform(self, X: npt.ArrayLike) -> FloatArray:  # noqa: N803
        """Scale rows of shape (n, features)."""
        return np.asarray((np.asarray(X, np.float64) - self.mean_) / self.scale_)


def _pareto_scale(deviation: FloatArray) -> FloatArray:
    varies = deviation > _CONSTANT * deviation.max(initial=0.0)
    if not varies.any():
        return np.full_like(deviation, np.inf)
    spread = np.sqrt((deviation[varies] ** 2).mean())
    # Dividing by sqrt(deviation) leaves each feature with the variance of its deviation; `level` makes their mean 1.
    level = np.sqrt((deviation[varies] / spread).mean())
    return np.where(varies, np.sqrt(np.where(varies, deviation, 1.0) * spread) * level, np.inf)


def joined(blocks: Sequence[npt.ArrayLike]) -> tuple[FloatArray, list[int]]:
    """Blocks of features, each of shape (n, channels), side by side, and their widths."""
    parts = [np.asarray(block, np.float64) for block in blocks]
    return np.concatenate(parts, axis=1), [part.shape[1] for part in parts]


def fit_rows(
    features: FloatArray, rows: Rows, train: Labels, *, widths: Sequence[int] | None = None, balanced: bool = False
) -> Pipeline:
    """Pareto scaling and L2-regularised multinomial logistic regression, fitted on the row numbers `train`."""
    labels, weights = rows.labels[train], rows.weights[train]
    weights = balanced_weights(labels, weights) if balanced else weights / weights.mean()
    regression = LogisticRegression(C=1.0 / (PENALTY * len(train)), max_iter=300, tol=1e-3)
    classifier = make_pipeline(ParetoScaler(widths), regression)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a solver at its iteration limit is close enough
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return classifier.fit(features[train], labels, logisticregression__sample_weight=weights)


def cross_validate(
    features: npt.ArrayLike,
    rows: Rows,
    splits: Sequence[Split],
    *,
    widths: Sequence[int] | None = None,
    balanced: bool = False,
) -> FloatArray:
    """Class probabilities of the rows that `held_out_splits` holds out, of shape (n, classes); others are 0."""
    values = np.asarray(features)
    probabilities = np.zeros((len(rows), int(rows.labels.max()) + 1))
    for train, held_out in splits:
        classifier = fit_rows(values, rows, train, widths=widths, balanced=balanced)
        probabilities[np.ix_(held_out, classifier.classes_)] = classifier.predict_proba(values[held_out])
    return probabilities


def judged_rows(splits: Sequence[Split]) -> Labels:
    """The rows that some split holds out, ascending."""
    return np.sort(np.concatenate([held_out for _, held_out in splits]))


def accuracy_error(
    correct: npt.NDArray[np.bool_], weights: FloatArray | None = None, groups: Labels | None = None
) -> float:
    """Standard error of an accuracy, with one success and one failure added so that it is never 0.

    Weighted images count as (sum of weights)² / sum of weights² images (Kish, Survey sampling, 1965); those of one
    group may be correlated. Agresti and Coull, Approximate is better than "exact" for interval estimation, 1998.
    """
    counted = np.ones(len(correct)) if weights is None else np.asarray(weights, np.float64)
    n_images = counted.sum() ** 2 / (counted**2).sum() * effective_size(correct, groups) / len(correct)
    share = (np.average(correct, weights=counted) * n_images + 1) / (n_images + 2)
    return float(np.sqrt(share * (1 - share) / (n_images + 2)))


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

    rows: Labels  # which of the measured images, ascending
    probabilities: FloatArray  # of shape (m, classes)
    accuracy: float  # with the classes in the shares of the whole data
    standard_error: float
    balanced_accuracy: float
    balanced_error: float
    correct: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """A linear classifier on pooled features, in plain coefficients with the scaling folded in."""

    kernel: FloatArray  # of shape (features, classes), divided by the temperature
    bias: FloatArray
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
    """Fit the classifier that a model's prediction layer starts from, judge it on held-out images, and calibrate it.

    `blocks` are the pooled features that the layer reads, each of shape (n, channels). A class without an image starts
    at a probability near 0. `class_counts` are those of the whole data, if the rows are a sample with other shares.
    """
    kernel, bias = solve(blocks, rows, n_classes, balanced=balanced)
    judged = judge(blocks, rows, seed=seed, balanced=balanced, class_counts=class_counts)
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
    judged = judged_rows(splits)
    probabilities = cross_validate(features, rows, splits, widths=widths, balanced=balanced)[judged]
    labels = rows.labels[judged]
    correct = probabilities.argmax(1) == labels
    weights, groups = class_shares(labels, class_counts), rows.groups[judged]
    mean, error = balanced_accuracy(correct, labels, groups)
    return Judged(
        rows=judged,
        probabilities=probabilities,
        accuracy=float(np.average(correct, weights=weights)),
        standard_error=accuracy_error(correct, weights, groups),
        balanced_accuracy=mean,
        balanced_error=error,
        correct=tuple(correct.tolist()),
    )
