"""Fit the two lines of the decision to cells of the grid: Bayesian regression with an effect of each data set."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.rules.thresholds import Line

FloatArray = npt.NDArray[np.float64]

# What is believed before any cell: more images help, by 0.1 ± 0.1 of the logarithm for each doubling of either number;
# drift may help by 0.2 ± 0.2 for each threshold of it; the frozen model's own error may matter either way. With few
# cells this is most of what the line says.
PRIOR = np.array([0.0, -0.1, -0.1, -0.2, 0.0])
PRIOR_SPREAD = np.array([0.5, 0.1, 0.1, 0.2, 0.2])
PRIOR_DIFFERENCE = np.zeros(5)
PRIOR_DIFFERENCE_SPREAD = np.array([0.3, 0.1, 0.1, 0.2, 0.1])
_SPREADS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Logarithms of ratios of odds of an error, with what they are to be predicted from."""

    features: FloatArray  # of shape (n, 5), as `Task.features`
    logs: FloatArray  # of shape (n,)
    variances: FloatArray  # of the logs, from the number of images that judged
    sets: tuple[str, ...]  # the data set of each

    def without(self, name: str) -> "Points":
        kept = np.array([each != name for each in self.sets])
        sets = tuple(each for each in self.sets if each != name)
        return Points(features=self.features[kept], logs=self.logs[kept], variances=self.variances[kept], sets=sets)


def fit_line(points: Points, prior: FloatArray, prior_spread: FloatArray, *, falling: bool) -> Line:
    """The posterior mean and covariance of the coefficients; `falling`: those of the numbers of images are at most 0.

    The two spreads, over sets and over cells, are averaged over by their evidence: few cells say little of them.
    """
    same = np.equal.outer(np.array(points.sets), np.array(points.sets)).astype(float)
    believed = np.diag(prior_spread**2)
    rest = points.logs - points.features @ prior
    evidence, means, covariances, spreads = [], [], [], []
    for of_sets, of_cells in itertools.product(_SPREADS, _SPREADS):
        noise = np.diag(points.variances + of_cells**2) + of_sets**2 * same
        total = points.features @ believed @ points.features.T + noise
        _, determinant = np.linalg.slogdet(total)
        evidence.append(-0.5 * (rest @ np.linalg.solve(total, rest) + determinant))
        gain = believed @ points.features.T @ np.linalg.inv(total)
        means.append(prior + gain @ rest)
        covariances.append(believed - gain @ points.features @ believed)
        spreads.append(of_sets**2 + of_cells**2)
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    mean = weights @ np.array(means)
    apart = np.array(means) - mean
    covariance = np.einsum("k,kij->ij", weights, np.array(covariances))
    covariance += np.einsum("k,ki,kj->ij", weights, apart, apart)
    for place in (1, 2) * 10 if falling else ():  # where one is held at 0, the others move, too
        mean -= covariance[:, place] / covariance[place, place] * max(mean[place], 0.0)
    return Line(
        coefficients=tuple(np.round(mean, 3).tolist()),
        covariance=tuple(tuple(row) for row in np.round(covariance, 4).tolist()),
        spread=round(float(np.sqrt(weights @ np.array(spreads))), 3),
    )


def log_odds_ratio(wrong: npt.ArrayLike, wrong_before: npt.ArrayLike) -> tuple[float, float]:
    """Logarithm of the ratio of the odds of an error of two models on the same images, and its variance.

    Both say which images are wrong. Half an image is added to the wrong and to the right ones, so that none is 0.
    """
    after, before = np.asarray(wrong, bool), np.asarray(wrong_before, bool)
    n, k, k_before = len(after) + 1, after.sum() + 0.5, before.sum() + 0.5
    right, right_before, discordant = n - k, n - k_before, (after != before).sum() + 1
    variance = discordant * n**2 / (k * k_before * right * right_before)
    return float(np.log(k * right_before / (k_before * right))), float(variance)
