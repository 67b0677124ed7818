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
    """Inputs of a model by row number."""

    def plain(self, rows: Rows) -> FloatArray:
        """Inputs without augmentation, of shape (rows, ...)."""
        ...

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        """Inputs with random augmentation that keeps the labels, of shape (rows, ...)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Prepared pictures, mirrored and cropped at random.

    Attributes:
        pixels: 0 to 255, read by `pixels[rows]` with shape (rows, size, size, channels).
        mirror: whether pictures are flipped left to right.
        crop: whether pictures are cropped to 70 to 100 % of their area and enlarged.
    """

    pixels: Any
    mirror: bool = False
    crop: bool = False

    def plain(self, rows: Rows) -> FloatArray:
        return np.asarray(self.pixels[rows], np.float32)

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        flipped = rng.random(len(rows)) < 0.5
        side = np.sqrt(rng.uniform(SMALLEST_AREA, 1.0, len(rows)))
        top, left = rng.random((2, len(rows))) * (1.0 - side)
        batch = self.plain(rows)
        if self.crop:
            batch = _cropped(batch, np.stack([top, left, top + side, left + side], axis=1))
        if self.mirror:
            batch[flipped] = batch[flipped, :, ::-1]
        return batch


def _cropped(pixels: FloatArray, boxes: npt.NDArray[np.float64]) -> FloatArray:
    """Boxes (top, left, bottom, right, as shares of the side) enlarged to the size of the picture."""
    import tensorflow as tf

    with tf.device("CPU"):
        cropped = tf.image.crop_and_resize(pixels, boxes.astype(np.float32), np.arange(len(pixels)), pixels.shape[1:3])
    return np.array(cropped)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Labelled inputs.

    Attributes:
        inputs: of these images, and possibly of others.
        rows: row numbers of the images in `inputs`, of shape (n,).
        labels: class numbers, of shape (n,).
        weights: of the images in the loss, of shape (n,).
    """

    inputs: Inputs
    rows: Rows
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, most: int, seed: int) -> "Examples":
        """At most `most` of the examples, drawn at random, in their order."""
        drawn = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        return self.take(drawn)

    def take(self, numbers: Any) -> "Examples":
        """Some of the examples, by numbers or a slice."""
        return Examples(
            inputs=self.inputs, rows=self.rows[numbers], labels=self.labels[numbers], weights=self.weights[numbers]
        )


def mixup(
    inputs: FloatArray, targets: FloatArray, weights: FloatArray, share: float, partners: Rows
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mix each example with a partner; the weights of both count.

    Args:
        inputs: of shape (n, ...).
        targets: of shape (n, classes).
        weights: of shape (n,).
        share: of the example itself, in [0, 1].
        partners: the number of each example's partner, of shape (n,).

    Reference:
        Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018.
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
