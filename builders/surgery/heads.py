"""The layers behind the backbone."""

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from builders.graph.layer_names import free_name
from builders.strategy import HeadSpec


def _check(head: HeadSpec) -> None:
    for name, value, allowed in (
        ("pooling", head.pooling, ("average", "max", "both", "attention")),
        ("activation", head.activation, ("softmax", "linear")),
    ):
        if value not in allowed:
            raise BuildError(f"Expected `{name}` to be one of {', '.join(allowed)}. Received: {value!r}.")
    if head.classes < 1 or any(units < 1 for units in head.hidden):
        raise BuildError(f"Expected `classes` and `hidden` to be at least 1. Received: {head.classes}, {head.hidden}.")
    if not 0 <= head.dropout < 1:
        raise BuildError(f"Expected `dropout` to be in [0, 1). Received: {head.dropout}.")


def add_head(head: HeadSpec, feature_maps: Sequence[Any], taken: Collection[str] = ()) -> Any:
    """Pool the feature maps of all levels of a head, concatenate them and classify: (batch, head.classes).

    A map is a symbolic tensor of shape (batch, height, width, channels), (batch, tokens, channels) or (batch,
    channels). `taken` are names that layers of the network have already. Raises `BuildError` if a value of the head is
    not allowed.
    """
    _check(head)
    if len(feature_maps) == 1:
        x = _pooled(feature_maps[0], head.pooling, free_name("pooling", taken))
    else:
        # TensorFlow allows no @ in scope names.
        names = [free_name(f"{level.replace('@', '_call_')}_pooling", taken) for level in head.levels]
        pooled = [_pooled(x, head.pooling, name) for name, x in zip(names, feature_maps, strict=True)]
        x = keras.layers.Concatenate(name=free_name("pooling", taken))(pooled)
    for number, units in enumerate(head.hidden, start=1):
        if head.dropout:
            x = keras.layers.Dropout(head.dropout, name=free_name(f"hidden_{number}_dropout", taken))(x)
        x = keras.layers.Dense(units, activation="relu", name=free_name(f"hidden_{number}", taken))(x)
    if head.dropout:
        x = keras.layers.Dropout(head.dropout, name=free_name("predictions_dropout", taken))(x)
    name = free_name("predictions", taken)
    return keras.layers.Dense(head.classes, activation=head.activation, name=name, dtype="float32")(x)


def _pooled(x: Any, pooling: str, name: str) -> Any:
    """A vector of a map of shape (batch, height, width, channels) or (batch, tokens, channels); a vector unchanged."""
    dimensions = len(x.shape) - 2
    if dimensions == 0:
        return x
    average = keras.layers.GlobalAveragePooling2D if dimensions == 2 else keras.layers.GlobalAveragePooling1D
    largest = keras.layers.GlobalMaxPooling2D if dimensions == 2 else keras.layers.GlobalMaxPooling1D
    if pooling == "average":
        return average(name=name)(x)
    if pooling == "max":
        return largest(name=name)(x)
    if pooling == "both":
        return keras.layers.Concatenate(name=name)([average(name=f"{name}_average")(x), largest(name=f"{name}_max")(x)])
    # Attention: sum_i w_i x_i over the positions i, with w = softmax(x v + b).
    tokens = keras.layers.Reshape((-1, x.shape[-1]), name=f"{name}_tokens")(x)
    scores = keras.layers.Dense(1, name=f"{name}_scores")(tokens)
    weights = keras.layers.Softmax(axis=1, name=f"{name}_weights")(scores)
    summed = keras.layers.Dot(axes=1, name=f"{name}_sum")([weights, tokens])
    return keras.layers.Reshape((x.shape[-1],), name=name)(summed)


def set_head(model: Any, kernel: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """Set the prediction layer to a linear classifier with a kernel of shape (channels, classes).

    Raises:
        BuildError: the shapes are not those of the model's prediction layer.
    """
    layer = model.layers[-1]
    expected, received = tuple(layer.kernel.shape), tuple(kernel.shape)
    if expected != received or bias.shape != expected[1:]:
        raise BuildError(f"Expected a kernel of shape {expected} for the prediction layer. Received: {received}.")
    layer.set_weights([kernel, bias])
