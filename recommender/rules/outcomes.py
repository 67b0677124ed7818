"""What each of the four ways will give on a task: accuracies with their uncertainty. Pure.

The odds of an error of a fine-tuned network are those of the best frozen one, times a factor. Over the cells of
benchmarks/regret the logarithm of that factor is close to linear in what is known beforehand: images a class, images in
all, drift, and the frozen model's own error (`thresholds.FULL`, `thresholds.PARTIAL_LESS_FULL`). The spread over data
sets and over cells, and the uncertainty of the coefficients, stay in: an outcome is a distribution, held as draws.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from recommender.rules import thresholds
from recommender.rules.scenario import Scenario, Similarity

FloatArray = npt.NDArray[np.float64]

_DRAWS = 4000
_IMAGINED = 100  # outcomes of further trials
_MOST_LOG = 10.0  # of a factor of odds
_GRID = 2001  # points


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is known of a task before anything trains."""

    n_images: int
    n_classes: int
    images_per_class: float  # of the smallest class that counts
    excess_drift: float | None  # None if no drift could be measured
    similarity: Similarity  # by drift, or else by how the cuts compare
    accuracy: float | None  # of the frozen whole backbone, on images that it was not fitted on; None without such
    n_judged: float  # independent images of that accuracy
    fitted_share: float  # of the images, that each classifier which was judged so was fitted on
    cut_gain: float | None  # accuracy of the best earlier cut less that, on the same images; None without a cut
    cut_gain_error: float  # standard error of that

    def features(self, error: float, excess: float) -> FloatArray:
        """Regressors of the factor of odds, of shape (5,)."""
        return np.array(
            [
                1.0,
                np.log2(min(self.images_per_class, self.n_images) / thresholds.TYPICAL_IMAGES_PER_CLASS),
                np.log2(self.n_images / thresholds.TYPICAL_IMAGES),
                min(max(excess, 0.0), thresholds.MOST_EXCESS) / thresholds.DRIFT_THRESHOLD - 1.0,
                _logit(error),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What training on a part of the images showed on the others, which were held out."""

    scenario: Scenario  # the fine-tuning that was tried
    frozen: float  # accuracy of the frozen whole backbone, 0 to 1
    tuned: float  # of the fine-tuned network
    gain: float  # the second less the first; balanced where the classes have equal weight
    interval: tuple[float, float]  # 90 % interval of the gain
    standard_error: float  # of the gain
    n_images: int  # that were held out
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Accuracies that the scenarios may reach, as draws."""

    scenarios: tuple[Scenario, ...]  # that are possible, the cheapest first
    draws: FloatArray  # of shape (scenarios, draws), 0 to 1

    @property
    def best_frozen(self) -> Scenario:
        """Of the scenarios that train no layer of the backbone the one that is expected to be better."""
        return max((each for each in self.scenarios if not each.fine_tunes), key=self.expected)

    def expected(self, scenario: Scenario) -> float:
        """Mean accuracy."""
        return float(self._of(scenario).mean())

    def interval(self, scenario: Scenario) -> tuple[float, float]:
        """90 % interval of the accuracy."""
        low, high = np.quantile(self._of(scenario), (0.05, 0.95))
        return float(low), float(high)

    def chance(self, scenario: Scenario, within: float) -> float:
        """Probability that no scenario is better by more than that, in accuracy."""
        return float((self.draws.max(0) - self._of(scenario) <= within).mean())

    def after(self, scenario: Scenario, gain: float, error: float) -> "Outcomes":
        """The same after a trial of a fine-tuning on held-out images: draws again, by how well they explain it.

        `gain` is its accuracy less that of the frozen whole backbone, with its standard error. One that is far from all
        that was expected widens what is expected first: this task is not like the others.
        """
        expected, error, needed = self._gains(scenario, gain, error)
        moved = (expected - expected.mean()) * max(needed / max(expected.std(), 1e-6) - 1, 0.0)
        tuned = np.array([each.fine_tunes for each in self.scenarios])
        wide = Outcomes(scenarios=self.scenarios, draws=np.clip(self.draws + np.outer(tuned, moved), 0.0, 1.0))
        logs = -0.5 * ((wide._of(scenario) - wide._of(Scenario.LINEAR_PROBE) - gain) / error) ** 2
        cumulated = np.cumsum(np.exp(logs - logs.max()))
        places = (np.arange(len(logs)) + 0.5) / len(logs) * cumulated[-1]
        return Outcomes(scenarios=self.scenarios, draws=wide.draws[:, np.searchsorted(cumulated, places)])

    def surprised(self, scenario: Scenario, gain: float, error: float) -> bool:
        """Whether such a trial is far from all that was expected."""
        expected, _, needed = self._gains(scenario, gain, error)
        return bool(needed > expected.std())

    def _gains(self, scenario: Scenario, gain: float, error: float) -> tuple[FloatArray, float, float]:
        """Draws of a fine-tuning's gain, the whole error of a trial of it, and the spread that would explain both."""
        expected = self._of(scenario) - self._of(Scenario.LINEAR_PROBE)
        error = float(np.hypot(error, thresholds.TRIAL_ERROR * (1 - self.expected(Scenario.LINEAR_PROBE))))
        needed = max(((gain - expected.mean()) / thresholds.SURPRISE) ** 2 - error**2, 0.0)
        return expected, error, float(np.sqrt(needed))

    def accuracy_after(self, scenario: Scenario, accuracy: float, n_images: float) -> tuple[float, tuple[float, float]]:
        """Accuracy of a scenario with its 90 % interval, if its model was as accurate on so many independent images.

        By Bayes' rule on a grid of the log odds of an error; what is expected of them is taken as normal.
        """
        errors = np.clip(1 - self._of(scenario), 1e-4, 1 - 1e-4)
        expected = np.log(errors / (1 - errors))
        odds = np.linspace(-_MOST_LOG, _MOST_LOG, _GRID)
        right = 1 / (1 + np.exp(odds))
        logs = -0.5 * ((odds - expected.mean()) / max(expected.std(), 1e-3)) ** 2
        logs += n_images * (accuracy * np.log(right) + (1 - accuracy) * np.log(1 - right))
        weights = np.exp(logs - logs.max())
        cumulated = np.cumsum(weights) / weights.sum()
        high, low = np.interp((0.05, 0.95), cumulated, right)
        return float(np.average(right, weights=weights)), (float(low), float(high))

    def chance_after(self, scenario: Scenario, gain: float, error: float) -> float:
        """Probability that fine-tuning is better than the best frozen model, after such a trial."""
        found = self.after(scenario, gain, error)
        frozen = np.max([found._of(each) for each in found.scenarios if not each.fine_tunes], axis=0)
        return float((found._of(scenario) > frozen).mean())

    def worth_of_trials(self, scenario: Scenario, gain: float, error: float, *, less: float) -> float:
        """Accuracy that the better choice after more trials is expected to gain, after a gain with that error.

        `less`: what they leave of the variance of the gain, below 1.
        """
        found, then = self.after(scenario, gain, error), error * np.sqrt(less)
        likely = (found._of(scenario) - found._of(Scenario.LINEAR_PROBE))[:: _DRAWS // _IMAGINED]
        luck = np.random.default_rng(1).standard_normal(len(likely))
        new = likely + error * np.sqrt(less / (1 - less)) * luck
        gains = less * gain + (1 - less) * new
        later = [self.after(scenario, each, then) for each in gains]
        leads = [each.expected(scenario) - each.expected(each.best_frozen) for each in later]
        return float(np.maximum(leads, 0).mean() - max(np.mean(leads), 0))

    def with_copy(self, scenario: Scenario, *, of: Scenario) -> "Outcomes":
        """The same with another scenario that gives what this one gives."""
        draws = np.concatenate([self.draws, self._of(of)[None]])
        return Outcomes(scenarios=(*self.scenarios, scenario), draws=draws)

    def _of(self, scenario: Scenario) -> FloatArray:
        return np.asarray(self.draws[self.scenarios.index(scenario)])


def outcomes(task: Task) -> Outcomes:
    """What is to be expected of a task."""
    normal, uniform = _noise()
    wrong, n_judged = (1 - _accuracy(task)) * task.n_judged + 0.5, task.n_judged + 1
    spread = np.hypot(np.sqrt(1 / wrong + 1 / (n_judged - wrong)), thresholds.ERROR_SPREAD)
    on_all = -thresholds.ERROR_PER_DOUBLING * np.log2(task.fitted_share)
    whole = 1 / (1 + np.exp(-(_logit(wrong / n_judged) + on_all + spread * normal[0])))
    excess = _excess(task, uniform)
    scenarios, errors = [Scenario.LINEAR_PROBE], [whole]
    frozen = whole
    if task.cut_gain is not None:
        scenarios.append(Scenario.SHALLOW_FEATURES)
        errors.append(np.clip(whole - _cut_gain(task, excess, normal[1]), 1e-4, 1.0))
        frozen = min(errors, key=lambda each: float(each.mean()))
    rows = np.stack([task.features(wrong / n_judged, value) for value in np.unique(excess)])
    rows = rows[np.searchsorted(np.unique(excess), excess)]
    full = _predicted(thresholds.FULL, rows, normal[2])
    partial = full + _predicted(thresholds.PARTIAL_LESS_FULL, rows, normal[3])
    for scenario, logs in ((Scenario.PARTIAL_FINE_TUNE, partial), (Scenario.FULL_FINE_TUNE, full)):
        scenarios.append(scenario)
        odds = frozen / np.maximum(1 - frozen, 1e-9) * np.exp(np.clip(logs, -_MOST_LOG, _MOST_LOG))
        errors.append(odds / (1 + odds))
    return Outcomes(scenarios=tuple(scenarios), draws=1 - np.stack(errors))


def images_needed(task: Task) -> float:
    """About how many images, with as many times more in each class, fine-tuning needs to be better than freezing."""
    error = ((1 - _accuracy(task)) * task.n_judged + 0.5) / (task.n_judged + 1)
    excess = float(_excess(task, np.zeros(1))[0])
    coefficients = np.array(thresholds.FULL.coefficients)
    slope = coefficients[1] + coefficients[2]
    return float(task.n_images * 2.0 ** min(max(-task.features(error, excess) @ coefficients / slope, -20), 20))


def _accuracy(task: Task) -> float:
    """Of the frozen whole backbone; below chance it can only be by chance."""
    return thresholds.TYPICAL_ACCURACY if task.accuracy is None else max(task.accuracy, 1 / max(task.n_classes, 2))


def _predicted(line: thresholds.Line, rows: FloatArray, normal: FloatArray) -> FloatArray:
    """Draws of a line's value, with the uncertainty of its coefficients and the spread around it."""
    covariance = np.array(line.covariance)
    variance = np.einsum("ni,ij,nj->n", rows, covariance, rows) + line.spread**2
    return np.asarray(rows @ np.array(line.coefficients) + np.sqrt(variance) * normal)


def _cut_gain(task: Task, excess: FloatArray, normal: FloatArray) -> FloatArray:
    """What an earlier cut gains: what it did on other data sets at such a drift, and what is measured on this one."""
    similar = excess <= thresholds.DRIFT_THRESHOLD
    prior = np.where(similar, thresholds.CUT_GAIN_SIMILAR, thresholds.CUT_GAIN_DISSIMILAR)
    known, spread = 1 / thresholds.CUT_GAIN_SPREAD**2, thresholds.CUT_GAIN_ERROR
    seen = 0.0 if task.cut_gain is None or task.accuracy is None else 1 / (task.cut_gain_error**2 + spread**2)
    mean = (known * prior + seen * (task.cut_gain or 0.0)) / (known + seen)
    return np.asarray(mean + normal / np.sqrt(known + seen))


def _excess(task: Task, uniform: FloatArray) -> FloatArray:
    """The excess drift; where it can't be measured, one that is typical of the verdict, which may be wrong."""
    if task.excess_drift is not None:
        return np.full(len(uniform), task.excess_drift)
    typical = (thresholds.EXCESS_SIMILAR, thresholds.EXCESS_DISSIMILAR)
    said, other = typical if task.similarity is Similarity.SIMILAR else typical[::-1]
    return np.where(uniform < thresholds.CUTS_AGREEMENT, said, other)


@cache
def _noise() -> tuple[FloatArray, FloatArray]:
    """The same draws for every task, so that an answer is no matter of luck."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, _DRAWS)), rng.random(_DRAWS)


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
