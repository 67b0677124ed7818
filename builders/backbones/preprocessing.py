"""Layers that resize and scale pixels."""

from collections.abc import Collection
from typing import Any

import keras

from builders.backbones.pixel_scaling import PixelScaling
from builders.graph.layer_names import free_name


def resizing_layer(input_size: int, inputs: Any, name: str = "resizing") -> Any:
    """From pictures of any size to squares."""
    resizing = keras.layers.Resizing(input_size, input_size, interpolation="bilinear", antialias=True, name=name)
    # Keras's image layers take training=True for granted, and hand it on to every layer behind them: a plain call of
    # the model would then run BatchNorm in training mode. Said here, False is the default of the whole model.
    return resizing(inputs, training=False)


def scale_pixels(scaling: PixelScaling, x: Any, taken: Collection[str] = ()) -> Any:
    """From pixels 0 to 255 to what a backbone's weights were trained on; `taken` are names that are not free."""
    scale, offset, reverse = scaling.of_channels(x.shape[-1])
    if set(scale) != {1.0} or set(offset) != {0.0}:
        even = len(set(scale)) == 1 and len(set(offset)) == 1
        values = (scale[0], offset[0]) if even else (list(scale), list(offset))
        x = keras.layers.Rescaling(values[0], offset=values[1], name=free_name("rescaling", taken))(x)
    return keras.ops.flip(x, axis=-1) if reverse else x
