"""Trained strategies, which of them is best on the same held-out images, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.backbones.backbone import Backbone
from builders.build import HeadWeights, build_model
from probes.evaluation.intervals import Gain, paired_gain
from probes.evaluation.selection import cross_chosen
from recommender.comparison.candidates import Candidate

LIKE_COST = 2.0  # ratio of seconds up to which two rows are about as cheap. Ours.

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row(Candidate):
    """A strategy that was trained."""

    accuracy: float  # on the held-out images, each judged by the validation check that the others choose
    interval: tuple[float, float]  # 95 %
    balanced_accuracy: float
    seconds: float  # of its training: its share of the pass over the images, by its depth, and its own
    steps: int = 0  # of fine-tuning
    full_steps: int = 0  # of fine-tuning without a budget
    ended_early: bool = False  # by the halving or for want of time
    correct: Mask = field(repr=False)  # of shape (n,)
    checks: Mask = field(repr=False)  # the same at each validation check, of shape (checks, n)
    weights: tuple[npt.NDArray[Any], ...] = field(repr=False)  # of the prediction layer alone if that alone trained

    @property
    def gained(self) -> bool:
        """Whether fine-tuning brought a gain; else the model is its start, the linear probe."""
        return self.steps > 0 and not np.array_equal(self.correct, self.checks[0])

    def build(self, backbone: Backbone) -> Any:
        """A new model with the trained weights."""
        if self.frozen:
            kernel, bias = self.weights
            return build_model(self.strategy, HeadWeights(kernel=kernel, bias=bias), backbone)
        model = build_model(self.strategy, None, backbone)
        model.set_weights(list(self.weights))
        return model


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """Strategies judged on the same held-out images."""

    rows: tuple[Row, ...]  # by accuracy, the best first
    winner: Row  # has the highest accuracy; of equals the advice, else the cheapest
    preferred: Row  # the best of those within one standard error of the winner and about as cheap as the cheapest
    recommended: Row | None  # the advice; None if it was not trained
    accuracy: float  # of choosing the best row; the winner's own is the best of many, and too optimistic
    interval: tuple[float, float]  # 95 %
    regret: Gain | None  # by how much that choice is better than the advice; 0 if the advice won
    gaps: tuple[Gain, ...] = field(repr=False)  # the same for each row

    @property
    def verdict(self) -> str:
        """On the advice: "right", "tied", "wrong", or "unknown" if it was not trained."""
        if self.regret is None:
            return "unknown"
        if self.recommended is self.winner:
            return "right"
        return "wrong" if self.regret.clear else "tied"

    @property
    def ties(self) -> tuple[Row, ...]:
        """The winner, and the rows that are not clearly worse."""
        return tuple(row for row, gap in zip(self.rows, self.gaps, strict=True) if row is self.winner or not gap.clear)


def judge(rows: Sequence[Row], *, seed: int, groups: npt.ArrayLike | None, labels: npt.ArrayLike | None) -> Ranking:
    """Compare one or more rows on the same held-out images.

    The accuracy of the best of many is too high by chance, and so is its lead. So each image is judged by the check of
    all rows that is best on the other half of the images. The advice is compared with that.

    Args:
        rows: in any order.
        seed: of the halves.
        groups: images of one group stay together, of shape (n,).
        labels: class numbers over which the halves are stratified, of shape (n,).
    """
    by_cost = sorted(rows, key=lambda row: row.seconds)  # of equal checks the cheapest row's is chosen
    checks = np.concatenate([row.checks for row in by_cost])
    chosen = cross_chosen(checks, seed=seed, groups=groups, labels=labels)
    ordered = sorted(by_cost, key=lambda row: -row.accuracy)
    winner = max(by_cost, key=lambda row: (row.accuracy, row.recommended))
    advice = next((row for row in rows if row.recommended), None)
    regret = None
    if advice is not None:
        best = advice.correct if advice is winner else chosen.correct
        regret = paired_gain(advice.correct, best, groups)
    return Ranking(
        rows=tuple(ordered),
        winner=winner,
        preferred=_preferred(ordered, winner, groups),
        recommended=advice,
        accuracy=chosen.accuracy,
        interval=chosen.interval,
        regret=regret,
        gaps=tuple(paired_gain(row.correct, chosen.correct, groups) for row in ordered),
    )


def _preferred(rows: Sequence[Row], winner: Row, groups: npt.ArrayLike | None) -> Row:
    """The best of the cheapest rows within one standard error of the winner (Breiman et al., CART, 1984)."""

    def near(row: Row) -> bool:
        gap = paired_gain(row.correct, winner.correct, groups)
        middle, error = (gap.low + gap.high) / 2, (gap.high - gap.low) / 2 / 1.96
        return not row.ended_early and middle <= error

    close = [row for row in rows if row is winner or near(row)]
    least = min(row.seconds for row in close)
    cheap = [row for row in close if row.seconds <= LIKE_COST * least]
    return max(cheap, key=lambda row: (row.accuracy, row.recommended, -row.seconds))
