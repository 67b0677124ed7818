"""The layers in front of the backbone and behind it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.backbones import BackboneSpec
from builders.errors import BuildError
from builders.strategy import HeadSpec

_POOLINGS = {"average": keras.layers.GlobalAveragePooling2D}


def pixel_layers(spec: BackboneSpec, input_size: int, inputs: Any) -> Any:
    """From pictures of any size, 0 to 255, to what the backbone's weights were trained on."""
    resizing = keras.layers.Resizing(input_size, input_size, interpolation="bilinear", antialias=True, name="resizing")
    # Keras's image layers take training=True for granted, and hand it on to every layer behind them: a plain call of
    # the model would then run BatchNorm in training mode. Said here, False is the default of the whole model.
    x = resizing(inputs, training=False)
    return keras.layers.Rescaling(spec.scale, offset=spec.offset, name="rescaling")(x)


def add_head(head: HeadSpec, feature_maps: Sequence[Any]) -> Any:
    """Pool feature maps, join them and classify.

    Args:
        head: what to build.
        feature_maps: for each of its levels a symbolic tensor of shape (batch, height, width, channels).

    Returns:
        Class probabilities of shape (batch, head.classes).

    Raises:
        BuildError: the pooling is unknown.
    """
    if head.pooling not in _POOLINGS:
        raise BuildError(f"Expected `pooling` to be one of {', '.join(_POOLINGS)}. Received: {head.pooling!r}.")
    pooling = _POOLINGS[head.pooling]
    if len(feature_maps) == 1:
        x = pooling(name="pooling")(feature_maps[0])
    else:
        pooled = [pooling(name=f"{level}_pooling")(x) for level, x in zip(head.levels, feature_maps, strict=True)]
        x = keras.layers.Concatenate(name="pooling")(pooled)
    return keras.layers.Dense(head.classes, activation="softmax", name="predictions")(x)


def set_head(model: Any, kernel: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """Start the prediction layer from a linear classifier, kernel of shape (channels, classes).

    Raises:
        BuildError: the shapes are not those of the model's prediction layer.
    """
    layer = model.get_layer("predictions")
    expected, received = tuple(layer.kernel.shape), tuple(kernel.shape)
    if expected != received or bias.shape != expected[1:]:
        raise BuildError(f"Expected a kernel of shape {expected} for the prediction layer. Received: {received}.")
    layer.set_weights([kernel, bias])
