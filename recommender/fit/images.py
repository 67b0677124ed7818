"""The images of a training: one pass of the network over them, and which of them are held out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from builders.training.data import Examples, Inputs
from probes.data.image_index import ImageIndex
from probes.data.sampling import Draw, Sample
from probes.data.splits import Rows, balanced_weights, held_out_splits
from probes.images.decode import quiet_decoders
from probes.images.prepare import Prepared, Skipped, readable_sample
from probes.network.features import Features, batches, content_order, features_of

MOST_HELD_OUT = 2000  # images: an interval of at most 2 points; more would only make validation checks slower
# Trainings that judge whether fine-tuning helps, each with other images held out. Ours, not yet measured.
MOST_TRIALS = 3
ENOUGH_HELD_OUT = 400  # images, of all trials together, after which there is no further one. Ours.

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """A split, by row numbers."""

    training: Numbers
    held_out: Numbers  # empty if no image can be held out
    judged_by: str  # "validation" for the user's own split, or "held-out part"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitImages:
    """Images, one row each, and which of them are held out."""

    features: Features  # what the pass computed
    rows: Rows  # the images as the splitter sees them
    splits: tuple[HeldOut, ...]  # each image is held out once at most; the first may hold out none

    @classmethod
    def of(cls, features: Features, rows: Rows, seed: int) -> "SplitImages":
        """Split images; the splits depend on their content and the seed alone."""
        return cls(features=features, rows=rows, splits=hold_out(rows, content_order(features), seed))

    @property
    def split(self) -> HeldOut:
        return self.splits[0]

    @property
    def held_out(self) -> Rows:
        return self.rows.taken(self.split.held_out)

    @property
    def training(self) -> Numbers:
        """All rows that may be trained on, in the end."""
        return np.flatnonzero(self.rows.training)

    def examples(self, inputs: Inputs, numbers: Numbers, *, balanced: bool = False) -> Examples:
        """Some rows for a trainer, of inputs of all; weights have the mean 1, if balanced in each class."""
        labels, weights = self.rows.labels[numbers], self.rows.weights[numbers]
        if balanced and len(labels):
            weights = balanced_weights(labels, weights)
        mean = weights.mean() if weights.any() else 1.0
        return Examples(inputs=inputs, rows=numbers, labels=labels, weights=weights / mean)


def hold_out(rows: Rows, order: Numbers, seed: int) -> tuple[HeldOut, ...]:
    """Hold out the user's validation split, or a fifth of each class once or several times; at most `MOST_HELD_OUT`.

    The others are for training, unless they are of the user's validation split. There is one split, or there are up to
    `MOST_TRIALS` until `ENOUGH_HELD_OUT` images are held out. An `order` of the rows that depends on the content of the
    pictures gives the same splits for every form of the data.
    """
    ordered = rows.taken(order)
    judged_by = "validation" if ordered.held_out.any() else "held-out part"
    everything = np.flatnonzero(ordered.training)
    made: list[HeldOut] = []
    for _, part in held_out_splits(ordered, seed=seed)[:MOST_TRIALS]:
        held_out = part
        if judged_by == "held-out part":  # each class keeps a training image, and each group stays on one side
            left = np.setdiff1d(everything, held_out)
            held_out = held_out[np.isin(ordered.labels[held_out], ordered.labels[left])]
            left = np.setdiff1d(everything, held_out)
            held_out = held_out[~np.isin(ordered.groups[held_out], ordered.groups[left])]
        training = np.setdiff1d(everything, held_out)
        if len(held_out) > MOST_HELD_OUT:
            kept = _whole_groups(ordered.groups[held_out], seed)
            if judged_by == "held-out part":
                training = np.union1d(training, held_out[~kept])
            held_out = held_out[kept]
        if len(held_out):
            made.append(HeldOut(training=order[training], held_out=order[held_out], judged_by=judged_by))
        if sum(len(split.held_out) for split in made) >= ENOUGH_HELD_OUT:
            break
    none = HeldOut(training=order[everything], held_out=order[:0], judged_by=judged_by)
    return tuple(made) or (none,)


def _whole_groups(groups: Numbers, seed: int) -> npt.NDArray[np.bool_]:
    """Mask of random whole groups of at most `MOST_HELD_OUT` images, at least one group."""
    names, numbers = np.unique(groups, return_inverse=True)
    rank = np.argsort(np.random.default_rng([seed, len(groups)]).permutation(len(names)))[numbers]
    counts = np.cumsum(np.bincount(rank, minlength=len(names)))
    return np.asarray(rank < max(1, int(np.searchsorted(counts, MOST_HELD_OUT, side="right"))))


def whole_sample(index: ImageIndex) -> Sample:
    """All training and validation images."""
    train, validation = (
        Draw(quota=tuple(len(names) for names in files), candidates=files) for files in (index.files, index.validation)
    )
    return Sample(train=train, validation=validation)


def run_pass(
    index: ImageIndex,
    sample: Sample,
    size: int,
    channels: int,
    compute: Callable[[Numbers, FloatArray], dict[str, FloatArray]],
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Read a sample once and compute features of it, batch by batch; pictures are not kept.

    `compute` is called with the row numbers of a batch and its pictures, prepared for that size and these channels, and
    returns pooled features by name. Rows are in the order in which they were read.
    """
    skipped = Skipped()
    pictures = readable_sample(index, sample, size, channels, skipped)
    kept: list[Prepared] = []
    pooled: list[dict[str, FloatArray]] = []
    with quiet_decoders():
        for batch in batches(pictures):
            rows = np.arange(len(kept), len(kept) + len(batch))
            pooled.append(compute(rows, np.stack([item.pixels for item in batch])))
            kept.extend(replace(item, pixels=np.empty(0, np.float32)) for item in batch)
            if progress is not None:
                progress(len(kept), sample.n_wanted)
    names = pooled[0] if pooled else {}
    return features_of(kept, skipped, pooled={name: np.concatenate([part[name] for part in pooled]) for name in names})


def n_read(features: Features) -> int:
    """Number of images that were read, with those that were skipped."""
    return len(features.files) + len(features.skipped.failures) + len(features.skipped.copies)


def rows_of_everything(index: ImageIndex, features: Features, seed: int) -> Rows:
    """The images that were read as the splitter sees them: near-duplicates and the user's groups stay together."""
    from probes.quality.repeats import find_repeats
    from recommender.pipeline.data_checks import inspect_sample
    from recommender.pipeline.network_pass import rows_of

    inspected = inspect_sample(index, features, with_test=0, seed=seed)
    return rows_of(index, features, inspected, find_repeats(inspected, index))
