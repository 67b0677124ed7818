"""The images of a training: one pass of the network over them, and their split."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from builders.training.data import Examples, Inputs
from probes.data.image_index import ByClass, ImageIndex
from probes.data.sampling import Draw, Sample
from probes.data.splits import Rows, balanced_weights
from probes.images.decode import quiet_decoders
from probes.images.prepare import Prepared, Skipped, readable
from probes.network.features import Features, batches, features_of
from recommender.fit.split import HeldOut, hold_out

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitImages:
    """Images, one row each, and which of them are held out.

    Attributes:
        features: what the pass computed.
        rows: the images as the splitter sees them.
        split: training and held-out rows.
    """

    features: Features
    rows: Rows
    split: HeldOut

    @classmethod
    def of(cls, features: Features, rows: Rows, seed: int) -> "SplitImages":
        """Split images; the split depends on their content and the seed alone."""
        return cls(features=features, rows=rows, split=hold_out(rows, content_order(features), seed))

    @property
    def held_out(self) -> Rows:
        """The held-out rows."""
        return self.rows.taken(self.split.held_out)

    def examples(self, inputs: Inputs, numbers: Numbers, *, balanced: bool = False) -> Examples:
        """Some rows for a trainer; weights have the mean 1.

        Args:
            inputs: of all rows.
            numbers: of the rows, of shape (n,).
            balanced: whether all classes get the same total weight.
        """
        labels, weights = self.rows.labels[numbers], self.rows.weights[numbers]
        if balanced and len(labels):
            weights = balanced_weights(labels, weights)
        mean = weights.mean() if weights.any() else 1.0
        return Examples(inputs=inputs, rows=numbers, labels=labels, weights=weights / mean)


def whole_sample(index: ImageIndex) -> Sample:
    """All training and validation images."""
    return Sample(train=_all(index.files), validation=_all(index.validation))


def _all(files: ByClass) -> Draw:
    return Draw(quota=tuple(len(names) for names in files), candidates=files)


def run_pass(
    index: ImageIndex,
    sample: Sample,
    size: int,
    channels: int,
    compute: Callable[[Numbers, FloatArray], dict[str, FloatArray]],
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Read a sample once and compute features of it, batch by batch.

    Args:
        index: the images.
        sample: which of them to read.
        size: height and width of prepared pictures in px.
        channels: of prepared pictures.
        compute: called with the row numbers of a batch and its pictures; returns pooled features by name.
        progress: called with the images done and wanted.

    Returns:
        One row an image, in the order in which they were read; pictures are not kept.
    """
    skipped = Skipped()
    kept: list[Prepared] = []
    pooled: list[dict[str, FloatArray]] = []

    def pictures() -> Iterator[Prepared]:
        for draw, validation in ((sample.train, False), (sample.validation, True)):
            yield from readable(index, draw, size, channels, skipped, validation=validation)

    with quiet_decoders():
        for batch in batches(pictures()):
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


def content_order(features: Features) -> Numbers:
    """Rows in an order that depends on the content of the pictures alone, of shape (n,)."""
    keys = [(facts.digest, label) for facts, label in zip(features.facts, features.labels, strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def rows_of_everything(index: ImageIndex, features: Features, seed: int) -> Rows:
    """The images that were read as the splitter sees them: near-duplicates and the user's groups stay together."""
    from probes.quality.repeats import find_repeats
    from recommender.pipeline.data_checks import inspect_sample
    from recommender.pipeline.network_pass import rows_of

    inspected = inspect_sample(index, features, with_test=0, seed=seed)
    return rows_of(index, features, inspected, find_repeats(inspected, index))
