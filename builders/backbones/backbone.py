"""A pretrained network, loaded at one input size."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from builders.backbones.pixel_scaling import PixelScaling
from builders.backbones.preprocessing import scale_pixels
from builders.graph.layer_graph import LayerGraph
from builders.surgery.cut import CutPoint, points_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backbone:
    """A pretrained network, loaded at one input size.

    Attributes:
        name: in the registry, or of the file it came from.
        title: for people.
        source: the data set that the weights were trained on, or None where that is not known.
        native_size: px: the input size that the weights were trained at, as far as is known.
        input_size: height and width in px of the pictures that `network` takes.
        channels: of those pictures: 1 grey, 3 RGB, 4 RGB with alpha.
        scaling: of the pixels, inside `network`; None as long as it is not known, `network` then takes scaled pixels.
        network: a `keras.Model` from pixels 0..255 of shape (batch, input_size, input_size, channels) to whatever the
            pretrained network puts out.
        graph: the same laid open.
        points: its cut points. A module that can't be cut has one, its output.
        fingerprint: a digest of the weights of the backbone, the same whatever the head and the file's format.
    """

    name: str
    title: str
    source: str | None
    native_size: int
    input_size: int
    channels: int
    scaling: PixelScaling | None
    network: Any
    graph: LayerGraph = field(repr=False)
    points: tuple[CutPoint, ...]
    fingerprint: str

    @property
    def has_composite_layers(self) -> bool:
        """Whether a layer with weights holds other layers, as MultiHeadAttention does."""
        layers = [step.operation for step in self.graph.calls if isinstance(step.operation, keras.Layer)]
        return any(part is not layer and part.weights for layer in layers for part in layer._flatten_layers())

    def scaled(self, scaling: PixelScaling) -> "Backbone":
        """The same backbone with a scaling of the pixels in front."""
        inputs = self.graph.input_layer()
        last = len(self.graph.nodes) - 1
        outputs = self.graph.lay(scale_pixels(scaling, inputs, taken=self.graph.names), [last])
        network = keras.Model(inputs, outputs[0], name=self.network.name)
        graph = LayerGraph(network)
        return replace(self, scaling=scaling, network=network, graph=graph, points=_points(graph))


def bare_backbone(network: Any, name: str, size: int) -> Backbone:
    """A backbone of which no more is known than its network, whose pixels are scaled outside."""
    graph = LayerGraph(network)
    points = _points(graph)
    return Backbone(
        name=name,
        title=name,
        source=None,
        native_size=size,
        input_size=size,
        channels=graph.input_shape[-1] or 3,
        scaling=None,
        network=network,
        graph=graph,
        points=points,
        fingerprint=fingerprint(graph),
    )


def _points(graph: LayerGraph) -> tuple[CutPoint, ...]:
    points = points_of(graph)
    if points:
        return points
    end = graph.nodes[-1]
    return (
        CutPoint(
            layer=end.name,
            depth=1.0,
            shape=end.shape or (),
            stride=None,
            parameters=sum(node.parameters for node in graph.nodes),
            batch_norm=None,
        ),
    )


def fingerprint(graph: LayerGraph) -> str:
    """A digest of the weights up to the last cut point, the same whatever the order in which they are stored."""
    end = graph.cuts[-1] if graph.cuts else len(graph.nodes) - 1
    digests = []
    for index in graph.ancestors([end]):
        operation = graph.calls[index - 1].operation if index else None
        if isinstance(operation, keras.Layer) and not isinstance(operation, keras.layers.Normalization):
            for weight in operation.weights:
                values = weight.numpy()
                digests.append(hashlib.sha256(str(values.shape).encode() + values.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
