"""What a network has to be to look at pictures, and whether it scales their pixels itself."""

import keras
import numpy as np

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph

_LARGEST_CHANNELS = 4


def require_pictures(graph: LayerGraph) -> None:
    """Raises `BuildError` if the network does not take pictures as files hold them."""
    shape = graph.input_shape
    if len(shape) != 3 or shape[-1] is None:
        raise BuildError(
            f"Expected {graph.title} to take pictures of shape (height, width, channels). Received: a network that "
            f"takes {shape}, which is no image network. Take another backbone."
        )
    if shape[-1] > _LARGEST_CHANNELS or shape[-1] == 2:
        raise BuildError(
            f"Expected {graph.title} to take pictures of 1, 3 or 4 channels, as picture files have. Received: "
            f"{shape[-1]} channels. The surgery verbs of builders work on it all the same."
        )


_SANE = 20.0  # what scaled pixels stay below, whatever the convention


def scales_itself(graph: LayerGraph) -> bool:
    """Whether the network begins with layers that bring pixels from 0..255 to where networks want them."""
    ends, found = np.array([0.0, 255.0]), False
    for step, node in zip(graph.calls, graph.nodes[1:], strict=True):
        layer = step.operation
        if node.mixes:
            break
        if isinstance(layer, keras.layers.Rescaling):
            ends, found = ends * np.mean(layer.scale) + np.mean(layer.offset), True
        elif isinstance(layer, keras.layers.Normalization):
            mean, variance = (np.mean(keras.ops.convert_to_numpy(part)) for part in (layer.mean, layer.variance))
            ends, found = (ends - mean) / np.sqrt(max(float(variance), 1e-12)), True
    return found and bool(np.abs(ends).max() <= _SANE)


def require_channels_last(graph: LayerGraph) -> None:
    """Raises `BuildError` if a layer has its channels first."""
    for step, node in zip(graph.calls, graph.nodes[1:], strict=True):
        layer = step.operation
        axis = layer.axis if isinstance(layer, keras.layers.BatchNormalization) else -1
        rank = len(node.shape) + 1 if node.shape is not None else 0
        if getattr(layer, "data_format", None) == "channels_first" or axis not in (-1, rank - 1):
            raise BuildError(
                f"Expected {graph.title} to have its channels last. Received: the layer {step.name!r}, which has them "
                "first. Build it with data_format='channels_last'."
            )
