"""Which images are held out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows, held_out_splits

MOST_HELD_OUT = 2000  # images: an interval of at most 2 points; more would only make validation checks slower

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """A split of rows.

    Attributes:
        training: row numbers for training.
        held_out: row numbers for validation; empty if no image can be held out.
        judged_by: "validation" for the user's own split, or "held-out part".
    """

    training: Numbers
    held_out: Numbers
    judged_by: str


def hold_out(rows: Rows, order: Numbers, seed: int) -> HeldOut:
    """Hold out the user's validation split, or a fifth of each class.

    Args:
        rows: all images.
        order: of the rows; one that depends on the content of the pictures gives the same split for every form of
            the data.
        seed: of the split.

    Returns:
        Row numbers in `order`. At most `MOST_HELD_OUT` are held out; the others are for training, unless they are of
        the user's validation split.
    """
    ordered = rows.taken(order)
    judged_by = "validation" if ordered.held_out.any() else "held-out part"
    training = np.flatnonzero(ordered.training)
    splits = held_out_splits(ordered, seed=seed)
    if not splits:
        return HeldOut(training=order[training], held_out=order[:0], judged_by=judged_by)
    held_out = splits[0][1]
    if judged_by == "held-out part":  # each class keeps a training image, and each group stays on one side
        left = np.setdiff1d(training, held_out)
        held_out = held_out[np.isin(ordered.labels[held_out], ordered.labels[left])]
        left = np.setdiff1d(training, held_out)
        held_out = held_out[~np.isin(ordered.groups[held_out], ordered.groups[left])]
    training = np.setdiff1d(training, held_out)
    if len(held_out) > MOST_HELD_OUT:
        kept = _whole_groups(ordered.groups[held_out], seed)
        if judged_by == "held-out part":
            training = np.union1d(training, held_out[~kept])
        held_out = held_out[kept]
    return HeldOut(training=order[training], held_out=order[held_out], judged_by=judged_by)


def _whole_groups(groups: Numbers, seed: int) -> npt.NDArray[np.bool_]:
    """Mask of random whole groups of at most `MOST_HELD_OUT` images, at least one group."""
    names, numbers = np.unique(groups, return_inverse=True)
    rank = np.argsort(np.random.default_rng([seed, len(groups)]).permutation(len(names)))[numbers]
    counts = np.cumsum(np.bincount(rank, minlength=len(names)))
    return np.asarray(rank < max(1, int(np.searchsorted(counts, MOST_HELD_OUT, side="right"))))
