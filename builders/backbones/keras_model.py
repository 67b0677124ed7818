"""A `keras.Model` as a backbone: is it an image network, does it scale its pixels, at which sizes does it run?"""

import os
from typing import TYPE_CHECKING, Any

from builders.backbones.kind import BackboneKind, OpenOptions
from builders.backbones.pixel_scaling import SCALINGS, PixelScaling
from builders.errors import BuildError, first_line

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone, OpenedBackbone
    from builders.graph.layer_graph import LayerGraph

_OPEN_SIZE = 224  # px: input of a network that takes any size
_LARGEST_CHANNELS = 4
_LARGEST_SCALED = 20.0  # scaled pixels are smaller than this in every usual scaling


class KerasModel(BackboneKind):
    """A `keras.Model` in memory."""

    def recognises(self, given: Any) -> bool:
        return not isinstance(given, (str, os.PathLike))

    def open(self, given: Any, options: OpenOptions) -> "OpenedBackbone":
        import keras

        if not isinstance(given, keras.Model):
            raise BuildError(
                f"Expected `backbone` to be a name, a path or a keras.Model. Received: {type(given).__name__}."
            )
        return opened_model(given, str(given.name), options.scaling)


def opened_model(model: Any, name: str, scaling: PixelScaling | None) -> "OpenedBackbone":
    """A model as a backbone. Without a scaling, that of its first layers is found; else it stays unknown.

    Raises:
        BuildError: it is no image network, or has its channels first.
    """
    import keras

    from builders.backbones.backbone import OpenedBackbone, bare_backbone
    from builders.graph.layer_graph import LayerGraph

    graph = LayerGraph(model)
    _require_pictures(graph)
    _require_channels_last(graph)
    is_module = any(type(layer).__name__ == "GraphSegment" for layer in model.layers)  # can hide its feature maps
    if not graph.cuts and not is_module:
        raise BuildError(
            f"Expected {name} to have feature maps. Received: a network from {graph.input_shape} without any. Choose "
            "another backbone."
        )
    height, width, _ = graph.input_shape

    def at(size: int) -> "Backbone":
        bare = bare_backbone(model if (height, width) == (size, size) else _resized(graph, size), name, size)
        chosen = scaling or (SCALINGS["0..255"] if _scales_itself(graph) else None)
        return bare if chosen is None else bare.scaled(chosen)

    first = graph.calls[0].operation
    if isinstance(first, keras.layers.Resizing) and first.height == first.width:  # as models of `build` do
        return OpenedBackbone(native_size=first.height, fixed=True, at=at)
    if height is None or width is None:
        return OpenedBackbone(native_size=_OPEN_SIZE, fixed=False, at=at)
    side = height if height == width else max(32, round((height * width) ** 0.5 / 32) * 32)
    return OpenedBackbone(native_size=side, fixed=True, at=at)


def _require_pictures(graph: "LayerGraph") -> None:
    shape = graph.input_shape
    if len(shape) != 3 or shape[-1] is None:
        raise BuildError(
            f"Expected {graph.title} to take pictures of shape (height, width, channels). Received: a network that "
            f"takes {shape}, which is no image network. Choose another backbone."
        )
    if shape[-1] > _LARGEST_CHANNELS or shape[-1] == 2:
        raise BuildError(
            f"Expected {graph.title} to take pictures of 1, 3 or 4 channels, as picture files have. Received: "
            f"{shape[-1]} channels. The surgery functions of builders work on it."
        )


def _require_channels_last(graph: "LayerGraph") -> None:
    import keras

    for step, node in zip(graph.calls, graph.nodes[1:], strict=True):
        layer = step.operation
        axis = layer.axis if isinstance(layer, keras.layers.BatchNormalization) else -1
        rank = len(node.shape) + 1 if node.shape is not None else 0
        if getattr(layer, "data_format", None) == "channels_first" or axis not in (-1, rank - 1):
            raise BuildError(
                f"Expected {graph.title} to have its channels last. Received: the layer {step.name!r}, which has them "
                "first. Build it with data_format='channels_last'."
            )


def _scales_itself(graph: "LayerGraph") -> bool:
    """Whether the layers in front of the first convolution scale pixels from 0..255 to a usual range."""
    import keras
    import numpy as np

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
    return found and bool(np.abs(ends).max() <= _LARGEST_SCALED)


def _resized(graph: "LayerGraph", size: int) -> Any:
    """The network for another input size: whole if possible, else without its head."""
    import keras

    from builders.graph.layer_names import free_name

    failure: Exception = ValueError()
    for wanted in dict.fromkeys([len(graph.nodes) - 1, *graph.cuts[-1:]]):
        inputs = keras.Input((size, size, graph.input_shape[-1]), name=free_name("image", graph.names))
        try:
            (output,) = graph.copy_onto(inputs, [wanted])
        except Exception as error:  # noqa: BLE001  # layers raise many kinds of exception for a wrong shape
            failure = error
            continue
        return keras.Model(inputs, output, name=graph.title)
    raise BuildError(
        f"Expected {graph.title} to take pictures of {size} px. Received: a network for {graph.input_shape} alone "
        f"({first_line(failure)}). Keep its own input size, which has to be square."
    ) from failure
