"""A loaded `keras.Model` as a backbone."""

import hashlib
from dataclasses import replace
from typing import Any

import keras

from builders.backbones.backbone import Backbone
from builders.backbones.pixel_scaling import PixelScaling
from builders.graph.cut_search import CutPoint
from builders.graph.layer_graph import LayerGraph
from builders.graph.layer_names import free_name
from builders.surgery.cut import points_of


def bare_backbone(network: Any, name: str, size: int) -> Backbone:
    """A backbone of which only the network is known, on scaled pixels of that size in px."""
    graph = LayerGraph(network)
    return Backbone(
        name=name,
        title=name,
        source=None,
        native_size=size,
        input_size=size,
        channels=graph.input_shape[-1] or 3,
        scaling=None,
        points=_points(graph),
        nodes=graph.nodes,
        fingerprint=_fingerprint(graph),
        has_composite_layers=_has_composite_layers(graph),
        whole=next((layer.whole for layer in network.layers if getattr(layer, "whole", None)), ""),
        load=lambda: graph,
    )


def scaled(backbone: Backbone, scaling: PixelScaling) -> Backbone:
    """The same backbone with the scaling of its pixels in front."""
    before = backbone.graph
    inputs, last = before.input_layer(), len(before.nodes) - 1
    outputs = before.copy_onto(scale_pixels(scaling, inputs, taken=before.names), [last])
    graph = LayerGraph(keras.Model(inputs, outputs[0], name=backbone.network.name))
    return replace(backbone, scaling=scaling, points=_points(graph), nodes=graph.nodes, load=lambda: graph)


def scale_pixels(scaling: PixelScaling, x: Any, taken: frozenset[str] = frozenset()) -> Any:
    """Scale a symbolic tensor of pixels 0 to 255; `taken` are names that layers of the network have already."""
    scale, offset, reverse = scaling.of_channels(x.shape[-1])
    if set(scale) != {1.0} or set(offset) != {0.0}:
        uniform = len(set(scale)) == 1 and len(set(offset)) == 1
        values = (scale[0], offset[0]) if uniform else (list(scale), list(offset))
        x = keras.layers.Rescaling(values[0], offset=values[1], name=free_name("rescaling", taken))(x)
    return keras.ops.flip(x, axis=-1) if reverse else x


def _has_composite_layers(graph: LayerGraph) -> bool:
    layers = [step.operation for step in graph.calls if isinstance(step.operation, keras.Layer)]
    return any(part is not layer and part.weights for layer in layers for part in layer._flatten_layers())


def _points(graph: LayerGraph) -> tuple[CutPoint, ...]:
    """The cut points; the output if there is none."""
    last, parameters = graph.nodes[-1], sum(node.parameters for node in graph.nodes)
    shape = last.shape or ()
    output = CutPoint(layer=last.name, depth=1.0, shape=shape, stride=None, parameters=parameters, batch_norm=None)
    return points_of(graph) or (output,)


def _fingerprint(graph: LayerGraph) -> str:
    """A digest of the weights up to the last cut point, independent of the order in which they are stored."""
    end = graph.cuts[-1] if graph.cuts else len(graph.nodes) - 1
    digests = []
    for index in graph.ancestors([end]) - {0}:
        operation = graph.calls[index - 1].operation
        if isinstance(operation, keras.Layer) and not isinstance(operation, keras.layers.Normalization):
            for weight in operation.weights:
                values = weight.numpy()
                digests.append(hashlib.sha256(str(values.shape).encode() + values.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
