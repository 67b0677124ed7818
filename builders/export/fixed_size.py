"""The network behind the resizing, for targets that can't resize as the model does."""

from typing import Any

import keras

from builders.errors import BuildError
from builders.export.export_format import Pixels, in_batches
from builders.surgery.cut import flat_copy


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
    if isinstance(model.layers[1], keras.layers.Resizing):
        copy = flat_copy(model)
        return keras.Model(copy.layers[1].output, copy.output, name=copy.name)
    if None in model.input_shape[1:]:
        raise BuildError(
            f"Expected a model with a Resizing layer in front, or of a fixed input size. Received: {model.name!r}, "
            f"which takes {model.input_shape}. Export a SavedModel."
        )
    return model


def resized(pictures: Pixels, height: int, width: int) -> Pixels:
    """Pictures of shape (n, height, width, channels), resized in px as the model does it: bilinear, antialiased."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    return in_batches(
        lambda batch: keras.ops.image.resize(batch, (height, width), interpolation="bilinear", antialias=True), pictures
    )
