"""Which augmentations leave the user's labels as they are, measured with the linear classifier.

A mirrored flower is a flower, a mirrored 2 is no 2. Two questions decide. Does a classifier that was not fitted on an
image classify its augmented copy as well as the image? And can a classifier recognise which of the two is the original?
If it can't, such images occur in both orientations; if it can, they have a direction.

Reference:
    Lin, Sun, Davis and Snavely, Visual chirality, CVPR 2020: what a mirror changes is how a mirrored image is
    recognised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.separability.augmentations import SYMMETRIES
from probes.separability.classifier import Split, cross_validate, fit_rows, joined, judged_rows
from probes.separability.linear_probe import accuracy_error

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Whether images keep their label under an augmentation.

    Attributes:
        name: of the augmentation.
        n: images that were judged, each by a classifier that was not fitted on its group.
        accuracy_plain: share of them that is right, 0 to 1; the mean over classes if classes have the same weight.
        accuracy_augmented: the same for their copies. Unless the augmentation is a symmetry, the classifier was fitted
            on copies of other images, too, so that a loss means that information is missing.
        difference: augmented less plain.
        interval: its 95 % interval.
        recognised: share of pairs in which another classifier recognises the original, 0.5 by chance; None unless the
            augmentation is a symmetry.
        recognised_interval: its 95 % interval.
        keeps: whether training may use it.
    """

    name: str
    n: int
    accuracy_plain: float
    accuracy_augmented: float
    difference: float
    interval: Interval
    recognised: float | None
    recognised_interval: Interval | None
    keeps: bool


def keeps_label(n: int, interval: Interval, recognised: Interval | None) -> bool:
    """The rule, which refuses where too little is known.

    A symmetry passes if surely no more than `CLOSE` is lost, or if not surely more is lost and the original is surely
    recognised in fewer than `MOST_RECOGNISED` of pairs; any other augmentation if surely less than `MOST_LOST` is lost.

    Args:
        n: images that were judged.
        interval: of the change of accuracy.
        recognised: interval of the share of pairs in which the original is recognised; None unless a symmetry.
    """
    if n < LEAST_IMAGES:
        return False
    if recognised is None:
        return interval[0] >= -MOST_LOST
    return interval[0] >= -CLOSE or (interval[1] >= -CLOSE and recognised[1] <= MOST_RECOGNISED)


def paired_difference(before: Mask, after: Mask, weights: FloatArray) -> tuple[float, Interval]:
    """Change of an accuracy over the same n images, and its 95 % interval, which is never empty.

    Args:
        before: whether each image was right, of shape (n,).
        after: the same afterwards.
        weights: of the images, which then count as (sum of weights)² / sum of weights² images.

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
    """Measure for each augmentation whether images keep their label under it.

    Only training images take part, so that the choice may be judged on the user's validation split.

    Args:
        plain: pooled features of each cut that is read, each of shape (n, channels).
        augmented: for each augmentation the same of augmented copies of m of the images, each of shape (m, channels).
        rows: the n images.
        chosen: row numbers of the copied images, of shape (m,).
        seed: of the folds.
        balanced: whether every class has the same weight.

    Returns:
        One answer for each augmentation, in the order given; none if too few images can be held out.
    """
    training = np.flatnonzero(rows.training)
    copied = np.asarray(chosen, np.int64)
    kept = rows.training[copied]
    features, widths = joined(plain)
    own = rows.only(rows.training)
    splits = held_out_splits(own, seed=seed)
    pairs = _Pairs(
        features=features[training],
        rows=own,
        sources=np.searchsorted(training, copied[kept]),
        widths=widths,
        splits=splits,
        balanced=balanced,
    )
    if not pairs.judged.any():
        return ()
    answers = pairs.fitted(pairs.features, own, [train for train, _ in splits])
    return tuple(pairs.measure(name, joined(blocks)[0][kept], answers) for name, blocks in augmented.items())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pairs:
    """Training images, some of which have a copy that is held out, or fitted on, together with its source.

    Attributes:
        features: of the images, of shape (n, d).
        rows: the n images.
        sources: row number of each copy's source, of shape (m,).
        widths: of the blocks of features.
        splits: training and held-out rows.
        balanced: whether every class has the same weight.
    """

    features: FloatArray
    rows: Rows
    sources: Labels
    widths: list[int]
    splits: Sequence[Split]
    balanced: bool

    @property
    def judged(self) -> Mask:
        """Copies whose source some split holds out, of shape (m,)."""
        return np.isin(self.sources, judged_rows(self.splits) if self.splits else [])

    def measure(self, name: str, copies: FloatArray, classifiers: Sequence[Pipeline]) -> Invariance:
        """Whether images and these copies of them have the same label."""
        labels = self.rows.labels[self.sources[self.judged]]
        weights = balanced_weights(labels, np.ones(len(labels))) if self.balanced else np.ones(len(labels))
        symmetry = name in SYMMETRIES
        plain = self._hits(classifiers, self.features[self.sources])
        augmented = self._hits(classifiers if symmetry else self._fitted_on_both(copies), copies)
        difference, interval = paired_difference(plain, augmented, weights)
        recognised, recognised_interval = self._recognised(copies) if symmetry else (None, None)
        return Invariance(
            name=name,
            n=len(labels),
            accuracy_plain=float(np.average(plain, weights=weights)),
            accuracy_augmented=float(np.average(augmented, weights=weights)),
            difference=difference,
            interval=interval,
            recognised=recognised,
            recognised_interval=recognised_interval,
            keeps=keeps_label(len(labels), interval, recognised_interval),
        )

    def fitted(self, features: FloatArray, rows: Rows, parts: Sequence[Labels]) -> list[Pipeline]:
        """One classifier for each split, fitted on that part of the rows."""
        return [fit_rows(features, rows, part, widths=self.widths, balanced=self.balanced) for part in parts]

    def _fitted_on_both(self, copies: FloatArray) -> list[Pipeline]:
        """Classifiers that are fitted on images and copies."""
        rows, sources = self.rows, self.sources
        weights = np.append(rows.weights, rows.weights[sources])
        both = Rows.of(np.append(rows.labels, rows.labels[sources]), weights=weights)
        parts = [np.append(train, len(rows) + np.flatnonzero(np.isin(sources, train))) for train, _ in self.splits]
        return self.fitted(np.concatenate([self.features, copies]), both, parts)

    def _hits(self, classifiers: Sequence[Pipeline], values: FloatArray) -> Mask:
        """Whether the classifier that was not fitted on its group is right on each value, of shape (judged,)."""
        hits = np.zeros(len(self.sources), bool)
        for classifier, (_, held_out) in zip(classifiers, self.splits, strict=True):
            at = np.isin(self.sources, held_out)
            if at.any():
                hits[at] = classifier.predict(values[at]) == self.rows.labels[self.sources[at]]
        return hits[self.judged]

    def _recognised(self, copies: FloatArray) -> tuple[float, Interval]:
        """Share of pairs in which the original is recognised, by the difference of their features; and its interval."""
        n = len(copies)
        differences = self.features[self.sources] - copies
        pairs = Rows.of(np.repeat([1, 0], n))
        parts = [[np.flatnonzero(np.isin(self.sources, part)) for part in split] for split in self.splits]
        splits = [(np.append(train, n + train), held_out) for train, held_out in parts if len(train) and len(held_out)]
        if not splits:
            return 0.5, (0.0, 1.0)
        found = cross_validate(np.concatenate([differences, -differences]), pairs, splits, widths=self.widths)
        held_out = judged_rows(splits)
        margin = found[held_out, 1] - found[held_out, 0]
        hits = (margin > 0) + 0.5 * (margin == 0)
        share, error = float(hits.mean()), accuracy_error(hits)
        return share, (max(0.0, share - Z * error), min(1.0, share + Z * error))
