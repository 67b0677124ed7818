"""Which of several strategies is best on the images that all were judged by, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.evaluation.intervals import Gain, paired_gain
from probes.evaluation.selection import Chosen, cross_chosen
from recommender.comparison.outcome import Row

LIKE_COST = 2.0  # times as many seconds: a difference that nobody minds. Ours.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """Who is best, and how sure that is.

    Attributes:
        winner: number of the row with the highest accuracy; of equals the advice, else the cheapest.
        preferred: number of the row to take: within one standard error of the winner, and cheap.
        chosen: how the best of all does on images that did not choose it.
        gaps: of each row, by how much `chosen` is better on the same images.
        regret: the same of the advice; 0 where that won, None where it was not trained.
    """

    winner: int
    preferred: int
    chosen: Chosen
    gaps: tuple[Gain, ...]
    regret: Gain | None


def judge(rows: Sequence[Row], *, seed: int, groups: npt.ArrayLike | None, labels: npt.ArrayLike | None) -> Judgement:
    """Compare rows on the images that all of them were judged by.

    The accuracy of the best of many is too high by chance, and so is its lead. So each image is judged by the look of
    the row that is best on the other half of the images: that is what choosing by comparison is worth, and what the
    advice is held against.

    Args:
        rows: at least one.
        seed: of the halves.
        groups: images of one group are never frozen_split, of shape (n,).
        labels: class numbers over which the halves are stratified, of shape (n,).
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].seconds)
    looks = np.concatenate([rows[number].looks for number in order])
    chosen = cross_chosen(looks, seed=seed, groups=groups, labels=labels)
    gaps = tuple(paired_gain(row.correct, chosen.correct, groups) for row in rows)
    # Of equals the advice, else the cheapest.
    winner = max(order, key=lambda number: (rows[number].accuracy, rows[number].recommended))
    advice = next((number for number, row in enumerate(rows) if row.recommended), None)
    regret = None if advice is None else gaps[advice]
    if advice is not None and advice == winner:
        regret = paired_gain(rows[advice].correct, rows[advice].correct, groups)
    return Judgement(
        winner=winner,
        preferred=_preferred(rows, winner, groups),
        chosen=chosen,
        gaps=gaps,
        regret=regret,
    )


def _preferred(rows: Sequence[Row], winner: int, groups: npt.ArrayLike | None) -> int:
    """Number of the best of the cheapest rows: those within one standard error of the winner, at like cost.

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
