"""The best of several validation checks, and an honest estimate of its accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError
from probes.evaluation.intervals import accuracy_interval

REPEATS = 51  # partitions of the images: an odd number has a median; ours


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """The best of several validation checks, and its accuracy on images that were not used to choose it.

    Attributes:
        index: the check that is best on all images.
        accuracy: of the choice: each image is judged by the check that is best on the other folds.
        interval: 95 % interval of that accuracy.
        correct: whether each image was right, judged so, of shape (n,).
    """

    index: int
    accuracy: float
    interval: tuple[float, float]
    correct: npt.NDArray[np.bool_]


def cross_chosen(
    correct: npt.ArrayLike,
    *,
    seed: int = 0,
    folds: int = 2,
    repeats: int = REPEATS,
    groups: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
) -> Chosen:
    """Choose the best of several validation checks, and judge the choice by images that were not used for it.

    The accuracy of the best check on the images that chose it is too high, the more so the more checks there are. So
    the images are split into folds, and each fold is judged by the check that is best on all the others. That is done
    for several partitions, of which the one with the median accuracy counts. Halves estimate slightly too low; with
    more folds the choices depend on one another, and the estimate varies far more than its interval.

    Args:
        correct: whether each image was right at each check, of shape (checks, n). Of equal checks the first is chosen.
        seed: of the partitions.
        folds: how many, or as many as there are groups, if that is fewer.
        repeats: how many partitions.
        groups: images of one group are never split, of shape (n,).
        labels: class numbers over which the folds are stratified, of shape (n,).

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
    partitions = np.empty((repeats, n_images), bool)
    for repeat in range(repeats):
        fold = folds_of(n_images, seed=[seed, repeat], folds=folds, groups=groups, labels=labels)
        per_fold = hits @ (fold[:, None] == np.arange(fold.max() + 1))  # of shape (checks, folds)
        best = (per_fold.sum(1, keepdims=True) - per_fold).argmax(0)
        partitions[repeat] = hits[best[fold], np.arange(n_images)]
    judged = partitions[np.argsort(partitions.sum(1), kind="stable")[repeats // 2]]
    return Chosen(
        index=int(hits.sum(1).argmax()),
        accuracy=float(judged.mean()),
        interval=accuracy_interval(judged, groups),
        correct=judged,
    )


def folds_of(
    n_images: int, *, seed: int | Sequence[int], folds: int, groups: npt.ArrayLike | None, labels: npt.ArrayLike | None
) -> npt.NDArray[np.int64]:
    """The fold 0, 1, … of each image: no group is split, and, with labels, each class is spread over the folds."""
    of_image = np.arange(n_images) if groups is None else np.asarray(groups)
    # Numbered by first appearance, so that the folds do not depend on how groups are named.
    _, first, inverse = np.unique(of_image, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[inverse]
    order = np.random.default_rng(seed).permutation(len(first))
    if labels is not None:
        order = order[np.argsort(np.asarray(labels)[np.sort(first)][order], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % folds
    return dealt[numbers]
