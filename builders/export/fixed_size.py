"""The network behind the resizing, for targets that can't resize as the model does."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from builders.surgery.cut import flat_copy

_BATCH = 32  # pictures resized at a time


def behind_resizing(model: Any) -> Any:
    """The part of a model behind its resizing.

    Args:
        model: from pictures of any size, as `build_model` makes it; it is unchanged.

    Returns:
        A `keras.Model` of copied layers from pictures of shape (batch, height, width, channels), 0 to 255, at the
        model's own input size. A model that takes pictures of one size only is returned as it is.

    Raises:
        BuildError: it takes pictures of any size, and no resizing is in front.
    """
    first = model.layers[1] if len(model.layers) > 1 else None
    if isinstance(first, keras.layers.Resizing):
        copy = flat_copy(model)
        return keras.Model(copy.layers[1].output, copy.output, name=copy.name)
    if None in model.input_shape[1:]:
        raise BuildError(
            f"Expected a model with a Resizing layer in front, or of a fixed input size. Received: {model.name!r}, "
            f"which takes {model.input_shape}. Export a SavedModel."
        )
    return model


def resized(pictures: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Pictures resized as the model does it: bilinear, antialiased.

    Args:
        pictures: of shape (n, any height, any width, channels).
        height: wanted, in px.
        width: wanted, in px.

    Returns:
        Pictures of shape (n, height, width, channels).
    """
    if pictures.shape[1:3] == (height, width):
        return pictures
    parts = [
        np.asarray(
            keras.ops.image.resize(
                pictures[start : start + _BATCH], (height, width), interpolation="bilinear", antialias=True
            ),
            np.float32,
        )
        for start in range(0, len(pictures), _BATCH)
    ]
    return np.concatenate(parts)
