"""The images that all candidates of a comparison are trained on: one pass, one split, pictures kept for fine-tuning."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.training.batches import predict
from builders.training.data import Pictures
from probes.data.sampling import draw_splits
from probes.data.splits import Rows, held_out_splits
from probes.evaluation.out_of_distribution import Detector
from probes.images.decode import quiet_decoders
from probes.network.features import Features, content_order
from recommender.comparison.ranking import Row
from recommender.errors import RecommendError
from recommender.fit.finish import MOST_IMAGES, fitted_detector
from recommender.fit.images import FloatArray, Numbers, SplitImages, n_read, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import StoredPictures, allocate, whole_numbers
from recommender.fit.plan import SOLVED_AT_ONCE, in_blocks
from recommender.pipeline.decision import Decision
from recommender.progress import Progress

PASS_SHARE = 0.2  # of the budget, for the pass
_CHUNK = 32  # pictures read at a time

Pixels = npt.NDArray[np.uint8]


@dataclass(slots=True, kw_only=True, eq=False)
class SharedImages:
    """Images, the folds that frozen candidates are judged by, and the one fold that fine-tuned ones hold out.

    A frozen candidate is judged on each image by a classifier of the other folds. So on the images that fine-tuned
    candidates hold out, all candidates have learnt from the same images.
    """

    images: SplitImages  # with features pooled at every cut point; the first split is of fine-tuned candidates
    order: Numbers  # of the rows, by content: in it folds do not depend on the form of the data
    training: Numbers  # rows that fine-tuned candidates learn from
    folds: int  # 1 if the user's validation split judges
    pictures: Pixels | None = None  # prepared, rounded, of shape (n, size, size, channels); None if they were not kept
    n_images: int  # that there are, of which these may be a sample
    seconds: float  # that the network takes for these images

    @classmethod
    def of(cls, features: Features, rows: Rows, seed: int, **more: Any) -> "SharedImages":
        images, order = SplitImages.of(features, rows, seed), content_order(features)
        folds = held_out_splits(rows.taken(order), seed=seed)
        parts = [order[train] for train, part in folds if np.isin(images.split.held_out, order[part]).all()]
        if not len(images.split.held_out):
            raise RecommendError(
                "Expected images to hold out: two classes with two images each that are no near-duplicates. Received: "
                "fewer. Add images."
            )
        return cls(images=images, order=order, training=parts[0], folds=len(folds), **more)

    def blocks(self, levels: Sequence[str], rows: Numbers) -> list[FloatArray]:
        """What a head that reads these cut points reads of some rows."""
        return [block[rows] for block in self.images.features.blocks(levels)]

    @property
    def is_sample(self) -> bool:
        return n_read(self.images.features) < self.n_images


def share_images(found: Decision, *, budget: float, seed: int, progress: Progress) -> SharedImages:
    """Read all images once, or as many as a fifth of the budget allows.

    The features of the recommendation are used if they are of all images, or of as many as there is time for.
    """
    index, known = found.index, n_read(found.features)
    everything = whole_sample(index)
    rate = found.seconds.get("network", 0.0) / max(known, 1)
    most = min(int(PASS_SHARE * budget / rate), SOLVED_AT_ONCE) if rate else SOLVED_AT_ONCE
    began = time.perf_counter()
    if known >= everything.n_wanted or most <= known:
        features, pictures, rows = found.features, None, found.rows
        seconds = rate * len(features.files)
    else:
        sample = draw_splits(index, most, seed) if most < everything.n_wanted else everything
        features, pictures = _pass(found, sample, progress)
        rows = rows_of_everything(index, features, seed)
        seconds = time.perf_counter() - began
    return SharedImages.of(features, rows, seed, pictures=pictures, n_images=everything.n_wanted, seconds=seconds)


def _pass(found: Decision, sample: Any, progress: Progress) -> tuple[Features, Pixels | None]:
    """Run the network over the pictures, rounded as they are kept."""
    network = found.network
    size, channels = network.input_size, network.channels
    kept = allocate((sample.n_wanted, size, size, channels), np.uint8)

    def compute(rows: Any, pixels: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        rounded = whole_numbers(pixels)
        if kept is not None:
            kept[rows] = rounded
        return dict(zip(network.cuts, network.run(rounded.astype(np.float32)), strict=False))

    features = run_pass(found.index, sample, size, channels, compute, partial(progress, "images"))
    return features, None if kept is None else kept[: len(features.files)]


def load_pictures(found: Decision, shared: SharedImages, progress: Progress | None = None) -> Pixels | None:
    """The prepared pictures, read if they were not kept; None if there is no room."""
    files, size, channels = shared.images.features.files, found.backbone.input_size, found.backbone.channels
    if shared.pictures is None:
        pictures = allocate((len(files), size, size, channels), np.uint8)
        if pictures is None:
            return None
        stored = StoredPictures(found.index, files, size, channels, rounded=True)
        with quiet_decoders():
            for rows in np.array_split(np.arange(len(files)), -(-len(files) // _CHUNK)):
                pictures[rows] = stored[rows]
                if progress is not None:
                    progress("images", int(rows[-1]) + 1, len(files))
        shared.pictures = pictures
    return shared.pictures


def detector_of(row: Row, found: Decision, shared: SharedImages, seed: int) -> Detector | None:
    """A detector of out-of-distribution images, on what the row's prediction layer reads."""
    images = shared.images
    if row.frozen:
        blocks = shared.blocks(row.strategy.head.levels, images.training)
        return fitted_detector(blocks, None, images.rows.groups[images.training], seed)
    pictures = load_pictures(found, shared)
    if pictures is None:
        return None
    model, inputs = row.build(found.backbone), Pictures(pixels=pictures)
    below = keras.Model(model.input, model.layers[-1].input)
    parts = [images.examples(inputs, rows) for rows in (shared.training, images.split.held_out)]
    drawn = [predict(below, part.sample(MOST_IMAGES, seed)) for part in parts]
    training, held_out = (in_blocks(found, row.strategy.head.levels, features) for features in drawn)
    return fitted_detector(training, held_out, None, seed)
