"""What more images would bring: the held-out accuracy of the linear probe when it is fitted on fewer of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows, held_out_splits
from probes.separability.classifier import Split, fit_rows, joined, judged_rows
from probes.separability.linear_probe import class_shares

# Of the training images of each fold: three doublings. Every fraction but the last is drawn twice.
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1.0)
LEAST_PER_CLASS = 2  # images a class that a point needs on average: with fewer, rounding changes the classes' shares
LEAST_POINTS = 3  # from which the curve is extrapolated
# Uncertainty of the power law itself, beyond that of the held-out images: the gain may be half or twice the forecast,
# and more or less by this over the root of the number of images, since another sample has another curve.
# benchmarks/results/learning_curve.jsonl: so 95 % intervals hold about 95 % of the true gains and accuracies.
LAW_LESS, LAW_MORE, LAW_SAMPLING = 0.5, 1.0, 0.15
_RESAMPLES = 400
_Z = 1.96

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Accuracy of the classifier when it is fitted on so many images.

    Attributes:
        n_images: that it was fitted on, without those of weight 0, on average over the folds.
        accuracy: on held-out images, 0 to 1.
        standard_error: of that accuracy.
        rise: accuracy above the point before; None for the first point.
        rise_error: its standard error. All points are measured on the same images, so it is smaller than the errors
            of the two accuracies suggest.
    """

    n_images: int
    accuracy: float
    standard_error: float
    rise: float | None
    rise_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubled:
    """Forecast of the held-out accuracy with twice the images, and its 95 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """Accuracy against the number of images.

    Attributes:
        points: from few images to all; the last is the cross-validated accuracy of the linear probe.
        doubled: the forecast for twice the images of the last point; None if there are too few points.
        gain: 95 % interval of its difference from the last point; None with `doubled`.
    """

    points: tuple[CurvePoint, ...]
    doubled: Doubled | None
    gain: tuple[float, float] | None


def learning_curve(
    blocks: Sequence[npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool = False,
    class_counts: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LearningCurve | None:
    """Fit the linear probe on nested parts of the training images, and measure all fits on the same held-out images.

    Args:
        blocks: pooled features of each cut that it reads, each of shape (n, channels).
        rows: the images, n of them, of at least two classes.
        seed: of the folds, of the parts and of the resampling.
        balanced: whether every class has the same weight in the classifiers.
        class_counts: images of each class in the whole data, if the rows are a sample with other shares.
        progress: called with the number of fits done and wanted.

    Returns:
        The curve; None if no images can be held out, or if there are too few for two points.
    """
    splits = held_out_splits(rows, seed=seed)
    fractions = _fractions(rows, splits)
    if len(fractions) < 2:
        return None
    features, widths = joined(blocks)
    fits = _parts(rows, splits, fractions, np.random.default_rng(seed))
    hits, sizes = np.zeros((len(fractions), len(rows))), np.zeros(len(fractions))
    for done, (point, part, held_out, share) in enumerate(fits, start=1):
        classifier = fit_rows(features, rows, part, widths=widths, balanced=balanced)
        hits[point, held_out] += share * (classifier.predict(features[held_out]) == rows.labels[held_out])
        sizes[point] += share * len(_weighted(rows, part)) / len(splits)
        if progress:
            progress(done, len(fits))
    judged = judged_rows(splits)
    return curve_of(sizes, hits[:, judged], class_shares(rows.labels[judged], class_counts), rows.groups[judged], seed)


def _weighted(rows: Rows, train: Labels) -> Labels:
    """The rows whose weight is not 0."""
    return train[rows.weights[train] > 0]


def _fractions(rows: Rows, splits: Sequence[Split]) -> tuple[float, ...]:
    """The fractions that leave every fold `LEAST_PER_CLASS` groups a class on average."""
    folds = [np.unique(np.stack([rows.labels, rows.groups])[:, _weighted(rows, train)], axis=1) for train, _ in splits]
    if not folds:
        return ()
    smallest = min(folds, key=lambda pairs: pairs.shape[1])
    needed = LEAST_PER_CLASS * len(np.unique(smallest[0]))
    return tuple(each for each in FRACTIONS if each * smallest.shape[1] >= needed)


def _parts(
    rows: Rows, splits: Sequence[Split], fractions: Sequence[float], rng: np.random.Generator
) -> list[tuple[int, Labels, Labels, float]]:
    """For each fit its point, the rows that it is fitted on, those held out, and its share in the point."""
    fits = []
    for train, held_out in splits:
        for draw in nested_parts(rows, _weighted(rows, train), fractions, rng):
            fits += [(point, part, held_out, 0.5) for point, part in enumerate(draw) if fractions[point] < 1]
        fits.append((len(fractions) - 1, train, held_out, 1.0))
    return fits


def nested_parts(
    rows: Rows, train: Labels, fractions: Sequence[float], rng: np.random.Generator
) -> tuple[list[Labels], list[Labels]]:
    """Two draws of nested parts of the training rows; up to a half they have a group of each class in common at most.

    Args:
        rows: the images.
        train: row numbers.
        fractions: ascending.
        rng: of the draws.

    Returns:
        For each draw the rows of every fraction. Each part has that fraction of the groups of each class, rounded up,
        and is within the next.
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


def curve_of(sizes: FloatArray, hits: FloatArray, weights: FloatArray, groups: Labels, seed: int) -> LearningCurve:
    """The curve and its forecast.

    Args:
        sizes: images of each point, of shape (points,).
        hits: share of a point's fits that have an image right, of shape (points, n).
        weights: of the images, of shape (n,).
        groups: images of one group are resampled together, of shape (n,).
        seed: of the resampling.
    """
    means, resampled = _resampled(hits, weights, groups, np.random.default_rng(seed))
    errors, rises, rise_errors = resampled.std(0), np.diff(means), np.diff(resampled, axis=1).std(0)
    points = tuple(
        CurvePoint(
            n_images=round(float(size)),
            accuracy=float(means[index]),
            standard_error=float(errors[index]),
            rise=float(rises[index - 1]) if index else None,
            rise_error=float(rise_errors[index - 1]) if index else None,
        )
        for index, size in enumerate(sizes)
    )
    if len(points) < LEAST_POINTS:
        return LearningCurve(points=points, doubled=None, gain=None)
    doubled, gain = _forecast(sizes, means, resampled, hits.shape[1])
    return LearningCurve(points=points, doubled=doubled, gain=gain)


def _forecast(
    sizes: FloatArray, means: FloatArray, resampled: FloatArray, n_judged: int
) -> tuple[Doubled, tuple[float, float]]:
    """Accuracy with twice the images, from the accuracies and their resamples, and the interval of the gain."""
    last, gain = float(means[-1]), float(doubling_gain(sizes, means[None], n_judged)[0])
    gains = doubling_gain(sizes, resampled, n_judged)
    sampling = LAW_SAMPLING / np.sqrt(sizes[-1])
    less, more = LAW_LESS * gain + sampling, LAW_MORE * gain + sampling
    of_gain, of_accuracy = _Z * gains.std(), _Z * (resampled[:, -1] + gains).std()
    doubled = Doubled(
        accuracy=last + gain,
        low=float(max(last + gain - np.hypot(of_accuracy, less), 0.0)),
        high=float(min(last + gain + np.hypot(of_accuracy, more), 1.0)),
    )
    return doubled, (float(gain - np.hypot(of_gain, less)), float(min(gain + np.hypot(of_gain, more), 1 - last)))


def _resampled(
    hits: FloatArray, weights: FloatArray, groups: Labels, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Weighted accuracy at each point, of shape (points,), and with random weights of groups, of (resamples, points).

    The resamples count two more images, one right at every point and one wrong, so that no error is ever 0; see
    `accuracy_error`.

    Reference:
        Rubin, The Bayesian bootstrap, 1981.
    """
    # By first appearance, so that the resamples do not depend on how groups are numbered.
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    of_image = np.argsort(np.argsort(first))[inverse]
    sums = np.stack([np.bincount(of_image, weights * each) for each in hits], axis=1)
    totals, one = np.bincount(of_image, weights), weights.mean()
    sums = np.concatenate([sums, np.zeros((1, len(hits))), np.full((1, len(hits)), one)])
    totals = np.concatenate([totals, [one, one]])
    counted = rng.exponential(size=(_RESAMPLES, len(totals)))
    return hits @ weights / weights.sum(), counted @ sums / (counted @ totals)[:, None]


def doubling_gain(sizes: FloatArray, accuracies: FloatArray, n_images: int) -> FloatArray:
    """What twice the images would add to the last accuracy, if the error falls as a power of the number of images.

    The error is b n^-c, a straight line in logarithms, fitted by least squares; c is at least 0. There is no third
    parameter for the error that remains with infinitely many images: it forecasts no better, see
    benchmarks/results/learning_curve.jsonl.

    Args:
        sizes: images of each point, of shape (points,).
        accuracies: of shape (m, points).
        n_images: that were held out; half an image more counts as wrong, so that no error is 0.

    Returns:
        Gains of shape (m,), at least 0.

    Reference:
        Cortes et al., Learning curves: asymptotic values and rate of convergence, 1993. Hestness et al., Deep learning
        scaling is predictable, empirically, 2017.
    """
    errors = ((1 - accuracies) * n_images + 0.5) / (n_images + 1)
    x = np.log2(sizes) - np.log2(sizes).mean()
    slope = np.minimum(np.log2(errors) @ x / (x @ x), 0.0)
    return np.asarray((1 - accuracies[:, -1]) * (1 - 2**slope))
