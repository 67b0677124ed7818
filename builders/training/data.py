"""Labelled inputs as training and prediction read them, augmented or plain. Imports no Keras at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# Small changes: those of the recipe in docs/training.md.
SHIFT = 0.08  # share of the side by which a picture is moved at most
ZOOM = 0.1  # by which it is enlarged or shrunk at most
BRIGHTNESS = 0.1  # share of the range of pixels that is added or taken away at most

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Outputs = FloatArray | tuple[FloatArray, ...]  # of shape (rows, ...), a tuple where a model has several inputs


class Inputs(Protocol):
    """Inputs of a model by row number; varied ones with random augmentation."""

    def plain(self, rows: Rows) -> Outputs: ...

    def varied(self, rows: Rows, rng: np.random.Generator) -> Outputs: ...


def augmented(pictures: npt.ArrayLike, names: Sequence[str], rng: np.random.Generator) -> FloatArray:
    """Change each of some pictures, of shape (n, size, size, channels) and 0 to 255, at random; edges are reflected."""
    changed = np.asarray(pictures, np.float32)
    n, side = len(changed), changed.shape[1]
    flipped, zoom = rng.random(n) < 0.5, rng.uniform(1 - ZOOM, 1 + ZOOM, n)
    moved, brighter = rng.uniform(-SHIFT, SHIFT, (2, n)) * side, rng.uniform(-BRIGHTNESS, BRIGHTNESS, n) * 255
    if "shift" in names:
        import keras

        across, down = (1 - zoom) * (side - 1) / 2 + moved
        zero = np.zeros(n)
        places = np.stack([zoom, zero, across, zero, zoom, down, zero, zero], axis=1).astype(np.float32)
        with keras.device("cpu"):
            changed = np.array(keras.ops.image.affine_transform(changed, places, fill_mode="reflect"))
    if "mirror" in names:
        changed = np.where(flipped[:, None, None, None], changed[:, :, ::-1], changed)
    if "brightness" in names:
        changed = np.clip(changed + brighter[:, None, None, None], 0, 255)
    return np.asarray(changed, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Prepared pictures, augmented at random."""

    pixels: Any  # 0 to 255, read by `pixels[rows]` with shape (rows, size, size, channels)
    augmentation: Sequence[str] = ()  # some of `builders.training.schedule.AUGMENTATIONS`

    def plain(self, rows: Rows) -> FloatArray:
        return np.asarray(self.pixels[rows], np.float32)

    def varied(self, rows: Rows, rng: np.random.Generator) -> FloatArray:
        return augmented(self.plain(rows), self.augmentation, rng)


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
