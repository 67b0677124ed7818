"""Which symmetries leave the user's labels as they are, measured with the linear classifier.

Two questions decide. Does a classifier that was not fitted on an image classify its mirrored copy as well as the image?
And can a classifier recognise which of the two is the original? If it can't, such images occur in both orientations; if
it can, they have a direction. Lin, Sun, Davis and Snavely, Visual chirality, CVPR 2020.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Labels, Rows, balanced_weights, held_out_splits
from probes.evaluation.intervals import accuracy_error, paired_gain, z
from probes.images.prepare import Prepared
from probes.network.features import Network, batches
from probes.separability.discriminant import FloatArray
from probes.separability.linear_probe import cross_validate, joined, judged_rows

# The figures behind the rule are in benchmarks/results/invariance.jsonl: 14 data sets, 250 images each.
# A loss of accuracy that is surely smaller shows that the label is kept; one that is surely larger, that it is not.
CLOSE = 0.02
# In between, the upper end of the interval of how often the original is recognised decides: mirrored photographs 0.49
# to 0.63, cells and scans up to 0.68; letters and chest X-rays 0.71, tiles and digits 0.80 and more.
MOST_RECOGNISED = 0.7
# Mirrored digits and sounds passed in 1 of 18 samples of 40 images, in none of 60 or 100; letters in 2 of 6 of either.
LEAST_IMAGES = 60
LEVEL = 0.95  # of the intervals; the limits were chosen with it

Pixels = npt.NDArray[np.float32]
Interval = tuple[float, float]
Augment = Callable[[Pixels, np.random.Generator], Pixels]  # changes an image of shape (size, size, channels)
# Of one split the training images, and the copies of these and of the held-out images.
Fold = tuple[Labels, Labels, Labels]

# They move pixels and change none: a copy can be recognised only by what the image shows.
SYMMETRIES: Mapping[str, Augment] = {
    "mirror": lambda picture, _: picture[:, ::-1],  # left and right
    "flip": lambda picture, _: picture[::-1],  # top and bottom
    "quarter_turn": lambda picture, rng: np.rot90(picture, 1 + 2 * int(rng.integers(2))),  # one way or the other
}


def augmented_blocks(
    network: Network,
    pictures: Iterable[Prepared],
    names: Sequence[str],
    *,
    seed: int,
    among: Mapping[str, Augment] = SYMMETRIES,
) -> dict[str, dict[str, Pixels]]:
    """Pooled features of augmented images, of shape (images, channels) for each augmentation and cut."""
    # The random changes of one augmentation do not depend on the others.
    rngs = {name: np.random.default_rng([seed, list(among).index(name)]) for name in names}
    outputs: dict[str, list[list[Pixels]]] = {name: [] for name in names}
    for batch in batches(pictures):
        for name in names:
            changed = np.stack([among[name](picture.pixels, rngs[name]) for picture in batch])
            outputs[name].append(network.run(changed)[: len(network.cuts)])
    return {
        name: dict(zip(network.cuts, (np.concatenate(parts) for parts in zip(*done, strict=True)), strict=True))
        for name, done in outputs.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether images keep their label under a symmetry; intervals are those of 95 %."""

    name: str
    n: int  # images that were judged, each by a classifier that was not fitted on its group
    accuracy_plain: float  # the mean over classes if classes have the same weight
    accuracy_augmented: float  # of their copies
    difference: float  # augmented less plain
    interval: Interval
    recognised: float  # share of pairs whose original is recognised, 0.5 by chance
    recognised_interval: Interval
    keeps: bool  # whether training may use it


def keeps_label(n: int, interval: Interval, recognised: Interval) -> bool:
    """The rule, which refuses where fewer than `LEAST_IMAGES` were judged.

    A symmetry passes if surely no more than `CLOSE` is lost, or if not surely more is lost and the original is surely
    recognised in fewer than `MOST_RECOGNISED` of pairs.
    """
    kept = interval[0] >= -CLOSE or (interval[1] >= -CLOSE and recognised[1] <= MOST_RECOGNISED)
    return n >= LEAST_IMAGES and kept


def measure_invariance(
    plain: Sequence[npt.ArrayLike],
    augmented: Mapping[str, Sequence[npt.ArrayLike]],
    rows: Rows,
    chosen: npt.ArrayLike,
    *,
    seed: int,
    balanced: bool = False,
) -> tuple[Invariance, ...]:
    """Measure for each symmetry whether images keep their label under it; empty if none can be held out.

    `plain` are pooled features of each cut that is read, each of shape (n, channels); `augmented` the same of copies of
    the m `chosen` rows. Only training images take part, so that the user's validation split may judge the choice.
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
    name: str, values: FloatArray, rows: Rows, sources: Labels, folds: Sequence[Fold], widths: list[int], balanced: bool
) -> Invariance:
    """Whether copies, the last of the rows, have the label of their sources."""
    n = len(rows) - len(sources)
    judged = np.sort(np.concatenate([held for _, _, held in folds]))
    labels = rows.labels[sources[judged]]
    weights = balanced_weights(labels, np.ones(len(labels))) if balanced else np.ones(len(labels))
    splits = [(train, np.append(sources[held], n + held)) for train, _, held in folds]
    hits = cross_validate(values, rows, splits, widths=widths, balanced=balanced).argmax(1) == rows.labels
    before, after = hits[sources[judged]], hits[n + judged]
    recognised, recognised_interval = _recognised(values[sources] - values[n:], folds, widths)
    gain = paired_gain(before, after, weights=weights, level=LEVEL)
    interval = (gain.low, gain.high)
    return Invariance(
        name=name,
        n=len(labels),
        accuracy_plain=float(np.average(before, weights=weights)),
        accuracy_augmented=float(np.average(after, weights=weights)),
        difference=gain.difference,
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
    return share, (max(0.0, share - z(LEVEL) * error), min(1.0, share + z(LEVEL) * error))
