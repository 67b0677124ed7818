"""Intervals of accuracies, 90 % by default, also where images come in groups."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

LEVEL = 0.9  # of every interval that is reported
DECIDING = 0.95  # of those that decide which of two is better


def z(level: float = LEVEL) -> float:
    """Standard errors on either side of a mean that hold this share of a normal distribution."""
    return NormalDist().inv_cdf((1 + level) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Accuracy of b less that of a on the same images, -1 to 1, with its 90 % interval."""

    difference: float
    low: float
    high: float

    @property
    def standard_error(self) -> float:
        """Of the difference."""
        return (self.high - self.low) / 2 / z()

    @property
    def clear(self) -> bool:
        """Whether b is better than a, with its 95 % interval above 0: decisions are more careful than reports."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return middle > half * z(DECIDING) / z()


def wilson(correct: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the share of n images, not always a whole number, that were right; of none 0 to 1.

    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if n <= 0:
        return 0.0, 1.0
    share, z2 = min(max(correct / n, 0.0), 1.0), z(level) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z(level) / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def accuracy_interval(
    correct: npt.ArrayLike, groups: npt.ArrayLike | None = None, weights: npt.ArrayLike | None = None
) -> tuple[float, float]:
    """90 % interval of an accuracy over n images, Wilson's; those of one group may be correlated, which widens it.

    Weighted images count as in `accuracy_error`.
    """
    hits = np.asarray(correct, bool)
    counted = np.ones(len(hits)) if weights is None else np.asarray(weights, np.float64)
    n_effective = _kish(counted) * effective_size(hits, groups) / max(len(hits), 1)
    return wilson(float(np.average(hits, weights=counted)) * n_effective, n_effective)


def _kish(weights: npt.NDArray[np.float64]) -> float:
    """Number of images of equal weight whose mean has the same variance. Kish, Survey sampling, 1965."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def accuracy_error(
    correct: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64] | None = None, groups: npt.ArrayLike | None = None
) -> float:
    """Standard error of an accuracy, with one success and one failure added so that it is never 0.

    Weighted images count as (sum of weights)² / sum of weights² images (Kish, Survey sampling, 1965); those of one
    group may be correlated. Agresti and Coull, Approximate is better than "exact" for interval estimation, 1998.
    """
    counted = np.ones(len(correct)) if weights is None else np.asarray(weights, np.float64)
    n_images = _kish(counted) * effective_size(correct, groups) / len(correct)
    share = (np.average(correct, weights=counted) * n_images + 1) / (n_images + 2)
    return float(np.sqrt(share * (1 - share) / (n_images + 2)))


def effective_size(values: npt.ArrayLike, groups: npt.ArrayLike | None) -> float:
    """The number of independent images whose mean value has the same variance as that of n images in groups.

    Rao and Scott, A simple method for the analysis of clustered binary data, 1992. Kish, Survey sampling, 1965.
    """
    each = np.asarray(values, np.float64)
    n = len(each)
    names, inverse = np.unique(np.arange(n) if groups is None else np.asarray(groups), return_inverse=True)
    n_groups = len(names)
    if n_groups == n:
        return float(n)
    deviation = each - each.mean()
    of_groups = (np.bincount(inverse, deviation) ** 2).sum() * n_groups / max(n_groups - 1, 1)
    if n_groups == 1 or of_groups <= 0:  # the correlation is unknown: a group counts as one image
        return n**2 / float((np.bincount(inverse) ** 2).sum())
    return min(float(n), n * float(deviation @ deviation / of_groups))


def paired_gain(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    level: float = LEVEL,
) -> Gain:
    """The difference of two accuracies on the same images; those of one group may be correlated.

    Weighted images, with weights of shape (n,), count as in `accuracy_error`. The interval is Wald's after the addition
    of one image that only a has right, and one that only b has right; it is sound where a and b differ on few images,
    or on none. Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data, 2012.
    """
    first, second = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    change, counted = second.astype(np.float64) - first, np.ones(len(first)) if weights is None else np.asarray(weights)
    n_effective = effective_size(change, groups) * _kish(counted) / len(counted)
    gained, lost = (float(np.average(change == sign, weights=counted)) * n_effective + 1 for sign in (1, -1))
    n_added = n_effective + 2
    centre = (gained - lost) / n_added
    half = z(level) * np.sqrt(((gained + lost) / n_added - centre**2) / n_added)
    difference = float(np.average(change, weights=counted))
    return Gain(difference=difference, low=float(max(centre - half, -1)), high=float(min(centre + half, 1)))
