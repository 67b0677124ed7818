"""How well a linear classifier tells the classes apart at each cut. scikit-learn only."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import normalize

from probes.measurements import CutEvidence, Separability
from probes.splits import Rows, balanced_weights, groups_per_class, held_out_splits

# The penalty on the classifier's weights, per image: C = 1 / (PENALTY * images). Ours, from trials on the data sets of
# docs/method.md: C from 0.1 to 1 was best at 10 images a class, from 0.03 to 0.3 at 1,000 images.
PENALTY = 0.025
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-3
_CONSTANT = 1e-6  # of the largest standard deviation: below it a feature is constant
_UNSEEN = 12.0  # logits by which a class without an image starts below the others
_CHUNK = 1000  # images whose similarities to all others are held at once
_MAX_CLASSES = 50  # cuts are compared on no more classes than this: a classifier's cost grows with their number

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Split = tuple[Labels, Labels]


class ParetoScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centre each feature and divide it by the square root of its standard deviation.

    Half-way between leaving features as they are and standardising them: on pooled features full standardisation
    blows up the many rarely active channels. Features come in blocks, one a cut; each block is brought to the same
    mean variance, one over the number of blocks.

    Args:
        widths: number of features of each block; None means one block.

    Reference:
        van den Berg et al., Centering, scaling, and transformations, BMC Genomics 7:142, 2006.
    """

    def __init__(self, widths: Sequence[int] | None = None) -> None:
        self.widths = widths

    def fit(self, X: npt.ArrayLike, y: object = None) -> "ParetoScaler":  # noqa: ARG002, N803
        """Learn `mean_` and `scale_`, each of shape (features,); a constant feature gets the scale infinity."""
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


def linear_classifier(n_images: int, widths: Sequence[int] | None = None) -> Pipeline:
    """Pareto scaling and an L2-regularised multinomial logistic regression, for that many training images."""
    regression = LogisticRegression(C=1.0 / (PENALTY * n_images), max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    return make_pipeline(ParetoScaler(widths), regression)


@contextlib.contextmanager
def _expected_warnings() -> Iterator[None]:
    """scikit-learn warns of what is all right here: early stops, and classes of two images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def fit_quietly(
    classifier: Pipeline, features: npt.ArrayLike, labels: Labels, weights: FloatArray | None = None
) -> Pipeline:
    """Fit; a solver that stops at its iteration limit is close enough and says nothing."""
    weighted = {} if weights is None else {"logisticregression__sample_weight": weights}
    with _expected_warnings():
        return classifier.fit(features, labels, **weighted)


def cross_validate(
    features: npt.ArrayLike,
    rows: Rows,
    splits: Sequence[Split],
    *,
    widths: Sequence[int] | None = None,
    balanced: bool = False,
) -> FloatArray:
    """Class probabilities of held-out images.

    Args:
        features: of shape (n, d).
        rows: the images, their labels 0..k-1.
        splits: training and held-out rows, as `held_out_splits` makes them.
        widths: number of features of each block that is scaled on its own; None means one block.
        balanced: whether every class counts alike in what is fitted.

    Returns:
        Probabilities of shape (n, k); each row comes from a classifier that has not seen the image's group. Rows that
        are never held out are 0.
    """
    values = np.asarray(features)
    probabilities = np.zeros((len(rows), int(rows.labels.max()) + 1))
    for train, held_out in splits:
        weights = _fitting_weights(rows, train, balanced)
        classifier = fit_quietly(linear_classifier(len(train), widths), values[train], rows.labels[train], weights)
        probabilities[np.ix_(held_out, classifier.classes_)] = classifier.predict_proba(values[held_out])
    return probabilities


def _fitting_weights(rows: Rows, train: Labels, balanced: bool) -> FloatArray | None:
    weights, labels = rows.weights[train], rows.labels[train]
    if balanced:
        return balanced_weights(labels, weights)
    return None if (weights == 1.0).all() else weights


def _held_out(splits: Sequence[Split]) -> Labels:
    """The rows that are held out by some split, ascending."""
    return np.sort(np.concatenate([held_out for _, held_out in splits]))


def neighbour_accuracy(features: npt.ArrayLike, rows: Rows) -> float:
    """Accuracy of the nearest neighbour by cosine similarity, among images of other groups.

    Args:
        features: of shape (n, d).
        rows: the images. The user's held-out ones are judged by training images; without them each training image is
            judged by the others.
    """
    values = normalize(np.asarray(features, np.float64))
    known = np.flatnonzero(rows.training)
    judged = np.flatnonzero(rows.held_out) if rows.held_out.any() else known
    hits = 0
    for some in np.array_split(judged, -(-len(judged) // _CHUNK)):
        similarity = values[some] @ values[known].T
        similarity[rows.groups[some][:, None] == rows.groups[known]] = -2.0
        hits += int((rows.labels[known[similarity.argmax(1)]] == rows.labels[some]).sum())
    return hits / len(judged)


def _eligible(rows: Rows, seed: int) -> tuple[npt.NDArray[np.bool_], str]:
    """Which images take part: those of classes with two groups or more, and of no more classes than can be afforded."""
    classes, counts = np.unique(rows.labels[rows.training], return_counts=True)
    enough = 1 if rows.held_out.any() else 2
    usable = classes[groups_per_class(rows)[classes] >= enough]
    notes = []
    if len(usable) < len(classes):
        single = len(classes) - len(usable)
        what = "a single image" if (counts[~np.isin(classes, usable)] == 1).all() else "a single group of images"
        were = f"classes with {what} were" if single > 1 else f"class with {what} was"
        notes.append(f"{single} {were} left out")
    if len(usable) > _MAX_CLASSES:
        notes.append(f"cuts were compared on {_MAX_CLASSES} of {len(usable)} classes")
        usable = np.random.default_rng(seed).choice(usable, _MAX_CLASSES, replace=False)
    return np.isin(rows.labels, usable), "; ".join(notes)


def measure_separability(
    pooled: Mapping[str, npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Separability:
    """Held-out and nearest-neighbour accuracy at every cut.

    Args:
        pooled: for each cut, from input to output, pooled features of shape (n, channels).
        rows: the images, n of them.
        seed: of the folds; all cuts share them, so that their accuracies can be compared image by image.
        balanced: whether every class counts alike in what is fitted.
        progress: called with the number of cuts done and wanted.

    Returns:
        The evidence. It is skipped, with the reason, where fewer than two classes have two images that may be parted.
    """
    chosen, note = _eligible(rows, seed)
    some = rows.only(chosen)
    n_classes = len(np.unique(some.labels))
    splits = held_out_splits(some, seed=seed) if n_classes > 1 else []
    if not splits:
        reason = "cross-validation needs two classes of at least two images"
        return Separability(per_cut=(), n_images=int(chosen.sum()), n_classes=n_classes, folds=0, note=reason)
    evidence = []
    for done, (cut, features) in enumerate(pooled.items(), start=1):
        evidence.append(_evidence(cut, np.asarray(features)[chosen], some, splits, balanced))
        if progress:
            progress(done, len(pooled))
    return Separability(
        per_cut=tuple(evidence),
        n_images=int(chosen.sum()),
        n_classes=n_classes,
        folds=len(splits) if len(splits) > 1 else 0,
        note=note,
    )


def _evidence(cut: str, features: FloatArray, rows: Rows, splits: Sequence[Split], balanced: bool) -> CutEvidence:
    judged = _held_out(splits)
    labels = rows.labels[judged]
    probabilities = cross_validate(features, rows, splits, balanced=balanced)[judged]
    correct = probabilities.argmax(1) == labels
    given = probabilities[np.arange(len(labels)), labels]
    return CutEvidence(
        cut=cut,
        accuracy=float(correct.mean()),
        standard_error=accuracy_error(correct),
        neighbour_accuracy=neighbour_accuracy(features, rows),
        correct=tuple(bool(hit) for hit in correct),
        log_loss=tuple(float(loss) for loss in -np.log(np.maximum(given, 1e-12))),
    )


def accuracy_error(correct: npt.NDArray[np.bool_]) -> float:
    """Standard error of an accuracy over n images, with one success and one failure added so that it is never 0.

    Reference:
        Agresti and Coull, Approximate is better than "exact" for interval estimation, 1998.
    """
    n_images = len(correct) + 2
    share = (correct.sum() + 1) / n_images
    return float(np.sqrt(share * (1 - share) / n_images))


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
        accuracy: share that was right, 0 to 1.
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


def fit_linear_probe(
    blocks: Sequence[npt.ArrayLike], rows: Rows, n_classes: int, *, seed: int, balanced: bool = False
) -> LinearProbe:
    """Fit the classifier that a model's prediction layer starts from.

    Args:
        blocks: pooled features of each cut that it reads, each of shape (n, channels).
        rows: the images, n of them; labels below `n_classes`, training images of at least two classes.
        n_classes: number of outputs; classes without an image start at a probability near 0.
        seed: of the folds that measure its accuracy.
        balanced: whether every class counts alike.

    Returns:
        The classifier fitted on all training images, and how it does on held-out ones.
    """
    widths = [np.shape(block)[1] for block in blocks]
    features = np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    train = np.flatnonzero(rows.training)
    seen, numbers = np.unique(rows.labels[train], return_inverse=True)
    weights = _fitting_weights(rows, train, balanced)
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
    return LinearProbe(kernel=kernel, bias=bias, judged=judge(blocks, rows, seed=seed, balanced=balanced))


def judge(blocks: Sequence[npt.ArrayLike], rows: Rows, *, seed: int, balanced: bool) -> Judged | None:
    """How the classifier that `fit_linear_probe` fits does on held-out images; None where none can be held out."""
    widths = [np.shape(block)[1] for block in blocks]
    features = np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    splits = held_out_splits(rows, seed=seed)
    if not splits:
        return None
    judged = _held_out(splits)
    probabilities = cross_validate(features, rows, splits, widths=widths, balanced=balanced)[judged]
    labels = rows.labels[judged]
    correct = probabilities.argmax(1) == labels
    mean, error = balanced_accuracy(correct, labels)
    return Judged(
        rows=judged,
        probabilities=probabilities,
        accuracy=float(correct.mean()),
        standard_error=accuracy_error(correct),
        balanced_accuracy=mean,
        balanced_error=error,
        correct=tuple(bool(hit) for hit in correct),
    )
