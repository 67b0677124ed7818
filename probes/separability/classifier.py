"""The linear classifier that all separability is measured with."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from probes.data.splits import Rows, balanced_weights

# The penalty on the classifier's weights, per image: C = 1 / (PENALTY * images). Ours, from trials on the data sets of
# docs/method.md: C from 0.1 to 1 was best at 10 images a class, from 0.03 to 0.3 at 1,000 images.
PENALTY = 0.025
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-3
_CONSTANT = 1e-6  # of the largest standard deviation: below it a feature is constant

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Split = tuple[Labels, Labels]


class ParetoScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centre each feature and divide it by the square root of its standard deviation.

    Half-way between unscaled and standardised features: on pooled features full standardisation enlarges the many
    rarely active channels. Features come in blocks, one for each cut; each block is scaled to the same mean variance,
    one over the number of blocks.

    Args:
        widths: number of features of each block; None means one block.

    Reference:
        van den Berg et al., Centering, scaling, and transformations, BMC Genomics 7:142, 2006.
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


def linear_classifier(n_images: int, widths: Sequence[int] | None = None) -> Pipeline:
    """Pareto scaling and an L2-regularised multinomial logistic regression, for that many training images."""
    regression = LogisticRegression(C=1.0 / (PENALTY * n_images), max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    return make_pipeline(ParetoScaler(widths), regression)


@contextlib.contextmanager
def _expected_warnings() -> Iterator[None]:
    """Silence scikit-learn's warnings of early stops and of classes of two images, which are expected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def fit_quietly(
    classifier: Pipeline, features: npt.ArrayLike, labels: Labels, weights: FloatArray | None = None
) -> Pipeline:
    """Fit without warnings: a solver that stops at its iteration limit is close enough."""
    weighted = {} if weights is None else {"logisticregression__sample_weight": weights}
    with _expected_warnings():
        return classifier.fit(features, labels, **weighted)


def fit_rows(
    features: FloatArray, rows: Rows, train: Labels, *, widths: Sequence[int] | None = None, balanced: bool = False
) -> Pipeline:
    """Fit the classifier on some rows.

    Args:
        features: of shape (n, d).
        rows: the n images.
        train: row numbers, of at least two classes.
        widths: number of features of each block that is scaled separately; None means one block.
        balanced: whether every class has the same weight.
    """
    labels, weights = rows.labels[train], rows.weights[train]
    fitting: FloatArray | None = None
    if balanced:
        fitting = balanced_weights(labels, weights)
    elif (weights != weights[0]).any():
        fitting = weights / weights.mean()
    return fit_quietly(linear_classifier(len(train), widths), features[train], labels, fitting)


def cross_validate(
    features: npt.ArrayLike,
    rows: Rows,
    splits: Sequence[Split],
    *,
    widths: Sequence[int] | None = None,
    balanced: bool = False,
) -> FloatArray:
    """Class probabilities of held-out images; arguments as of `fit_rows`.

    Args:
        splits: training and held-out rows, from `held_out_splits`; the labels of all rows are 0..k-1.

    Returns:
        Probabilities of shape (n, k); each row comes from a classifier that was not fitted on its group. Rows that
        are never held out are 0.
    """
    values = np.asarray(features)
    probabilities = np.zeros((len(rows), int(rows.labels.max()) + 1))
    for train, held_out in splits:
        classifier = fit_rows(values, rows, train, widths=widths, balanced=balanced)
        probabilities[np.ix_(held_out, classifier.classes_)] = classifier.predict_proba(values[held_out])
    return probabilities


def judged_rows(splits: Sequence[Split]) -> Labels:
    """The rows that some split holds out, ascending."""
    return np.sort(np.concatenate([held_out for _, held_out in splits]))
