"""Which augmentations leave a user's labels as they are: asked of the linear classifier, not of a data set's name.

A mirrored flower is a flower, a mirrored 2 is no 2. Two questions tell. Does a classifier that has not seen an image
know its augmented copy as well as the image? And can a classifier tell which of the two is the original? Where it can't,
pictures of that kind come both ways round; where it can, they have a direction.

Reference:
    Lin, Sun, Davis and Snavely, Visual chirality, CVPR 2020: what a mirror changes is what tells a mirrored picture.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.classifier import cross_validate, judged_rows
from probes.features import BATCH_SIZE, Network, Tapped, tapped
from probes.linear_probe import accuracy_error
from probes.reading import Prepared
from probes.splits import Rows, balanced_weights, held_out_splits

SMALLEST_AREA = 0.7  # share of a picture's area that a crop keeps at least; what training crops
BRIGHTNESS = 0.2  # by which a picture may be made brighter or darker, as a share
MOST_LOST = 0.1
MOST_TOLD = 0.7
LEAST_IMAGES = 100
Z = 1.96  # standard errors of a 95 % interval

Pixels = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def _mirror(picture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """Left and right change places."""
    return picture[:, ::-1]


def _flip(picture: Pixels, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """Top and bottom change places."""
    return picture[::-1]


def _quarter_turn(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A quarter turn, one way or the other."""
    return np.rot90(picture, 1 + 2 * int(rng.integers(2)))


def _crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A square part of at least `SMALLEST_AREA`, enlarged to the whole."""
    share = float(np.sqrt(rng.uniform(SMALLEST_AREA, 1.0)))
    for axis in (0, 1):
        picture = _stretched(picture, rng.uniform(0.0, 1.0 - share), share, axis)
    return picture


def _stretched(picture: Pixels, start: float, share: float, axis: int) -> Pixels:
    """A part of an axis, both as shares of its length, brought to the full length by linear interpolation."""
    length = picture.shape[axis]
    places = np.clip(start * length + share * (np.arange(length) + 0.5) - 0.5, 0, length - 1)
    below = np.floor(places).astype(np.int64)
    weight = (places - below).astype(np.float32).reshape((-1,) + (1,) * (picture.ndim - 1 - axis))
    here, there = (np.take(picture, rows, axis) for rows in (below, np.minimum(below + 1, length - 1)))
    return np.asarray(here + weight * (there - here))


def _brightness(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """All colours times one factor; alpha stays."""
    changed = picture.copy()
    colours = changed[..., :3]
    np.clip(colours * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)), 0, 255, out=colours)
    return changed


_AUGMENTATIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "mirror": _mirror,
    "flip": _flip,
    "quarter_turn": _quarter_turn,
    "crop": _crop,
    "brightness": _brightness,
}
CANDIDATES = tuple(_AUGMENTATIONS)
# These move pixels and change none: if the copy can be told, then by what is shown. A crop or a change of brightness
# loses detail, and is told by that.
SYMMETRIES = ("mirror", "flip", "quarter_turn")


def augment(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    """Change pictures, each in its own way.

    Args:
        pixels: float32 of shape (n, size, size, channels), 0 to 255.
        name: one of `CANDIDATES`.
        rng: what is left to chance.

    Returns:
        Pictures of the same shape, type and range.
    """
    return np.stack([_AUGMENTATIONS[name](picture, rng) for picture in pixels])


def augmented_blocks(
    network: Network,
    pictures: Iterable[Prepared],
    names: Sequence[str] = CANDIDATES,
    *,
    seed: int,
    run: Tapped | None = None,
) -> dict[str, dict[str, Pixels]]:
    """Run the network over augmented pictures.

    Args:
        network: the network.
        pictures: a stream, at least one; no picture is kept.
        names: the augmentations, of `CANDIDATES`.
        seed: of what is left to chance.
        run: the network compiled by `tapped`, if it is at hand.

    Returns:
        For each augmentation and each cut the pooled features, of shape (pictures, channels), in the stream's order.
    """
    run = run or tapped(network)
    chance = {name: np.random.default_rng([seed, CANDIDATES.index(name)]) for name in names}
    outputs: dict[str, list[list[Pixels]]] = {name: [] for name in names}
    for batch in _batches(pictures):
        for name in names:
            pooled = run(augment(batch, name, chance[name]))[: len(network.cuts)]
            outputs[name].append([block.numpy() for block in pooled])
    return {
        name: dict(zip(network.cuts, (np.concatenate(parts) for parts in zip(*done, strict=True)), strict=True))
        for name, done in outputs.items()
    }


def _batches(pictures: Iterable[Prepared]) -> Iterator[Pixels]:
    batch: list[Pixels] = []
    for picture in pictures:
        batch.append(picture.pixels)
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether images keep their label under an augmentation.

    Attributes:
        name: of the augmentation.
        n: images that were judged, each by a classifier that had not seen its group.
        accuracy_plain: share of them that is right as they are, 0 to 1; where classes count alike, the mean over classes.
        accuracy_augmented: the same of their augmented copies.
        difference: augmented less plain.
        interval: its 95 % interval.
        told: share of pairs in which another classifier knows the original from the copy, 0.5 by chance; None of what
            is no symmetry.
        told_interval: its 95 % interval.
        keeps: whether training may use it.
    """

    name: str
    n: int
    accuracy_plain: float
    accuracy_augmented: float
    difference: float
    interval: tuple[float, float]
    told: float | None
    told_interval: tuple[float, float] | None
    keeps: bool


def keeps_label(n: int, interval: tuple[float, float], told: float | None) -> bool:
    """The rule. Where too little is known, an image is left as it is.

    Args:
        n: images that were judged.
        interval: of the change of accuracy.
        told: share of pairs in which the original is known from the copy; None of what is no symmetry.
    """
    if told is None:
        return interval[0] >= -MOST_LOST
    return n >= LEAST_IMAGES and interval[1] >= 0 and told <= MOST_TOLD


def paired_difference(before: Mask, after: Mask, weights: FloatArray) -> tuple[float, tuple[float, float]]:
    """Change of an accuracy over the same n images, and its 95 % interval, which is never empty.

    Args:
        before: whether each image was right, of shape (n,).
        after: the same afterwards.
        weights: of the images; they then count as (sum of weights)² / sum of weights² images.

    Reference:
        Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired
        data, 2012.
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
    """Ask of each augmentation whether images keep their label under it.

    Only training images play a part: what is chosen by them may then be judged on the user's validation split.

    Args:
        plain: pooled features of each cut that is read, each of shape (n, channels).
        augmented: for each augmentation the same of augmented copies of m of the images, each of shape (m, channels).
        rows: the n images.
        chosen: which of them the copies are of, row numbers of shape (m,).
        seed: of the folds.
        balanced: whether every class counts alike.

    Returns:
        One answer for each augmentation, in the order given; none where too few images can be held out.
    """
    training = np.flatnonzero(rows.training)
    copied = np.asarray(chosen, np.int64)
    kept = rows.training[copied]
    sources = np.searchsorted(training, copied[kept])
    features, widths = _joined(plain)
    own = rows.only(rows.training)
    splits = held_out_splits(own, seed=seed)
    if not np.isin(sources, judged_rows(splits) if splits else []).any():
        return ()
    pairs = _Pairs(features[training], own, sources, widths, splits, balanced)
    return tuple(pairs.ask(name, _joined(blocks)[0][kept]) for name, blocks in augmented.items())


def _joined(blocks: Sequence[npt.ArrayLike]) -> tuple[FloatArray, list[int]]:
    parts = [np.asarray(block, np.float64) for block in blocks]
    return np.concatenate(parts, axis=1), [part.shape[1] for part in parts]


class _Pairs:
    """Images, and copies of some of them that are held out, or learned from, with their source."""

    def __init__(
        self,
        features: FloatArray,
        rows: Rows,
        sources: Labels,
        widths: Sequence[int],
        splits: Sequence[tuple[Labels, Labels]],
        balanced: bool,
    ) -> None:
        self.features, self.rows, self.sources = features, rows, sources
        self.widths, self.balanced = widths, balanced
        self.splits = [(train, held_out) for train, held_out in splits if np.isin(sources, held_out).any()]
        self.judged = np.isin(sources, judged_rows(splits))
        labels = rows.labels[sources[self.judged]]
        self.counted = balanced_weights(labels, np.ones(len(labels))) if balanced else np.ones(len(labels))
        self.both = Rows.of(
            np.append(rows.labels, rows.labels[sources]),
            np.append(rows.groups, rows.groups[sources]),
            weights=np.append(rows.weights, rows.weights[sources]),
        )

    def ask(self, name: str, copies: FloatArray) -> Invariance:
        """Whether images and these copies of them have the same label."""
        symmetry = name in SYMMETRIES
        plain, changed = self._hits(copies, learned=False)
        if not symmetry:
            changed = self._hits(copies, learned=True)[1]
        difference, interval = paired_difference(plain, changed, self.counted)
        told, told_interval = self._told(copies) if symmetry else (None, None)
        return Invariance(
            name=name,
            n=len(plain),
            accuracy_plain=float(np.average(plain, weights=self.counted)),
            accuracy_augmented=float(np.average(changed, weights=self.counted)),
            difference=difference,
            interval=interval,
            told=told,
            told_interval=told_interval,
            keeps=keeps_label(len(plain), interval, told),
        )

    def _copies_of(self, numbers: Labels) -> Labels:
        return len(self.rows) + np.flatnonzero(np.isin(self.sources, numbers))

    def _hits(self, copies: FloatArray, *, learned: bool) -> tuple[Mask, Mask]:
        """Whether the images that have copies, and these, are known by a classifier that has not seen their group."""
        splits = [
            (np.append(train, self._copies_of(train)) if learned else train, np.append(out, self._copies_of(out)))
            for train, out in self.splits
        ]
        values = np.concatenate([self.features, copies])
        found = cross_validate(values, self.both, splits, widths=self.widths, balanced=self.balanced)
        hits = found.argmax(1) == self.both.labels
        return hits[self.sources][self.judged], hits[len(self.rows) :][self.judged]

    def _told(self, copies: FloatArray) -> tuple[float, tuple[float, float]]:
        """How often the original is known from its copy, by the difference of their features."""
        n = len(copies)
        differences = self.features[self.sources] - copies
        pairs = Rows.of(np.repeat([1, 0], n))
        splits = []
        for train, held_out in self.splits:
            numbers = [np.flatnonzero(np.isin(self.sources, part)) for part in (train, held_out)]
            splits.append((np.append(numbers[0], n + numbers[0]), np.append(numbers[1], n + numbers[1])))
        found = cross_validate(np.concatenate([differences, -differences]), pairs, splits, widths=self.widths)
        margin = found[:n, 1] - found[:n, 0]
        hits = ((margin > 0) + 0.5 * (margin == 0))[self.judged]
        share = float(hits.mean())
        error = accuracy_error(hits)
        return share, (max(0.0, share - Z * error), min(1.0, share + Z * error))
