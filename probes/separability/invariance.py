"""Which augmentations leave a user's labels as they are: asked of the linear classifier, not of a data set's name.

A mirrored flower is a flower, a mirrored 2 is no 2. Two questions tell. Does a classifier that has not seen an image
know its augmented copy as well as the image? And can a classifier tell which of the two is the original? Where it
can't, pictures of that kind come both ways round; where it can, they have a direction.

Reference:
    Lin, Sun, Davis and Snavely, Visual chirality, CVPR 2020: what a mirror changes is what tells a mirrored picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.separability.augmentations import SYMMETRIES
from probes.separability.classifier import cross_validate, fit_quietly, fitting_weights, judged_rows, linear_classifier
from probes.separability.linear_probe import accuracy_error

# The figures behind the rule are in benchmarks/results/invariance.jsonl: 14 data sets, 250 images each.
# A loss of accuracy that is surely smaller shows a label that is kept; one that is surely larger, one that is not.
CLOSE = 0.02
# Between the two it counts how often the original is known from its copy, by the upper end of the interval: mirrored
# photographs 0.49 to 0.63, cells and scans up to 0.68; letters and chest X-rays 0.71, tiles and digits 0.80 and more.
MOST_TOLD = 0.7
# What crops and brightness may have lost: 0.11 of tiles and 0.12 of spectrograms, at most 0.07 of all others. In trials
# fine-tuning lost nothing by cropping even those two, so that the line is drawn beyond them.
MOST_LOST = 0.15
# Mirrored digits and sounds passed in 1 of 18 samples of 40 images, in none of 60 or 100; letters in 2 of 6 of either.
LEAST_IMAGES = 60
Z = 1.96  # standard errors of a 95 % interval

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether images keep their label under an augmentation.

    Attributes:
        name: of the augmentation.
        n: images that were judged, each by a classifier that had not seen its group.
        accuracy_plain: share of them that is right as they are, 0 to 1; the mean over classes where these count alike.
        accuracy_augmented: the same of their augmented copies; of what is no symmetry by a classifier that has learned
            from other images' copies, too, so that what is missed is not there to be seen.
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
    interval: Interval
    told: float | None
    told_interval: Interval | None
    keeps: bool


def keeps_label(n: int, interval: Interval, told: Interval | None) -> bool:
    """The rule. Where too little is known, images stay as they are.

    A symmetry passes where surely no more than `CLOSE` is lost, or where not surely more is lost and the original is
    surely known in fewer than `MOST_TOLD` of pairs; any other augmentation where surely less than `MOST_LOST` is lost.

    Args:
        n: images that were judged.
        interval: of the change of accuracy.
        told: of the share of pairs in which the original is known from the copy; None of what is no symmetry.
    """
    if n < LEAST_IMAGES:
        return False
    if told is None:
        return interval[0] >= -MOST_LOST
    return interval[0] >= -CLOSE or (interval[1] >= -CLOSE and told[1] <= MOST_TOLD)


def paired_difference(before: Mask, after: Mask, weights: FloatArray) -> tuple[float, Interval]:
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
    """Images, and those of them that have a copy, which is held out, or learned from, together with them."""

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
        self.plain = [self._fitted(features, rows, train) for train, _ in self.splits]
        self.known = self._hits(self.plain, features[sources])

    def ask(self, name: str, copies: FloatArray) -> Invariance:
        """Whether images and these copies of them have the same label."""
        symmetry = name in SYMMETRIES
        known = self._hits(self.plain if symmetry else self._learned(copies), copies)
        difference, interval = paired_difference(self.known, known, self.counted)
        told, told_interval = self._told(copies) if symmetry else (None, None)
        return Invariance(
            name=name,
            n=len(known),
            accuracy_plain=float(np.average(self.known, weights=self.counted)),
            accuracy_augmented=float(np.average(known, weights=self.counted)),
            difference=difference,
            interval=interval,
            told=told,
            told_interval=told_interval,
            keeps=keeps_label(len(known), interval, told_interval),
        )

    def _fitted(self, values: FloatArray, rows: Rows, train: Labels) -> Pipeline:
        weights = fitting_weights(rows, train, self.balanced)
        return fit_quietly(linear_classifier(len(train), self.widths), values[train], rows.labels[train], weights)

    def _learned(self, copies: FloatArray) -> list[Pipeline]:
        """Classifiers that have seen copies, too."""
        rows, sources = self.rows, self.sources
        weights = np.append(rows.weights, rows.weights[sources])
        both = Rows.of(np.append(rows.labels, rows.labels[sources]), weights=weights)
        values = np.concatenate([self.features, copies])
        parts = [np.append(train, len(rows) + np.flatnonzero(np.isin(sources, train))) for train, _ in self.splits]
        return [self._fitted(values, both, part) for part in parts]

    def _hits(self, classifiers: Sequence[Pipeline], values: FloatArray) -> Mask:
        """Whether the images that have copies, or these, are known by the classifier that has not seen their group."""
        hits = np.zeros(len(self.sources), bool)
        for classifier, (_, held_out) in zip(classifiers, self.splits, strict=True):
            at = np.isin(self.sources, held_out)
            hits[at] = classifier.predict(values[at]) == self.rows.labels[self.sources[at]]
        return hits[self.judged]

    def _told(self, copies: FloatArray) -> tuple[float, Interval]:
        """How often the original is known from its copy, by the difference of their features."""
        n = len(copies)
        differences = self.features[self.sources] - copies
        pairs = Rows.of(np.repeat([1, 0], n))
        parts = [[np.flatnonzero(np.isin(self.sources, part)) for part in split] for split in self.splits]
        splits = [(np.append(train, n + train), held_out) for train, held_out in parts if len(train)]
        if not splits:
            return 0.5, (0.0, 1.0)
        found = cross_validate(np.concatenate([differences, -differences]), pairs, splits, widths=self.widths)
        held_out = judged_rows(splits)
        margin = found[held_out, 1] - found[held_out, 0]
        hits = (margin > 0) + 0.5 * (margin == 0)
        share, error = float(hits.mean()), accuracy_error(hits)
        return share, (max(0.0, share - Z * error), min(1.0, share + Z * error))
