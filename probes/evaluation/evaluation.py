"""How well predictions do on images that were held out, and whether one set of predictions is better than another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.stats import norm

from probes.errors import ProbeError
from probes.evaluation.calibration import calibration_error, checked, log_losses, shares_of

REPEATS = 51  # partitions of the images: an odd number has a median; ours
_Z = float(norm.ppf(0.975))

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """How probabilities do on labelled images; with weights, all but the counts are weighted.

    Attributes:
        n: number of images.
        accuracy: share of the images whose most probable class is theirs, 0 to 1.
        interval: 95 % interval of that accuracy.
        balanced_accuracy: mean recall over the classes that have images.
        confusion: numbers of images, of shape (classes, classes); rows are true classes, columns predicted ones.
        precision: of each class, the share of images predicted as it that are it; nan where none is.
        recall: of each class, the share of its images that are predicted as it; nan where it has none.
        support: images of each class.
        calibration_error: see `calibration_error`.
        log_loss: mean of -log of the probability of the true class, in nats.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    confusion: npt.NDArray[np.int32]
    precision: FloatArray
    recall: FloatArray
    support: Labels
    calibration_error: float
    log_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """By how much b is right more often than a on the same images, -1 to 1, with its 95 % interval."""

    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether b is better than a."""
        return self.low > 0

    @property
    def tie(self) -> bool:
        """Whether neither is better than the other as far as can be told."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """The best of several checks, and how it does on images that did not choose it.

    Attributes:
        index: the check that is best on all images.
        accuracy: of the way of choosing: each image is judged by the check that is best on the other folds.
        interval: 95 % interval of that accuracy.
        correct: whether each image was right, judged so, of shape (n,).
    """

    index: int
    accuracy: float
    interval: tuple[float, float]
    correct: Mask


def evaluate(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Evaluation:
    """Compare probabilities with labels.

    Args:
        probabilities: of every class, of shape (n, classes).
        labels: class numbers, of shape (n,).
        weights: of the images, at least 0, of shape (n,); None counts each as one.
        groups: images of one group may be alike, of shape (n,); the interval counts them as fewer.

    Raises:
        ProbeError: no images, labels that are no class, or no finite numbers of these shapes.
    """
    values, numbers, shares = checked(probabilities, labels, weights)
    n_images, n_classes = values.shape
    predicted = values.argmax(1)
    correct = predicted == numbers
    accuracy = _mean(correct, shares)
    cells = (np.ones(n_images, np.int32), (numbers, predicted))  # of 10,000 classes they take 400 MB
    confusion = coo_array(cells, shape=(n_classes, n_classes)).toarray()
    n_effective = counts_as(correct, shares, groups)
    recall = _right_by(numbers, correct, shares, n_classes)
    return Evaluation(
        n=n_images,
        accuracy=accuracy,
        interval=wilson(accuracy * n_effective, n_effective),
        balanced_accuracy=float(np.nanmean(recall)),
        confusion=confusion,
        precision=_right_by(predicted, correct, shares, n_classes),
        recall=recall,
        support=confusion.sum(1),
        calibration_error=calibration_error(values, numbers, shares),
        log_loss=float(shares @ log_losses(values, numbers)),
    )


def _mean(values: npt.NDArray[Any], weights: FloatArray) -> float:
    """Weighted mean, exact where all weights are equal."""
    return float(np.average(values, weights=weights / weights.max()))


def _right_by(classes: Labels, correct: Mask, weights: FloatArray, n: int) -> FloatArray:
    """Weighted share of each class that is right; nan where it has no images."""
    right, whole = (np.bincount(classes, each, n).astype(np.float64) for each in (weights * correct, weights))
    return np.asarray(np.divide(right, whole, out=np.full(n, np.nan), where=whole > 0))


def wilson(correct: float, n: float) -> tuple[float, float]:
    """95 % interval of a share.

    Args:
        correct: images that were right, 0 to n.
        n: images; not whole where they are weighted. Of none, nothing is known.

    Reference:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if n <= 0:
        return 0.0, 1.0
    share, z2 = min(max(correct / n, 0.0), 1.0), _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def counts_as(values: npt.ArrayLike, weights: FloatArray, groups: npt.ArrayLike | None) -> float:
    """How many independent, equally weighted images would tell the mean of `values` as well.

    Args:
        values: one an image, of shape (n,).
        weights: of the images, of sum 1, of shape (n,).
        groups: images of one group may be alike, of shape (n,).

    Reference:
        Kish, Survey sampling, 1965, for weights. Rao and Scott, A simple method for the analysis of clustered binary
        data, 1992, for groups.
    """
    n_images = 1 / float((weights**2).sum())
    if groups is None:
        return n_images
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) == len(weights):
        return n_images
    each = np.asarray(values, np.float64)
    apart = each - weights @ each
    of_groups = (np.bincount(inverse, weights * apart) ** 2).sum() * len(names) / max(len(names) - 1, 1)
    if len(names) == 1 or of_groups <= 0:  # nothing tells how alike they are: a group counts as one image
        return 1 / float((np.bincount(inverse, weights) ** 2).sum())
    return min(n_images, float(weights @ apart**2 / of_groups))


def paired_gain(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> Gain:
    """By how much b is right more often than a on the same images.

    The interval is Wald's after one image is added that only a has right, and one that only b has right; it is sound
    when a and b differ on few images, or on none.

    Args:
        correct_a: whether each image was right under a, of shape (n,).
        correct_b: the same under b.
        groups: images of one group may be alike, of shape (n,); they then count as fewer.
        weights: of the images, of shape (n,).

    Raises:
        ProbeError: no images, or not the same number under a and b.

    Reference:
        Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired
        data, 2012.
    """
    first, second = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ProbeError(
            f"Expected images judged twice. Received: {first.shape} and {second.shape}. Judge the same images."
        )
    shares = shares_of(weights, len(first))
    change = second.astype(np.float64) - first
    n_effective = counts_as(change, shares, groups)
    gained, lost = (float(shares @ (change == sign)) * n_effective + 1 for sign in (1, -1))
    n_added = n_effective + 2
    middle = (gained - lost) / n_added
    half = _Z * np.sqrt(((gained + lost) / n_added - middle**2) / n_added)
    return Gain(difference=_mean(change, shares), low=float(max(middle - half, -1)), high=float(min(middle + half, 1)))


def parts_of(
    n_images: int, *, seed: int | Sequence[int], folds: int, groups: npt.ArrayLike | None, labels: npt.ArrayLike | None
) -> Labels:
    """Number each image's fold: no group split, and, with labels, each class spread over the folds.

    Returns:
        Fold numbers 0, 1, … of shape (n,); there are no more folds than groups.
    """
    of_image = np.arange(n_images) if groups is None else np.asarray(groups)
    # Numbered by first appearance, so that the folds do not depend on how groups are named.
    _, first, inverse = np.unique(of_image, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[inverse]
    order = np.random.default_rng(seed).permutation(len(first))
    if labels is not None:
        order = order[np.argsort(np.asarray(labels)[np.sort(first)][order], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % max(folds, 1)
    return dealt[numbers]


def cross_chosen(
    correct: npt.ArrayLike,
    *,
    seed: int = 0,
    folds: int = 2,
    repeats: int = REPEATS,
    groups: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    prefer_first: bool = True,
) -> Chosen:
    """Choose the best of several checks, and judge the choice by images that had no part in it.

    The accuracy of the best check on the images that chose it is too high: the more checks, the more. So the images are
    split into folds, and each fold is judged by the check that is best on all the others. That is done for several
    partitions, of which the one with the median accuracy counts. Halves estimate a little too low; with more folds the
    choices depend on one another, and the estimate varies far more than its interval.

    Args:
        correct: whether each image was right at each check, of shape (checks, n).
        seed: of the partitions.
        folds: how many, or as many as there are groups, if that is fewer.
        repeats: how many partitions.
        groups: images of one group are never split, of shape (n,).
        labels: class numbers over which the folds are stratified, of shape (n,).
        weights: of the images, of shape (n,).
        prefer_first: whether of checks that are equally good the first is taken, or the last.

    Raises:
        ProbeError: no checks or no images.

    Reference:
        Varma and Simon, Bias in error estimation when using cross-validation for model selection, 2006. Tsamardinos et
        al., Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation, 2018.
    """
    hits = np.asarray(correct, np.float64)
    if hits.ndim != 2 or not hits.size:
        raise ProbeError(f"Expected checks of one or more images. Received: shape {hits.shape}. Hold images out.")
    n_images = hits.shape[1]
    shares, partitions = shares_of(weights, n_images), []
    for each in range(repeats):
        fold = parts_of(n_images, seed=[seed, each], folds=folds, groups=groups, labels=labels)
        per_fold = hits @ (shares[:, None] * (fold[:, None] == np.arange(fold.max() + 1)))
        best = _best(per_fold.sum(1, keepdims=True) - per_fold, prefer_first)
        partitions.append(hits[best[fold], np.arange(n_images)])
    judged = partitions[int(np.argsort(np.array(partitions) @ shares, kind="stable")[repeats // 2])]
    accuracy, n_effective = _mean(judged, shares), counts_as(judged, shares, groups)
    return Chosen(
        index=int(_best((hits @ shares)[:, None], prefer_first)[0]),
        accuracy=accuracy,
        interval=wilson(accuracy * n_effective, n_effective),
        correct=judged.astype(bool),
    )


def _best(accuracy: FloatArray, prefer_first: bool) -> Labels:
    """The best check in each column; what differs by rounding alone is equal."""
    rounded = np.round(accuracy, 12)
    return np.asarray(rounded.argmax(0) if prefer_first else len(rounded) - 1 - rounded[::-1].argmax(0))
