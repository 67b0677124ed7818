"""Trained strategies, which of them is best on the same images, and how sure that is."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.backbones.backbone import Backbone
from builders.build import HeadWeights, build_model
from probes.data.splits import Rows
from probes.evaluation.intervals import Gain, accuracy_interval, paired_gain, z
from probes.evaluation.selection import cross_chosen
from recommender.comparison.candidates import Candidate

# Width of a 90 % interval up to which a difference inside the noise is a tie: ±5 points in a 95 % interval. Ours.
DECIDED = 0.1 * z() / z(0.95)

LIKE_COST = 2.0  # ratio of seconds up to which two rows are about as cheap. Ours.

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What a classifier got right; masks of shape (n,) over all images."""

    judged: Mask  # the images that it was judged on
    correct: Mask  # those of them on which it was right

    def lead_over(self, other: "Results", groups: npt.NDArray[np.int64]) -> Gain:
        """Its accuracy less the other's, on the images that both were judged on."""
        both = self.judged & other.judged
        return paired_gain(other.correct[both], self.correct[both], groups[both])

    def estimate(self, reference: "Results", groups: npt.NDArray[np.int64]) -> tuple[float, tuple[float, float]]:
        """Its accuracy over all images that a reference was judged on, and the 90 % interval.

        Where it was judged on a part of them, that is the accuracy of the reference, plus the paired difference on the
        part (the difference estimator; Cochran, Sampling techniques, 1977, chapter 7). The interval combines those of
        the two (Zou and Donner, Construction of confidence intervals about effect measures, 2008), as if they were
        independent. Their correlation is usually negative, so that it is rather too wide.
        """
        if not (reference.judged & ~self.judged).any():
            known = self.correct[self.judged]
            return float(known.mean()), accuracy_interval(known, groups[self.judged])
        known = reference.correct[reference.judged]
        base, (low, high) = float(known.mean()), accuracy_interval(known, groups[reference.judged])
        gain = self.lead_over(reference, groups)
        accuracy = base + gain.difference
        below = np.hypot(base - low, gain.difference - gain.low)
        above = np.hypot(high - base, gain.high - gain.difference)
        estimate, least, most = np.clip([accuracy, accuracy - below, accuracy + above], 0.0, 1.0).tolist()
        return estimate, (least, most)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row(Candidate):
    """A strategy that was trained."""

    accuracy: float  # over all images; of a fine-tuned strategy estimated from those that were held out
    interval: tuple[float, float]  # 90 %
    balanced_accuracy: float  # on the images that it was judged on
    seconds: float  # of training it once: its share of the pass over the images, by its depth, and its own
    steps: int = 0  # of fine-tuning
    full_steps: int = 0  # of fine-tuning without a budget
    share: float | None = None  # of the trained weights in their average with the start; None if frozen
    gained: bool = False  # whether fine-tuning is surely better than its start
    results: Results = field(repr=False)  # of a fine-tuned strategy at the average that other images chose
    weights: tuple[npt.NDArray[Any], ...] = field(repr=False)  # of the prediction layer alone if that alone trained

    @property
    def n_judged(self) -> int:
        """Number of images that it was judged on."""
        return int(self.results.judged.sum())

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
    """Strategies judged on the same images."""

    rows: tuple[Row, ...]  # by accuracy, the best first
    winner: Row  # has the highest accuracy; of equals the advice, else the earliest cut
    preferred: Row  # the cheapest of those within one standard error of the winner
    recommended: Row | None  # the advice; None if it was not trained
    accuracy: float  # of choosing the best row; the winner's own is the best of many, and too optimistic
    interval: tuple[float, float]  # 90 %
    regret: Gain | None  # by how much that choice is better than the advice; 0 if the advice won
    gaps: tuple[Gain, ...] = field(repr=False)  # the same for each row

    @property
    def verdict(self) -> str:
        """On the advice: "right", "tied", "wrong", "undecided" by too few images, or "unknown" if not trained."""
        if self.regret is None:
            return "unknown"
        if self.regret.clear:
            return "wrong"
        if self.regret.high >= 0 and self.regret.high - self.regret.low > DECIDED:
            return "undecided"
        return "right" if self.recommended is self.winner else "tied"

    @property
    def ties(self) -> tuple[Row, ...]:
        """The winner, and the rows that are not clearly worse."""
        return tuple(row for row, gap in zip(self.rows, self.gaps, strict=True) if row is self.winner or not gap.clear)


def _cost(row: Row) -> tuple[bool, float, int]:
    """What rows are sorted by as by their cost; unlike seconds it is the same in every run."""
    strategy = row.strategy
    trained = strategy.cut_depth - (0.0 if row.frozen else strategy.freeze_depth)
    return not row.frozen, trained, len(strategy.head.levels)


def reference_of(rows: Sequence[Row]) -> Row:
    """The frozen row that puts all rows on one scale: the deepest one with most levels, whatever its results."""
    return max(rows, key=lambda row: (row.frozen, row.strategy.cut_depth, len(row.strategy.head.levels)))


def judge(rows: Sequence[Row], images: Rows, *, seed: int) -> Ranking:
    """Compare one or more rows; `images` are all that their results are of.

    The accuracy of the best of many is too high by chance, and so is its lead. So each image is judged by the row that
    is best on the other half of the images. The advice is compared with that. This takes the images that every row was
    judged on. If neither the best nor the advice is fine-tuned, the frozen rows alone take part, with all images.
    """
    groups = images.groups
    by_cost = sorted(rows, key=_cost)  # of equals the cheapest is chosen
    ordered = sorted(by_cost, key=lambda row: -row.accuracy)
    winner = max(by_cost, key=lambda row: (row.accuracy, row.recommended))
    advice = next((row for row in rows if row.recommended), None)
    all_frozen = winner.frozen and (advice is None or advice.frozen)
    pool = [row for row in by_cost if row.frozen or not all_frozen]
    common = np.logical_and.reduce([row.results.judged for row in pool])
    correct = np.stack([row.results.correct[common] for row in pool])
    chosen = cross_chosen(correct, seed=seed, groups=groups[common], labels=images.labels[common])
    best = Results(judged=common, correct=np.zeros_like(common))
    best.correct[common] = chosen.correct
    accuracy, interval = best.estimate(reference_of(rows).results, groups)
    regret = None
    if advice is not None:
        regret = (advice.results if advice is winner else best).lead_over(advice.results, groups)
    return Ranking(
        rows=tuple(ordered),
        winner=winner,
        preferred=_preferred(ordered, winner, groups),
        recommended=advice,
        accuracy=accuracy,
        interval=interval,
        regret=regret,
        gaps=tuple(best.lead_over(row.results, groups) for row in ordered),
    )


def _preferred(rows: Sequence[Row], winner: Row, groups: npt.NDArray[np.int64]) -> Row:
    """The best of the cheapest rows within one standard error of the winner (Breiman et al., CART, 1984).

    A fine-tuned winner and a frozen row are compared through the reference, as in their accuracies: frozen rows are
    judged on all images, and one that is better on the few held-out ones by chance is no better for that.
    """
    reference = reference_of(rows).results

    def near(row: Row) -> bool:
        between = [] if row.frozen == winner.frozen else [reference]
        steps = itertools.pairwise([winner.results, *between, row.results])
        gaps = [first.lead_over(second, groups) for first, second in steps]
        error = np.hypot.reduce([(gap.high - gap.low) / 2 / z() for gap in gaps])
        return bool(sum(gap.difference for gap in gaps) <= error)

    close = [row for row in rows if row is winner or near(row)]
    least = min(row.seconds for row in close)
    cheap = [row for row in close if row.seconds <= LIKE_COST * least]
    return max(cheap, key=lambda row: (row.accuracy, row.recommended, -row.seconds))
