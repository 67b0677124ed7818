"""Labelled inputs as a training step reads them: batches of rows, augmented or plain."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

PREDICTION_BATCH = 64
SMALLEST_AREA = 0.7  # of a cropped picture. Szegedy et al. (arXiv 1409.4842) crop to 8 %, for training from scratch

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Inputs(Protocol):
    """Inputs of a model by row number, of shape (rows, ...); varied ones with random augmentation."""

    def plain(self, rows: Rows) -> FloatArray: ...

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Prepared pictures, mirrored and cropped at random."""

    pixels: Any  # 0 to 255, read by `pixels[rows]` with shape (rows, size, size, channels)
    mirror: bool = False  # left to right
    crop: bool = False  # to 70 to 100 % of the area, and enlarged

    def plain(self, rows: Rows) -> FloatArray:
        return np.asarray(self.pixels[rows], np.float32)

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        flipped = rng.random(len(rows)) < 0.5
        side = np.sqrt(rng.uniform(SMALLEST_AREA, 1.0, len(rows)))
        top, left = rng.random((2, len(rows))) * (1.0 - side)
        batch = self.plain(rows)
        if self.crop:
            import tensorflow as tf

            boxes = np.stack([top, left, top + side, left + side], axis=1).astype(np.float32)  # as shares of the side
            with tf.device("CPU"):
                batch = np.array(tf.image.crop_and_resize(batch, boxes, np.arange(len(batch)), batch.shape[1:3]))
        if self.mirror:
            batch[flipped] = batch[flipped, :, ::-1]
        return batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Labelled inputs; all arrays have the shape (n,)."""

    inputs: Inputs  # of these images, and possibly of others
    rows: Rows  # of the images in `inputs`
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]  # in the loss

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, most: int, seed: int) -> "Examples":
        """At most `most` of the examples, drawn at random, in their order."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))

    def take(self, numbers: Any) -> "Examples":
        """Some of the examples, by numbers or a slice."""
        rows, labels, weights = self.rows[numbers], self.labels[numbers], self.weights[numbers]
        return Examples(inputs=self.inputs, rows=rows, labels=labels, weights=weights)


def mixup(
    inputs: FloatArray, targets: FloatArray, weights: FloatArray, share: float, partners: Rows
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mix each of n examples with a partner, of which the weight counts, too. Zhang et al., mixup, ICLR 2018.

    Targets have the shape (n, classes); `share` of the example itself is in [0, 1].
    """
    own, others = share * weights, (1.0 - share) * weights[partners]
    both = own + others
    divisor = np.where(both > 0, both, 1.0)[:, None]
    return (
        (share * inputs + (1.0 - share) * inputs[partners]).astype(np.float32),
        ((own[:, None] * targets + others[:, None] * targets[partners]) / divisor).astype(np.float32),
        both.astype(np.float32),
    )


def predict(model: Any, examples: Examples) -> FloatArray:
    """Outputs of a model for plain examples, of shape (n, outputs)."""
    outputs = []
    for start in range(0, len(examples), PREDICTION_BATCH):
        rows = examples.rows[start : start + PREDICTION_BATCH]
        inputs = examples.inputs.plain(rows)
        if start and len(rows) < PREDICTION_BATCH:  # a batch of another size would be traced again
            inputs = np.concatenate([inputs, np.zeros((PREDICTION_BATCH - len(rows), *inputs.shape[1:]), np.float32)])
        # Under a distribution strategy each replica returns the whole batch: the first copy is enough.
        outputs.append(np.asarray(model.predict_on_batch(inputs), np.float32)[: len(rows)])
    return np.concatenate(outputs)
