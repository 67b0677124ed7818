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
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline

from probes.measurements import CutEvidence, Separability

FOLDS = 5
# The penalty on the classifier's weights, per image: C = 1 / (PENALTY * images). Ours, from trials on the data sets of
# docs/method.md: C from 0.1 to 1 was best at 10 images a class, from 0.03 to 0.3 at 1,000 images.
PENALTY = 0.025
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-3
_CONSTANT = 1e-6  # of the largest standard deviation: below it a feature is constant
_UNSEEN = 12.0  # logits by which a class without an image starts below the others
_MAX_CLASSES = 50  # cuts are compared on no more classes than this: a classifier's cost grows with their number

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


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
    """scikit-learn warns of what is all right here: early stops, rare classes, classes of two images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def fit_quietly(classifier: Pipeline, features: npt.ArrayLike, labels: Labels) -> Pipeline:
    """Fit; a solver that stops at its iteration limit is close enough and says nothing."""
    with _expected_warnings():
        return classifier.fit(features, labels)


def cross_validate(
    features: npt.ArrayLike, labels: Labels, *, folds: int, seed: int, widths: Sequence[int] | None = None
) -> FloatArray:
    """Out-of-fold class probabilities.

    Args:
        features: of shape (n, d).
        labels: class numbers 0..k-1, some class at least `folds` times, of shape (n,).
        folds: number of stratified folds; a class with fewer images is missing from some of them.
        seed: of their shuffling.
        widths: number of features of each block that is scaled on its own; None means one block.

    Returns:
        Probabilities of shape (n, k); each row comes from a classifier that has not seen the image.
    """
    values = np.asarray(features)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for train, held_out in _folds(labels, folds, seed):
        classifier = fit_quietly(linear_classifier(len(train), widths), values[train], labels[train])
        probabilities[np.ix_(held_out, classifier.classes_)] = classifier.predict_proba(values[held_out])
    return probabilities


def _folds(labels: Labels, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    with _expected_warnings():
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        return list(splitter.split(np.zeros(len(labels)), labels))


def neighbour_accuracy(features: npt.ArrayLike, labels: Labels) -> float:
    """Leave-one-out accuracy of the nearest neighbour by cosine similarity, over features of shape (n, d)."""
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(np.asarray(features))
    nearest = neighbours.kneighbors(return_distance=False)[:, 0]  # of the fitted rows themselves: each without itself
    return float((labels[nearest] == labels).mean())


def _eligible(labels: Labels, seed: int) -> tuple[npt.NDArray[np.bool_], str]:
    """Which images take part: those of classes with two or more, and of no more classes than can be afforded."""
    classes, counts = np.unique(labels, return_counts=True)
    usable = classes[counts >= 2]
    notes = []
    if len(usable) < len(classes):
        single = len(classes) - len(usable)
        were = "classes with a single image were" if single > 1 else "class with a single image was"
        notes.append(f"{single} {were} left out")
    if len(usable) > _MAX_CLASSES:
        notes.append(f"cuts were compared on {_MAX_CLASSES} of {len(usable)} classes")
        usable = np.random.default_rng(seed).choice(usable, _MAX_CLASSES, replace=False)
    return np.isin(labels, usable), "; ".join(notes)


def measure_separability(
    pooled: Mapping[str, npt.ArrayLike],
    labels: Labels,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Separability:
    """Cross-validated and nearest-neighbour accuracy at every cut.

    Args:
        pooled: for each cut, from input to output, pooled features of shape (n, channels).
        labels: class numbers, of shape (n,).
        seed: of the folds; all cuts share them, so that their accuracies can be compared image by image.
        progress: called with the number of cuts done and wanted.

    Returns:
        The evidence. It is skipped, with the reason, where fewer than two classes have two images.
    """
    chosen, note = _eligible(labels, seed)
    classes, numbers, counts = np.unique(labels[chosen], return_inverse=True, return_counts=True)
    if len(classes) < 2:
        reason = "cross-validation needs two classes of at least two images"
        return Separability(per_cut=(), n_images=int(chosen.sum()), n_classes=len(classes), folds=0, note=reason)
    folds = int(min(FOLDS, counts.max()))
    evidence = []
    for done, (cut, features) in enumerate(pooled.items(), start=1):
        evidence.append(_evidence(cut, np.asarray(features)[chosen], numbers, folds=folds, seed=seed))
        if progress:
            progress(done, len(pooled))
    return Separability(
        per_cut=tuple(evidence), n_images=int(chosen.sum()), n_classes=len(classes), folds=folds, note=note
    )


def _evidence(cut: str, features: FloatArray, labels: Labels, *, folds: int, seed: int) -> CutEvidence:
    probabilities = cross_validate(features, labels, folds=folds, seed=seed)
    correct = probabilities.argmax(1) == labels
    given = probabilities[np.arange(len(labels)), labels]
    return CutEvidence(
        cut=cut,
        accuracy=float(correct.mean()),
        standard_error=accuracy_error(correct),
        neighbour_accuracy=neighbour_accuracy(features, labels),
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """A linear classifier on pooled features, in plain coefficients with the scaling folded in.

    Attributes:
        kernel: of shape (features, classes).
        bias: of shape (classes,).
        accuracy: its cross-validated accuracy, 0 to 1; None where it can't be cross-validated.
        standard_error: of that accuracy; None likewise.
        correct: for each image whether the cross-validation was right; empty likewise.
    """

    kernel: FloatArray
    bias: FloatArray
    accuracy: float | None
    standard_error: float | None
    correct: tuple[bool, ...] = ()


def fit_linear_probe(blocks: Sequence[npt.ArrayLike], labels: Labels, n_classes: int, *, seed: int) -> LinearProbe:
    """Fit the classifier that a model's prediction layer starts from.

    Args:
        blocks: pooled features of each cut that it reads, each of shape (n, channels).
        labels: class numbers below `n_classes`, of at least two classes, of shape (n,).
        n_classes: number of outputs; classes without an image start at a probability near 0.
        seed: of the folds that measure its accuracy.

    Returns:
        The classifier fitted on all images, with its cross-validated accuracy.
    """
    widths = [np.shape(block)[1] for block in blocks]
    features = np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    seen, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    scaler, regression = fit_quietly(linear_classifier(len(labels), widths), features, numbers)
    coefficients, intercept = regression.coef_, regression.intercept_
    if len(seen) == 2:  # one row for both: softmax(-z / 2, z / 2) is (1 - sigmoid(z), sigmoid(z))
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    folded = (coefficients / scaler.scale_).T
    kernel = np.zeros((features.shape[1], n_classes))
    bias = np.full(n_classes, float(intercept.min()) - _UNSEEN)
    kernel[:, seen] = folded
    bias[seen] = intercept - scaler.mean_ @ folded
    folds = int(min(FOLDS, counts.max()))
    if folds < 2:
        return LinearProbe(kernel=kernel, bias=bias, accuracy=None, standard_error=None)
    correct = cross_validate(features, numbers, folds=folds, seed=seed, widths=widths).argmax(1) == numbers
    return LinearProbe(
        kernel=kernel,
        bias=bias,
        accuracy=float(correct.mean()),
        standard_error=accuracy_error(correct),
        correct=tuple(bool(hit) for hit in correct),
    )
