"""Does fine-tuning beat the frozen model? Paired evidence on held-out images, with its error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from probes.data.splits import Rows, balanced_weights
from probes.evaluation.evaluation import apply_temperature, fit_temperature, log_losses
from probes.evaluation.intervals import Gain, paired_gain, z
from recommender.explanation.text import percent, points_text

SURE = 0.95  # probability, one-sided, that a gain is no chance; ours, not yet measured

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """How fine-tuned weights, averaged with the start, compare with the start on the same images."""

    frozen: float  # accuracy of the start; balanced where classes have the same weight
    gain: Gain  # of its accuracy over the start's; of the balanced accuracies where classes have the same weight
    sure: bool  # whether it is better than the start
    worse: bool  # whether it is surely worse
    correct: npt.NDArray[np.bool_]  # whether it is right, of shape (n,)
    probabilities: FloatArray  # of shape (n, classes)

    @property
    def measured(self) -> tuple[float, float]:
        """The gain and its standard error."""
        return self.gain.difference, self.gain.standard_error

    def sentence(self, n_images: int, chance: float | None, *, accepted: bool, forced: bool) -> str:
        """What trials on so many images showed, and what came back; `chance` that fine-tuning is better, if known."""
        said = (
            f"On {n_images:,} held-out images fine-tuning changed the accuracy by {100 * self.gain.difference:+.1f} "
            f"points (90 % interval {points_text((self.gain.low, self.gain.high))})"
        )
        if chance is not None:
            said += f"; with what other data sets show, it is better with a probability of {percent(chance, 0)}"
        if forced:
            return f"{said}. You asked for the fine-tuned network."
        if accepted:
            return f"{said}. The fine-tuned network is returned."
        return f"{said}. The frozen model is returned; --force (`force=True`) overrides that."


def weigh(start: npt.ArrayLike, tuned: npt.ArrayLike, rows: Rows, *, balanced: bool = False) -> Evidence:
    """Compare predictions of shape (n, classes) for n held-out images; those of a group may be correlated.

    Log losses are compared, each after a temperature of its own, beside accuracies: with few images log loss tells
    more. Fine-tuning is better if the gain in one of them is surer than chance, and the other one does not fall.
    `balanced`: whether every class has the same weight, as in training.
    """
    labels, groups = rows.labels, rows.groups
    values = np.asarray([start, tuned], np.float64)
    # A training that diverged knows nothing.
    values = np.where(np.isfinite(values).all(2, keepdims=True), values, 1 / values.shape[2])
    losses = [log_losses(apply_temperature(each, fit_temperature(each, labels)), labels) for each in values]
    before, after = values.argmax(2) == labels
    weights = balanced_weights(labels, np.ones(len(labels))) if balanced else np.ones(len(labels))
    of_images = weights * (losses[0] - losses[1])
    of_groups = np.bincount(np.unique(groups, return_inverse=True)[1], of_images)
    n_groups = len(of_groups)
    error = of_groups.std(ddof=1) * np.sqrt(n_groups) if n_groups > 1 else np.inf
    limit = t.ppf(SURE, max(n_groups - 1, 1)) * error
    gain = paired_gain(before, after, groups, weights)
    middle = (gain.high + gain.low) / 2
    half = (gain.high - gain.low) / 2 * norm.ppf(SURE) / z()
    total = of_images.sum()
    return Evidence(
        frozen=float(np.average(before, weights=weights)),
        gain=gain,
        sure=bool((middle > half and total >= 0) or (total > limit and gain.difference >= 0)),
        worse=bool((middle < -half and total <= 0) or (total < -limit and gain.difference <= 0)),
        correct=after,
        probabilities=values[1],
    )
