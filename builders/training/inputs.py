"""What a training step reads: batches of inputs, by row, augmented or plain."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Inputs(Protocol):
    """Inputs of a model by row."""

    def plain(self, rows: Rows) -> FloatArray:
        """Rows as they are, of shape (rows, ...)."""
        ...

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        """Rows as training sees them: each one changed in a way that keeps its label."""
        ...


class Views:
    """Inputs that were computed beforehand: of each image one or several views, of which training draws one.

    Args:
        views: arrays of shape (n, ...), the first one plain; memory-mapped ones are read row by row.
    """

    def __init__(self, views: Sequence[Any]) -> None:
        self.views = tuple(views)

    def plain(self, rows: Rows) -> FloatArray:
        return np.asarray(self.views[0][rows], np.float32)

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        chosen = rng.integers(len(self.views), size=len(rows))
        batch = np.empty((len(rows), *self.views[0].shape[1:]), np.float32)
        for number, view in enumerate(self.views):
            here = chosen == number
            if here.any():
                batch[here] = view[rows[here]]
        return batch


class Pictures:
    """Prepared pictures, mirrored and cropped anew each time.

    Args:
        pixels: of shape (n, size, size, channels), 0 to 255.
        mirror: whether left and right may change places.
        crop: whether a part may stand for the whole: 70 to 100 % of the area (Szegedy et al., arXiv 1409.4842, whose
            8 % is for training from scratch).
    """

    SMALLEST_AREA = 0.7

    def __init__(self, pixels: Any, *, mirror: bool, crop: bool) -> None:
        self.pixels, self.mirror, self.crop = pixels, mirror, crop

    def plain(self, rows: Rows) -> FloatArray:
        return np.asarray(self.pixels[rows], np.float32)

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        flipped = rng.random(len(rows)) < 0.5
        side = np.sqrt(rng.uniform(self.SMALLEST_AREA, 1.0, len(rows)))
        top, left = rng.random((2, len(rows))) * (1.0 - side)
        batch = self.plain(rows)
        if self.crop:
            batch = _cropped(batch, np.stack([top, left, top + side, left + side], axis=1))
        if self.mirror:
            batch[flipped] = batch[flipped, :, ::-1]
        return batch


def _cropped(pixels: FloatArray, boxes: npt.NDArray[np.float64]) -> FloatArray:
    """Cut boxes (top, left, bottom, right, as shares) out of pictures and enlarge each to the picture's size."""
    import tensorflow as tf

    size = pixels.shape[1:3]
    with tf.device("CPU"):
        found = tf.image.crop_and_resize(pixels, boxes.astype(np.float32), np.arange(len(pixels)), size)
    return np.array(found)
