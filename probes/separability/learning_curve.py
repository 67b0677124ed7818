"""What more images would bring: the held-out accuracy of the linear probe when it is fitted on fewer of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.groups import by_first_appearance
from probes.data.splits import Labels, Rows, held_out_splits
from probes.evaluation.intervals import z
from probes.separability.discriminant import FloatArray, fit
from probes.separability.linear_probe import joined, judged_rows

# Of the training images of each fold: three doublings. Every fraction but the last is drawn twice.
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1.0)
LEAST_PER_CLASS = 2  # images a class that a point needs on average: with fewer, rounding changes the classes' shares
LEAST_POINTS = 3  # from which the curve is extrapolated
# Uncertainty of the power law itself, beyond that of the held-out images: the gain may be half or twice the forecast,
# and more or less by this over the root of the number of images, since another sample has another curve.
# benchmarks/results/learning_curve.jsonl: so 95 % intervals hold 96 % of the true gains. The 90 % intervals are
# those times a ratio, and hold 90 %.
LAW_LESS, LAW_MORE, LAW_SAMPLING = 0.5, 1.0, 0.15
_RESAMPLES = 400
_Z = z(0.95)
_RATIO = z() / _Z


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Accuracy of the classifier when it is fitted on so many images."""

    n_images: int  # without those of weight 0, on average over the folds
    accuracy: float
    standard_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubled:
    """Forecast of the held-out accuracy with twice the images, and its 90 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """Accuracy against the number of images."""

    points: tuple[CurvePoint, ...]  # from few images to all; the last is the accuracy of the linear probe
    doubled: Doubled | None  # for twice the images of the last point; None if there are too few points
    gain: tuple[float, float] | None  # 90 % interval of its difference from the last point


def learning_curve(
    blocks: Sequence[npt.ArrayLike], rows: Rows, *, seed: int, balanced: bool = False
) -> LearningCurve | None:
    """Fit the linear probe on nested parts of the training images, and measure all fits on the same held-out images.

    None if no images can be held out, or if there are too few for two points.
    """
    splits = held_out_splits(rows, seed=seed)
    weighing = [train[rows.weights[train] > 0] for train, _ in splits]
    fractions = _fractions(rows, weighing)
    if len(fractions) < 2:
        return None
    features, widths = joined(blocks)
    n_classes = int(rows.labels.max()) + 1
    rng = np.random.default_rng(seed)
    hits, sizes = np.zeros((len(fractions), len(rows))), np.zeros(len(fractions))
    for (train, held_out), known in zip(splits, weighing, strict=True):
        draws = nested_parts(rows, known, fractions[:-1], rng)
        fits = [(point, part, 0.5) for draw in draws for point, part in enumerate(draw)]
        for point, part, share in [*fits, (len(fractions) - 1, train, 1.0)]:
            classifier = fit(features[part], rows.taken(part), n_classes, widths=widths, balanced=balanced)
            hits[point, held_out] += share * (classifier.predict(features[held_out]) == rows.labels[held_out])
            sizes[point] += share * np.count_nonzero(rows.weights[part]) / len(splits)
    judged = judged_rows(splits)
    return curve_of(sizes, hits[:, judged], rows.groups[judged], seed)


def _fractions(rows: Rows, folds: Sequence[Labels]) -> tuple[float, ...]:
    """The fractions that leave every fold `LEAST_PER_CLASS` groups a class on average."""
    if not folds:
        return ()
    pairs = [np.unique(np.stack([rows.labels, rows.groups])[:, train], axis=1) for train in folds]
    smallest = min(pairs, key=lambda fold: fold.shape[1])
    needed = LEAST_PER_CLASS * len(np.unique(smallest[0]))
    return tuple(each for each in FRACTIONS if each * smallest.shape[1] >= needed)


def nested_parts(
    rows: Rows, train: Labels, fractions: Sequence[float], rng: np.random.Generator
) -> tuple[list[Labels], list[Labels]]:
    """Two draws of nested parts of the training rows; up to a half they have a group of each class in common at most.

    Each part has its fraction of the groups of each class, rounded up, and is within the next.
    """
    pairs = np.stack([rows.labels[train], rows.groups[train]], axis=1)
    units, first, of_row = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    # By first appearance, so that the parts do not depend on how groups are numbered; then shuffled within classes.
    order = np.argsort(first)[rng.permutation(len(units))]
    place = np.empty(len(units), np.int64)
    for label in np.unique(units[:, 0]):
        of_class = order[units[order, 0] == label]
        place[of_class] = np.arange(len(of_class))
    n_units = np.bincount(units[:, 0])[units[:, 0]]

    def drawn(places: Labels) -> list[Labels]:
        return [train[(places < np.ceil(fraction * n_units))[of_row.ravel()]] for fraction in fractions]

    return drawn(place), drawn(n_units - 1 - place)


def curve_of(sizes: FloatArray, hits: FloatArray, groups: Labels, seed: int) -> LearningCurve:
    """The curve from the images of each point and from the share of its fits that are right, of shape (points, n)."""
    means, resampled = hits.mean(1), _resampled(hits, groups, np.random.default_rng(seed))
    points = tuple(
        CurvePoint(n_images=round(size), accuracy=mean, standard_error=error)
        for size, mean, error in zip(sizes.tolist(), means.tolist(), resampled.std(0).tolist(), strict=True)
    )
    if len(points) < LEAST_POINTS:
        return LearningCurve(points=points, doubled=None, gain=None)
    last, gain = points[-1].accuracy, float(doubling_gain(sizes, means[None], hits.shape[1])[0])
    gains = doubling_gain(sizes, resampled, hits.shape[1])
    sampling = LAW_SAMPLING / np.sqrt(sizes[-1])
    less, more = LAW_LESS * gain + sampling, LAW_MORE * gain + sampling
    of_gain, of_accuracy = _Z * gains.std(), _Z * (resampled[:, -1] + gains).std()
    doubled = Doubled(
        accuracy=last + gain,
        low=float(max(last + gain - _RATIO * np.hypot(of_accuracy, less), 0.0)),
        high=float(min(last + gain + _RATIO * np.hypot(of_accuracy, more), 1.0)),
    )
    low = gain - _RATIO * np.hypot(of_gain, less)
    high = min(gain + _RATIO * np.hypot(of_gain, more), 1 - last)
    return LearningCurve(points=points, doubled=doubled, gain=(float(low), float(high)))


def _resampled(hits: FloatArray, groups: Labels, rng: np.random.Generator) -> FloatArray:
    """Accuracy at each point with random weights of groups, of shape (resamples, points).

    Two more images count, one right at every point and one wrong, so that no error is ever 0; see `accuracy_error`.
    Rubin, The Bayesian bootstrap, 1981.
    """
    of_image = by_first_appearance(groups)
    sums = np.stack([np.bincount(of_image, each) for each in hits], axis=1)
    sums = np.concatenate([sums, np.zeros((1, len(hits))), np.ones((1, len(hits)))])
    totals = np.append(np.bincount(of_image), [1.0, 1.0])
    counted = rng.exponential(size=(_RESAMPLES, len(totals)))
    return np.asarray(counted @ sums / (counted @ totals)[:, None])


def doubling_gain(sizes: FloatArray, accuracies: FloatArray, n_images: int) -> FloatArray:
    """What twice the images would add to the last of accuracies of shape (m, points): at least 0, of shape (m,).

    The error is taken as b n^-c, a straight line in logarithms, fitted by least squares; c is at least 0. Half an image
    more than the `n_images` held-out ones counts as wrong, so that no error is 0. There is no third parameter for the
    error that remains with infinitely many images: it forecasts no better, see benchmarks/results/learning_curve.jsonl.
    Cortes et al., Learning curves: asymptotic values and rate of convergence, 1993. Hestness et al., Deep learning
    scaling is predictable, empirically, 2017.
    """
    errors = ((1 - accuracies) * n_images + 0.5) / (n_images + 1)
    x = np.log2(sizes) - np.log2(sizes).mean()
    slope = np.minimum(np.log2(errors) @ x / (x @ x), 0.0)
    return np.asarray((1 - accuracies[:, -1]) * (1 - 2**slope))
