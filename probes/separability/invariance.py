"""Which augmentations leave the user's labels as they are, measured with the linear classifier.

A mirrored flower is a flower, a mirrored 2 is no 2. Two questions decide. Does a classifier that was not fitted on an
image classify its augmented copy as well as the image? And can a classifier recognise which of the two is the original?
If it can't, such images occur in both orientations; if it can, they have a direction. Lin, Sun, Davis and Snavely,
Visual chirality, CVPR 2020: what a mirror changes is how a mirrored image is recognised.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.splits import Labels, Rows, balanced_weights, held_out_splits
from probes.evaluation.intervals import accuracy_error, paired_gain, z
from probes.images.prepare import Prepared
from probes.network.features import Network, batches
from probes.separability.discriminant import FloatArray, Split
from probes.separability.linear_probe import cross_validate, joined, judged_rows

SMALLEST_AREA = 0.7  # share of the image's area that a crop keeps at least; what training crops
BRIGHTNESS = 0.2  # largest relative change of brightness
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
LEVEL = 0.95  # of the intervals; the limits were chosen with it

Pixels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Interval = tuple[float, float]
# Of one split the training images, and the copies of these and of the held-out images.
Fold = tuple[Labels, Labels, Labels]


def _crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A square part of at least `SMALLEST_AREA`, enlarged to the whole by linear interpolation."""
    share = float(np.sqrt(rng.uniform(SMALLEST_AREA, 1.0)))
    for axis in (0, 1):
        length = picture.shape[axis]
        start = rng.uniform(0.0, 1.0 - share) * length
        places = np.clip(start + share * (np.arange(length) + 0.5) - 0.5, 0, length - 1)
        below = np.floor(places).astype(np.int64)
        weight = (places - below).astype(np.float32).reshape((-1,) + (1,) * (picture.ndim - 1 - axis))
        here, there = (np.take(picture, rows, axis) for rows in (below, np.minimum(below + 1, length - 1)))
        picture = here + weight * (there - here)
    return picture


def _brightness(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """All colours times one factor; alpha stays."""
    changed = picture.copy()
    colours = changed[..., :3]
    np.clip(colours * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)), 0, 255, out=colours)
    return changed


_AUGMENTATIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "mirror": lambda picture, _: picture[:, ::-1],  # left and right
    "flip": lambda picture, _: picture[::-1],  # top and bottom
    "quarter_turn": lambda picture, rng: np.rot90(picture, 1 + 2 * int(rng.integers(2))),  # one way or the other
    "crop": _crop,
    "brightness": _brightness,
}
CANDIDATES = tuple(_AUGMENTATIONS)
# These move pixels and change none: a copy can be recognised only by what the image shows. A crop or a change of
# brightness loses detail, by which every copy can be recognised.
SYMMETRIES = ("mirror", "flip", "quarter_turn")


def augment(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Change each of several images, of shape (n, size, size, channels) and 0 to 255, at random."""
    return np.stack([_AUGMENTATIONS[name](picture, rng) for picture in pixels])


def augmented_blocks(
    network: Network, pictures: Iterable[Prepared], names: Sequence[str] = CANDIDATES, *, seed: int
) -> dict[str, dict[str, Pixels]]:
    """Pooled features of augmented images, of shape (images, channels) for each augmentation and cut."""
    # The random changes of one augmentation do not depend on the others.
    rngs = {name: np.random.default_rng([seed, CANDIDATES.index(name)]) for name in names}
    outputs: dict[str, list[list[Pixels]]] = {name: [] for name in names}
    for batch in batches(pictures):
        pixels = np.stack([picture.pixels for picture in batch])
        for name in names:
            outputs[name].append(network.run(augment(pixels, name, rngs[name]))[: len(network.cuts)])
    return {
        name: dict(zip(network.cuts, (np.concatenate(parts) for parts in zip(*done, strict=True)), strict=True))
        for name, done in outputs.items()
    }


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


def measure_invariance(
    plain: Sequence[npt.ArrayLike],
    augmented: Mapping[str, Sequence[npt.ArrayLike]],
    rows: Rows,
    chosen: npt.ArrayLike,
    *,
    seed: int,
    balanced: bool = False,
) -> tuple[Invariance, ...]:
    """Measure for each augmentation whether images keep their label under it; empty if none can be held out.

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
