"""Which of several strategies is best on the same held-out images, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.evaluation.intervals import Gain, paired_gain
from probes.evaluation.selection import Chosen, cross_chosen
from recommender.comparison.outcome import Row

LIKE_COST = 2.0  # ratio of seconds up to which two rows are about as cheap. Ours.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """The best row, and how sure that is.

    Attributes:
        winner: number of the row with the highest accuracy; of equals the advice, else the cheapest.
        preferred: number of the row to take: within one standard error of the winner, and cheap.
        chosen: the best check of all rows, as judged by images that did not choose it.
        gaps: of each row, by how much `chosen` is better on the same images.
        regret: the gap of the advice; 0 if the advice won, None if it was not trained.
    """

    winner: int
    preferred: int
    chosen: Chosen
    gaps: tuple[Gain, ...]
    regret: Gain | None


def judge(rows: Sequence[Row], *, seed: int, groups: npt.ArrayLike | None, labels: npt.ArrayLike | None) -> Judgement:
    """Compare rows on the same held-out images.

    The accuracy of the best of many is too high by chance, and so is its lead. So each image is judged by the check of
    all rows that is best on the other half of the images. The advice is compared with that.

    Args:
        rows: at least one.
        seed: of the halves.
        groups: images of one group stay together, of shape (n,).
        labels: class numbers over which the halves are stratified, of shape (n,).
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].seconds)
    checks = np.concatenate([rows[number].checks for number in order])
    chosen = cross_chosen(checks, seed=seed, groups=groups, labels=labels)
    gaps = tuple(paired_gain(row.correct, chosen.correct, groups) for row in rows)
    winner = max(order, key=lambda number: (rows[number].accuracy, rows[number].recommended))
    advice = next((number for number, row in enumerate(rows) if row.recommended), None)
    regret = None if advice is None else gaps[advice]
    if advice is not None and advice == winner:
        regret = paired_gain(rows[advice].correct, rows[advice].correct, groups)
    preferred = _preferred(rows, winner, groups)
    return Judgement(winner=winner, preferred=preferred, chosen=chosen, gaps=gaps, regret=regret)


def _preferred(rows: Sequence[Row], winner: int, groups: npt.ArrayLike | None) -> int:
    """Number of the best of the cheapest rows within one standard error of the winner.

    Reference:
        Breiman et al., Classification and regression trees, 1984, for the one standard error.
    """
    best = rows[winner].correct
    near = [
        number
        for number, row in enumerate(rows)
        if number == winner or (not row.ended_early and _near(paired_gain(row.correct, best, groups)))
    ]
    least = min(rows[number].seconds for number in near)
    cheap = [number for number in near if rows[number].seconds <= LIKE_COST * least]
    return max(cheap, key=lambda number: (rows[number].accuracy, rows[number].recommended, -rows[number].seconds))


def _near(gap: Gain) -> bool:
    """Whether it is within one standard error."""
    middle, error = (gap.low + gap.high) / 2, (gap.high - gap.low) / 2 / 1.96
    return middle <= error
