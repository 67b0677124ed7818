"""Which images are learnt from, and which judge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.data.splits import Rows, held_out_splits
from probes.network.features import Features

MOST_HELD_OUT = 2000  # images: an interval of 2 points at most; more would only cost time at each look

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """A split of rows.

    Attributes:
        training: numbers of the rows that are learnt from.
        held_out: numbers of the rows that judge; empty where none can.
        judged_by: "validation" for the user's own split, or "held-out part".
    """

    training: Numbers
    held_out: Numbers
    judged_by: str


def rows_of_everything(index: ImageIndex, features: Features, seed: int) -> Rows:
    """All images that were read, as the splitter sees them: look-alikes and the user's groups are together.

    Args:
        index: the images.
        features: of those that were read.
        seed: of nothing but which test images are looked at: none.
    """
    from probes.quality.repeats import find_repeats
    from recommender.pipeline.data_checks import inspect_sample
    from recommender.pipeline.network_pass import rows_of

    inspected = inspect_sample(index, features, with_test=0, seed=seed)
    return rows_of(index, features, inspected, find_repeats(inspected, index))


def hold_out(rows: Rows, order: Numbers, seed: int) -> HeldOut:
    """Part the images: the user's validation split, or a fifth of each class, judges.

    Args:
        rows: all images.
        order: in which they are dealt out; one that follows from the pictures' content makes the split the same from
            every form of the data.
        seed: of the split.

    Returns:
        Row numbers in `order`; at most `MOST_HELD_OUT` are held out, and what is more is learnt from unless it is the
        user's validation split.
    """
    ordered = rows.taken(order)
    judged_by = "validation" if ordered.held_out.any() else "held-out part"
    splits = held_out_splits(ordered, seed=seed)
    if not splits:
        return HeldOut(training=order[ordered.training], held_out=order[:0], judged_by=judged_by)
    held_out = splits[0][1]
    if judged_by == "held-out part":  # no class may be without an image to learn from
        left = np.setdiff1d(np.flatnonzero(ordered.training), held_out)
        held_out = held_out[np.isin(ordered.labels[held_out], ordered.labels[left])]
    training = np.setdiff1d(np.flatnonzero(ordered.training), held_out)
    if len(held_out) > MOST_HELD_OUT:
        groups = np.unique(ordered.groups[held_out])
        shuffled = np.random.default_rng([seed, len(held_out)]).permutation(groups)
        place = np.empty(len(groups), np.int64)
        place[np.searchsorted(groups, shuffled)] = np.arange(len(groups))
        rank = place[np.searchsorted(groups, ordered.groups[held_out])]
        counts = np.cumsum(np.bincount(rank, minlength=len(groups)))
        kept = rank < max(1, int(np.searchsorted(counts, MOST_HELD_OUT, side="right")))
        if judged_by == "held-out part":
            training = np.sort(np.concatenate([training, held_out[~kept]]))
        held_out = held_out[kept]
    return HeldOut(training=order[training], held_out=order[held_out], judged_by=judged_by)
