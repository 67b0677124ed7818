"""A `keras.Model` as a backbone, or a SavedModel, which becomes one."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.kind import BackboneKind, OpenOptions, as_path
from builders.backbones.pixel_scaling import SCALINGS, PixelScaling
from builders.errors import BuildError, first_line

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone, OpenedBackbone
    from builders.graph.layer_graph import LayerGraph

_OPEN_SIZE = 224  # px: input of a network that takes any size
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


class SavedModel(BackboneKind):
    """A SavedModel's folder, or the handle of a TensorFlow Hub module."""

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path.is_dir() if path else isinstance(given, str)

    def open(self, given: Any, options: OpenOptions) -> "OpenedBackbone":
        from builders.saved_model.load import load_saved_model

        handle = os.fspath(given)
        first = load_saved_model(handle, trust=options.trust)
        name = Path(handle.rstrip("/")).name or "module"
        opened = opened_model(first, name, options.scaling)
        if not first.layers[1].any_size:
            return opened

        def at(size: int) -> "Backbone":
            if size == opened.native_size:
                return opened.at(size)
            other = load_saved_model(handle, input_size=size, trust=options.trust)
            return opened_model(other, name, options.scaling).at(size)

        return replace(opened, at=at, fixed=False)


def opened_model(model: Any, name: str, scaling: PixelScaling | None) -> "OpenedBackbone":
    """A model as a backbone. Without a scaling, that of its first layers is found; else it stays unknown."""
    import keras

    from builders.backbones.backbone import OpenedBackbone, bare_backbone
    from builders.graph.layer_graph import LayerGraph

    graph = LayerGraph(model)
    is_module = any(type(layer).__name__ == "GraphSegment" for layer in model.layers)  # can hide its feature maps
    _require_images(graph, feature_maps=not is_module)
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


def _require_images(graph: "LayerGraph", *, feature_maps: bool) -> None:
    shape = graph.input_shape
    if len(shape) != 3 or shape[-1] not in (1, 3, 4):
        raise BuildError(
            f"Expected {graph.title} to take pictures of shape (height, width, channels), with 1, 3 or 4 channels. "
            f"Received: a network that takes {shape}. Choose another backbone."
        )
    first = [call.name for call in graph.calls if getattr(call.operation, "data_format", None) == "channels_first"]
    if first:
        raise BuildError(
            f"Expected {graph.title} to have its channels last. Received: the layer {first[0]!r}, which has them "
            "first. Build it with data_format='channels_last'."
        )
    if feature_maps and not graph.cuts:
        raise BuildError(
            f"Expected {graph.title} to have feature maps. Received: a network from {shape} without any. Choose "
            "another backbone."
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

    failure: Exception = ValueError()
    for wanted in dict.fromkeys([len(graph.nodes) - 1, *graph.cuts[-1:]]):
        inputs = graph.input_layer((size, size, graph.input_shape[-1]))
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
