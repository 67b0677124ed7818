"""Images whose label is likely wrong, from out-of-fold probabilities and from their neighbours. NumPy only.

Confident learning as published compares each image with its class's mean probability, and so flags up to an eighth of a
data set that is merely hard. Here it goes one step further: a label counts as wrong only where noise in the labels, of
one strength for all images of a class, explains it better than images that are hard to tell.
(cleanlab has confident learning ready made, but brings pandas with it.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Ours, all of them, from planted errors: benchmarks/results/label_errors.jsonl.
CERTAINTY = 0.7  # that the label is wrong and the suggested one right, from which on an image is reported
LEAST_IMAGES = 5  # of a class: with fewer it can't be told what it looks like, and it is neither doubted nor suggested
NEIGHBOURS = 10
# As if so many more images had been seen, all labelled right: wrong labels are rare.
PRIOR_IMAGES = 30
PRIOR_IMAGES_OF_A_CLASS = 100  # where each pair of classes has a rate of its own
_ALTERNATIVES = 8  # likeliest classes of an image beside its label
_TEMPERATURES = np.geomspace(0.2, 3.0, 17)
_STEPS = 30  # of expectation maximisation
_START = 0.02  # share of wrong labels that it starts from
_SMALLEST = 1e-12  # probability that is told from 0
_ROWS = 1024  # of the similarity matrix that are held at once

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelError:
    """An image whose label is likely wrong.

    Attributes:
        index: row of the image.
        given: number of the class that it is labelled with.
        suggested: number of the class that it likely belongs to.
        probability_given: out-of-fold probability of the given class, 0 to 1.
        probability_suggested: of the suggested class.
        certainty: how sure it is that the label is wrong and the suggestion right, 0 to 1.
    """

    index: int
    given: int
    suggested: int
    probability_given: float
    probability_suggested: float
    certainty: float


class Noise(NamedTuple):
    """How labels come about: P(label = c | image) = sum over classes a of softmax(temperature * evidence)_a rates_ac.

    Attributes:
        rates: the share of the images of class a that are labelled c, of shape (k, k).
        temperature: what the evidence is multiplied by, so that its softmax is calibrated.
        wrong: for each image the probability that it is of its likeliest other class and its label an error, of shape
            (n,).
    """

    rates: FloatArray
    temperature: float
    wrong: FloatArray


def label_errors(
    probabilities: npt.ArrayLike,
    labels: Labels,
    features: npt.ArrayLike | None = None,
    groups: Labels | None = None,
) -> tuple[LabelError, ...]:
    """Find images whose label is likely wrong.

    Args:
        probabilities: out-of-fold class probabilities, of shape (n, k). Rows of zeros were not evaluated and are passed
            over, as are images whose own class has the probability 0: no fold had seen it.
        labels: class numbers below k, of shape (n,).
        features: of shape (n, d), in which neighbours are looked for; None does without them.
        groups: numbers of shape (n,); images of one group, such as near duplicates, are no neighbours.

    Returns:
        The images in doubt, the surest first; empty where fewer than two classes have `LEAST_IMAGES` images.

    Reference:
        Northcutt, Jiang and Chuang, Confident learning, JAIR 2021, arXiv:1911.00068: noise that takes one class for
        another, told from out-of-sample probabilities. Guo et al., On calibration of modern neural networks, ICML
        2017, arXiv:1706.04599: the temperature.
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
    seen, certainty = doubts(evidence[np.ix_(rows, classes)], np.searchsorted(classes, numbers[rows]))
    sure = np.flatnonzero(certainty >= CERTAINTY)
    ranked = sure[np.argsort(-certainty[sure], kind="stable")]
    found = (_error(int(rows[row]), int(classes[seen[row]]), values, numbers, float(certainty[row])) for row in ranked)
    return tuple(error for error in found if error.probability_suggested > error.probability_given)


def _error(index: int, suggested: int, probabilities: FloatArray, labels: Labels, certainty: float) -> LabelError:
    given = int(labels[index])
    return LabelError(
        index=index,
        given=given,
        suggested=suggested,
        probability_given=float(probabilities[index, given]),
        probability_suggested=float(probabilities[index, suggested]),
        certainty=certainty,
    )


def doubts(evidence: FloatArray, labels: Labels) -> tuple[Labels, FloatArray]:
    """For each image the class that the evidence is for, and how sure it is that this is right and the label wrong.

    Two kinds of noise are tried: wrong labels that fall on any image alike, and one class taken for another.

    Args:
        evidence: for each class the log of its odds, up to a factor and a term that all classes share, of shape (n, k).
        labels: class numbers, of shape (n,).

    Returns:
        Class numbers and certainties 0 to 1, of shape (n,); 0 where the evidence is for the label.
    """
    wrong = np.maximum(fit_noise(evidence, labels, alike=True).wrong, fit_noise(evidence, labels, alike=False).wrong)
    best = evidence.argmax(1)
    rows = np.arange(len(labels))
    return best, np.where(evidence[rows, labels] < evidence[rows, best], wrong, 0.0)


def fit_noise(evidence: FloatArray, labels: Labels, *, alike: bool) -> Noise:
    """The rates and the temperature that make the labels most probable, together with some right ones beside them.

    Args:
        evidence: of shape (n, k), k at least 2.
        labels: class numbers, of shape (n,).
        alike: whether a wrong label falls on images of all other classes alike, so that each label has one rate; else
            each pair of classes has its own.
    """
    n_images, n_classes = evidence.shape
    pairs = _pairs(evidence, labels)
    likelihood, found = -np.inf, Noise(np.identity(n_classes, np.float64), 1.0, np.zeros(n_images))
    for temperature in _TEMPERATURES:
        shares = _softmax(temperature * evidence)
        own, others = shares[np.arange(n_images), labels], np.take_along_axis(shares, pairs.others, axis=1)
        rates = np.full(len(pairs.true), _START / n_classes)
        for _ in range(_STEPS):
            kept = np.maximum(1 - np.bincount(pairs.true, rates, minlength=n_classes), _SMALLEST)
            wrong, total = _posterior(own * kept[labels], others * rates[pairs.places])
            rates = _rates(wrong, labels, pairs, n_classes, alike=alike)
        prior = PRIOR_IMAGES * np.log(kept).mean() if alike else PRIOR_IMAGES_OF_A_CLASS * np.log(kept).sum()
        if np.log(total).sum() + prior > likelihood:
            matrix = np.asarray(np.diag(kept), np.float64)
            matrix[pairs.true, pairs.given] = rates
            likelihood = np.log(total).sum() + prior
            found = Noise(matrix, float(temperature), wrong[:, 0])
    return found


class _Pairs(NamedTuple):
    """The likeliest other classes of each image, and the pairs that they make with its label.

    Attributes:
        others: class numbers, the likeliest first, of shape (n, m).
        places: the numbers of their pairs, of shape (n, m).
        true: the other class of each pair, of shape (pairs,).
        given: the label of each pair, of shape (pairs,).
    """

    others: Labels
    places: Labels
    true: Labels
    given: Labels


def _pairs(evidence: FloatArray, labels: Labels) -> _Pairs:
    n_images, n_classes = evidence.shape
    foreign = evidence.copy()
    foreign[np.arange(n_images), labels] = -np.inf
    others = np.argsort(-foreign, axis=1, kind="stable")[:, : min(_ALTERNATIVES, n_classes - 1)]
    found, places = np.unique(others * n_classes + labels[:, None], return_inverse=True)
    return _Pairs(others, places.reshape(others.shape), found // n_classes, found % n_classes)


def _posterior(right: FloatArray, wrong: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probability of each other class given the label, of shape (n, m), and of the label itself, of shape (n,)."""
    total = np.maximum(right + wrong.sum(1), np.finfo(np.float64).tiny)
    return wrong / total[:, None], total


def _rates(wrong: FloatArray, labels: Labels, pairs: _Pairs, n_classes: int, *, alike: bool) -> FloatArray:
    """The rate of each pair that follows from how likely each image is of another class, of shape (pairs,)."""
    errors = np.bincount(pairs.places.ravel(), wrong.ravel(), minlength=len(pairs.true))
    of_class = np.bincount(labels, 1 - wrong.sum(1), minlength=n_classes)
    of_class += np.bincount(pairs.true, errors, minlength=n_classes)
    if alike:
        of_label = np.bincount(pairs.given, errors, minlength=n_classes)
        return np.asarray((of_label / (len(labels) - of_class + PRIOR_IMAGES))[pairs.given])
    return np.asarray(errors / (of_class[pairs.true] + PRIOR_IMAGES_OF_A_CLASS))


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def neighbour_evidence(features: npt.ArrayLike, labels: Labels, groups: Labels | None, n_classes: int) -> FloatArray:
    """For each image and class the log of how many neighbours are of that class, out of as many as could be.

    Args:
        features: of shape (n, d); centred, they are compared by cosine.
        labels: class numbers, of shape (n,).
        groups: images of one group are no neighbours; None for groups of one image.
        n_classes: how many classes there are.

    Returns:
        log((votes + 1) / (possible votes + 1)), of shape (n, n_classes).
    """
    n_images = len(labels)
    numbers = np.arange(n_images) if groups is None else np.asarray(groups)
    wanted = min(NEIGHBOURS, n_images)
    votes = np.zeros((n_images, n_classes))
    for rows, similarity in _similarities(features):
        similarity[numbers[rows][:, None] == numbers] = -np.inf
        nearest = np.argpartition(-similarity, wanted - 1, axis=1)[:, :wanted]
        counts = np.isfinite(np.take_along_axis(similarity, nearest, axis=1))
        np.add.at(votes, (np.repeat(rows, counts.sum(1)), labels[nearest][counts]), 1)
    possible = np.tile(np.bincount(labels, minlength=n_classes), (n_images, 1))
    possible[np.arange(n_images), labels] -= 1
    return np.asarray(np.log((votes + 1) / (np.minimum(possible, NEIGHBOURS) + 1)))


def _similarities(features: npt.ArrayLike) -> Iterator[tuple[Labels, npt.NDArray[np.float32]]]:
    """Some rows at a time of the matrix of cosines between centred features, with their numbers."""
    values = np.asarray(features, np.float64)
    values = values - values.mean(0)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = (values / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    for rows in np.array_split(np.arange(len(unit)), -(-len(unit) // _ROWS)):
        yield rows, unit[rows] @ unit.T
