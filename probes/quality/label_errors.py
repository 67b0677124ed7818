"""Images whose label is likely wrong, from out-of-fold probabilities and from their neighbours.

Confident learning as published compares each image with its class's mean probability, and so flags up to an eighth of a
data set that is merely hard. Here a label counts as wrong only where label noise, of one strength for all images of a
class, explains it better than images that are hard to classify. (cleanlab has confident learning, but needs pandas.)
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

# Ours, all of them, from planted errors: benchmarks/results/label_errors.jsonl.
CERTAINTY = 0.7  # that the label is wrong and the suggested one right, from which on an image is reported
LEAST_IMAGES = 5  # of a class: a class with fewer is neither doubted nor suggested
NEIGHBOURS = 10
# The prior counts as this many more images with right labels: wrong labels are rare.
PRIOR_IMAGES = 30
PRIOR_IMAGES_OF_A_CLASS = 100  # where each pair of classes has its own rate
_ALTERNATIVES = 8  # likeliest classes of an image besides its label
_TEMPERATURES = np.geomspace(0.2, 3.0, 17)
_STEPS = 30  # of expectation maximisation
_START = 0.02  # initial share of wrong labels
_SMALLEST = 1e-12  # a smaller probability counts as this
_ROWS = 1024  # of the similarity matrix that are computed at once

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelError:
    """An image whose label is likely wrong."""

    index: int  # row of the image
    given: int  # class number
    suggested: int
    certainty: float  # probability that the label is wrong and the suggestion right


class Noise(NamedTuple):
    """A model of labels: P(label = c | image) = sum over classes a of softmax(temperature * evidence)_a rates_ac."""

    rates: FloatArray  # share of the images of class a that are labelled c, of shape (k, k)
    temperature: float
    wrong: FloatArray  # probability that an image's label is an error and its likeliest other class right, (n,)


def label_errors(
    probabilities: npt.ArrayLike, labels: Labels, features: npt.ArrayLike | None = None, groups: Labels | None = None
) -> tuple[LabelError, ...]:
    """Images whose label is likely wrong, the most certain first.

    `probabilities` are out-of-fold, of shape (n, k); rows of zeros were not evaluated and are skipped, as are images
    whose own class has probability 0: it was in no training fold. Neighbours are searched in `features`, of shape
    (n, d); images of one group, such as near duplicates, are not neighbours.

    Northcutt, Jiang and Chuang, Confident learning, JAIR 2021, arXiv:1911.00068: class-conditional noise, estimated
    from out-of-sample probabilities. Guo et al., On calibration of modern neural networks, ICML 2017,
    arXiv:1706.04599: the temperature.
    """
    values, numbers = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    n_classes = values.shape[1]
    classes = np.flatnonzero(np.bincount(numbers, minlength=n_classes) >= LEAST_IMAGES)
    rows = np.flatnonzero(np.isin(numbers, classes) & (values[np.arange(len(numbers)), numbers] > 0))
    if len(classes) < 2 or not len(rows):
        return ()
    evidence = np.log(np.maximum(values, _SMALLEST))
    if features is not None:
        evidence += neighbour_evidence(features, numbers, groups, n_classes)
    best, certainty = doubts(evidence[np.ix_(rows, classes)], np.searchsorted(classes, numbers[rows]))
    found = (
        LabelError(index=int(index), given=int(numbers[index]), suggested=int(suggested), certainty=float(sure))
        for index, suggested, sure in zip(rows, classes[best], certainty, strict=True)
        if sure >= CERTAINTY and values[index, suggested] > values[index, numbers[index]]
    )
    return tuple(sorted(found, key=lambda error: -error.certainty))


def doubts(evidence: FloatArray, labels: Labels) -> tuple[Labels, FloatArray]:
    """The likeliest class of each of n images, and the probability that it is right and the label wrong.

    Two kinds of noise are fitted: wrong labels that fall on any image, and one class taken for another. `evidence` is
    the log of the odds of each class, up to a factor and a term that all classes share, of shape (n, k). Where it
    agrees with the label the probability is 0.
    """
    wrong = np.maximum(*(fit_noise(evidence, labels, uniform=uniform).wrong for uniform in (True, False)))
    best = evidence.argmax(1)
    rows = np.arange(len(labels))
    return best, np.where(evidence[rows, labels] < evidence[rows, best], wrong, 0.0)


def fit_noise(evidence: FloatArray, labels: Labels, *, uniform: bool) -> Noise:
    """The rates and the temperature of highest posterior probability, by expectation maximisation.

    With `uniform`, a wrong label is equally likely for images of all other classes, so that each label has one rate;
    else each pair of classes has its own.
    """
    n_images, n_classes = evidence.shape
    pairs = _pairs(evidence, labels)
    best, found = -np.inf, Noise(np.identity(n_classes, np.float64), 1.0, np.zeros(n_images))
    for temperature in _TEMPERATURES:
        shares = softmax(temperature * evidence, axis=1)
        own, others = shares[np.arange(n_images), labels], np.take_along_axis(shares, pairs.others, axis=1)
        rates = np.full(len(pairs.true), _START / n_classes)
        for _ in range(_STEPS):
            kept = np.maximum(1 - np.bincount(pairs.true, rates, minlength=n_classes), _SMALLEST)
            joint = others * rates[pairs.places]
            total = np.maximum(own * kept[labels] + joint.sum(1), np.finfo(np.float64).tiny)
            wrong = joint / total[:, None]
            rates = _rates(wrong, labels, pairs, n_classes, uniform=uniform)
        prior = PRIOR_IMAGES * np.log(kept).mean() if uniform else PRIOR_IMAGES_OF_A_CLASS * np.log(kept).sum()
        posterior = np.log(total).sum() + prior
        if posterior > best:
            matrix = np.diag(kept)
            matrix[pairs.true, pairs.given] = rates
            best, found = posterior, Noise(matrix, float(temperature), wrong[:, 0])
    return found


class _Pairs(NamedTuple):
    """The likeliest other classes of each image, and the distinct pairs of these with its label."""

    others: Labels  # class numbers, the likeliest first, of shape (n, m)
    places: Labels  # numbers of their pairs, of shape (n, m)
    true: Labels  # the other class of each pair, of shape (pairs,)
    given: Labels  # the label of each pair


def _pairs(evidence: FloatArray, labels: Labels) -> _Pairs:
    n_images, n_classes = evidence.shape
    without_label = evidence.copy()
    without_label[np.arange(n_images), labels] = -np.inf
    others = np.argsort(-without_label, axis=1, kind="stable")[:, : min(_ALTERNATIVES, n_classes - 1)]
    found, places = np.unique(others * n_classes + labels[:, None], return_inverse=True)
    return _Pairs(others, places.reshape(others.shape), *np.divmod(found, n_classes))


def _rates(wrong: FloatArray, labels: Labels, pairs: _Pairs, n_classes: int, *, uniform: bool) -> FloatArray:
    """The rate of each pair, of shape (pairs,), from the probability of each image's other classes, (n, m)."""
    errors = np.bincount(pairs.places.ravel(), wrong.ravel(), minlength=len(pairs.true))
    of_class = np.bincount(labels, 1 - wrong.sum(1), minlength=n_classes)
    of_class += np.bincount(pairs.true, errors, minlength=n_classes)
    if uniform:
        of_label = np.bincount(pairs.given, errors, minlength=n_classes)
        return np.asarray((of_label / (len(labels) - of_class + PRIOR_IMAGES))[pairs.given])
    return np.asarray(errors / (of_class[pairs.true] + PRIOR_IMAGES_OF_A_CLASS))


def neighbour_evidence(features: npt.ArrayLike, labels: Labels, groups: Labels | None, n_classes: int) -> FloatArray:
    """log((votes + 1) / (possible votes + 1)) of each image's nearest neighbours for each class, of shape (n, classes).

    Features of shape (n, d) are centred and compared by cosine. Images of one group are not neighbours.
    """
    values = np.asarray(features, np.float64)
    values = values - values.mean(0)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = (values / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    n_images = len(labels)
    numbers = np.arange(n_images) if groups is None else np.asarray(groups)
    wanted = min(NEIGHBOURS, n_images)
    votes = np.zeros((n_images, n_classes))
    for rows in np.array_split(np.arange(n_images), -(-n_images // _ROWS)):
        similarity = unit[rows] @ unit.T
        similarity[numbers[rows][:, None] == numbers] = -np.inf
        nearest = np.argpartition(-similarity, wanted - 1, axis=1)[:, :wanted]
        counts = np.isfinite(np.take_along_axis(similarity, nearest, axis=1))
        np.add.at(votes, (np.repeat(rows, counts.sum(1)), labels[nearest][counts]), 1)
    possible = np.tile(np.bincount(labels, minlength=n_classes), (n_images, 1))
    possible[np.arange(n_images), labels] -= 1
    return np.asarray(np.log((votes + 1) / (np.minimum(possible, NEIGHBOURS) + 1)))
