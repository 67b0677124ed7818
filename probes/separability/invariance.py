"""Which augmentations leave the user's labels as they are, measured with the linear classifier.

A mirrored flower is a flower, a mirrored 2 is no 2. Two questions decide. Does a classifier that was not fitted on an
image classify its augmented copy as well as the image? And can a classifier recognise which of the two is the original?
If it can't, such images occur in both orientations; if it can, they have a direction. Lin, Sun, Davis and Snavely,
Visual chirality, CVPR 2020: what a mirror changes is how a mirrored image is recognised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.separability.augmentations import SYMMETRIES
from probes.separability.linear_probe import Split, accuracy_error, cross_validate, joined, judged_rows

# The figures behind the rule are in benchmarks/results/invariance.jsonl: 14 data sets, 250 images each.
# A loss of accuracy that is surely smaller shows that the label is kept; one that is surely larger, that it is not.
CLOSE = 0.02
# In between, the upper end of the interval of how often the original is recognised decides: mirrored photographs 0.49
# to 0.63, cells and scans up to 0.68; letters and chest X-rays 0.71, tiles and digits 0.80 and more.
MOST_RECOGNISED = 0.7
# What crops and brightness may lose: 0.11 of tiles and 0.12 of spectrograms, at most 0.07 of all others. In trials
# fine-tuning lost nothing by cropping even those two, so that the limit lies beyond them.
MOST_LOST = 0.15
# Mirrored digits and sounds passed in 1 of 18 samples of 40 images, in none of 60 or 100; letters in 2 of 6 of either.
LEAST_IMAGES = 60
Z = 1.96  # standard errors of a 95 % interval

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Interval = tuple[float, float]
# Of one split the training images, and the copies of these and of the held-out images.
Fold = tuple[Labels, Labels, Labels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether images keep their label under an augmentation; intervals are those of 95 %."""

    name: str
    n: int  # images that were judged, each by a classifier that was not fitted on its group
    accuracy_plain: float  # the mean over classes if classes have the same weight
    accuracy_augmented: float  # of their copies, by a classifier fitted on copies, too, unless a symmetry
    difference: float  # augmented less plain
    interval: Interval
    recognised: float | None  # share of pairs whose original is recognised, 0.5 by chance; None unless a symmetry
    recognised_interval: Interval | None
    keeps: bool  # whether training may use it


def keeps_label(n: int, interval: Interval, recognised: Interval | None) -> bool:
    """The rule, which refuses where fewer than `LEAST_IMAGES` were judged.

    A symmetry passes if surely no more than `CLOSE` is lost, or if not surely more is lost and the original is surely
    recognised in fewer than `MOST_RECOGNISED` of pairs; any other augmentation if surely less than `MOST_LOST` is lost.
    """
    if n < LEAST_IMAGES:
        return False
    if recognised is None:
        return interval[0] >= -MOST_LOST
    return interval[0] >= -CLOSE or (interval[1] >= -CLOSE and recognised[1] <= MOST_RECOGNISED)


def paired_difference(before: Mask, after: Mask, weights: FloatArray) -> tuple[float, Interval]:
    """Change of an accuracy over the same weighted images, and its 95 % interval, which is never empty.

    Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired data,
    2012; weights as in `accuracy_error`.
    """
    n_images = weights.sum() ** 2 / (weights**2).sum()
    won, lost = (np.average(changed, weights=weights) for changed in (after & ~before, before & ~after))
    gains, losses = ((share * n_images + 1) / (n_images + 2) for share in (won, lost))
    error = np.sqrt((gains + losses - (gains - losses) ** 2) / (n_images + 2))
    return float(won - lost), (float(gains - losses - Z * error), float(gains - losses + Z * error))


def measure_invariance(
    plain: Sequence[npt.ArrayLike],
    augmented: Mapping[str, Sequence[npt.ArrayLike]],
    rows: Rows,
    chosen: npt.ArrayLike,
    *,
    seed: int,
    balanced: bool = False,
) -> tuple[Invariance, ...]:
    """Measure for each augmentation whether images keep their label under it; empty if too few can be held out.

    Only training images take part, so that the choice may be judged on the user's validation split.

    Args:
        plain: pooled features of each cut that is read, each of shape (n, channels).
        augmented: for each augmentation the same of augmented copies of m of the images, each of shape (m, channels).
        rows: the n images.
        chosen: row numbers of the copied images, of shape (m,).
        seed: of the folds.
        balanced: whether every class has the same weight.
    """
    training, copied = np.flatnonzero(rows.training), np.asarray(chosen, np.int64)
    kept = rows.training[copied]
    features, widths = joined(plain)
    own, sources = rows.only(rows.training), np.searchsorted(training, copied[kept])
    both = Rows.of(np.append(own.labels, own.labels[sources]), weights=np.append(own.weights, own.weights[sources]))
    parts = [
        [train, *(np.flatnonzero(np.isin(sources, part)) for part in (train, held_out))]
        for train, held_out in held_out_splits(own, seed=seed)
    ]
    folds = [(train, seen, held) for train, seen, held in parts if len(held)]
    if not folds:
        return ()
    copies = {name: joined(blocks)[0][kept] for name, blocks in augmented.items()}
    return tuple(
        _invariance(name, np.concatenate([features[training], some]), both, sources, folds, widths, balanced)
        for name, some in copies.items()
    )


def _invariance(
    name: str,
    values: FloatArray,
    rows: Rows,
    sources: Labels,
    folds: Sequence[Fold],
    widths: list[int],
    balanced: bool,
) -> Invariance:
    """Whether copies, the last of the rows, have the label of their sources."""
    n = len(rows) - len(sources)
    judged = np.sort(np.concatenate([held for _, _, held in folds]))
    labels = rows.labels[sources[judged]]
    weights = balanced_weights(labels, np.ones(len(labels))) if balanced else np.ones(len(labels))

    def right(splits: list[Split]) -> Mask:
        found = cross_validate(values, rows, splits, widths=widths, balanced=balanced)
        return np.asarray(found.argmax(1) == rows.labels)

    hits = right([(train, np.append(sources[held], n + held)) for train, _, held in folds])
    before, after = hits[sources[judged]], hits[n + judged]
    recognised = recognised_interval = None
    if name in SYMMETRIES:
        recognised, recognised_interval = _recognised(values[sources] - values[n:], folds, widths)
    else:
        after = right([(np.append(train, n + seen), n + held) for train, seen, held in folds])[n + judged]
    difference, interval = paired_difference(before, after, weights)
    return Invariance(
        name=name,
        n=len(labels),
        accuracy_plain=float(np.average(before, weights=weights)),
        accuracy_augmented=float(np.average(after, weights=weights)),
        difference=difference,
        interval=interval,
        recognised=recognised,
        recognised_interval=recognised_interval,
        keeps=keeps_label(len(labels), interval, recognised_interval),
    )


def _recognised(differences: FloatArray, folds: Sequence[Fold], widths: list[int]) -> tuple[float, Interval]:
    """Share of pairs in which the original is recognised, by the difference of their features; and its interval."""
    n = len(differences)
    splits = [(np.append(seen, n + seen), held) for _, seen, held in folds if len(seen)]
    if not splits:
        return 0.5, (0.0, 1.0)
    pairs = Rows.of(np.repeat([1, 0], n))
    found = cross_validate(np.concatenate([differences, -differences]), pairs, splits, widths=widths)
    held_out = judged_rows(splits)
    margin = found[held_out, 1] - found[held_out, 0]
    hits = (margin > 0) + 0.5 * (margin == 0)
    share, error = float(hits.mean()), accuracy_error(hits)
    return share, (max(0.0, share - Z * error), min(1.0, share + Z * error))
