"""A pretrained network, loaded at one input size."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from builders.backbones.pixel_scaling import PixelScaling
from builders.graph.layer_graph import LayerGraph
from builders.graph.layer_names import free_name
from builders.surgery.cut import CutPoint, points_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backbone:
    """A pretrained network, loaded at one input size."""

    name: str  # in the registry, or of the file it came from
    title: str  # for people
    source: str | None  # the data set that the weights were trained on, or None if unknown
    native_size: int  # px: the input size that the weights were trained at, as far as is known
    input_size: int  # px: height and width of the pictures that `network` takes
    channels: int  # of those pictures: 1 grey, 3 RGB, 4 RGB with alpha
    scaling: PixelScaling | None  # of the pixels, inside `network`; None if unknown, it then takes scaled pixels
    network: Any  # `keras.Model` from pixels 0..255 (batch, input_size, input_size, channels) to the network's output
    graph: LayerGraph = field(repr=False)
    points: tuple[CutPoint, ...]  # a module that can't be cut has one, its output
    fingerprint: str  # a digest of the weights, which depends neither on the head nor on the file format

    @property
    def has_composite_layers(self) -> bool:
        """Whether a layer with weights contains other layers, as MultiHeadAttention does."""
        layers = [step.operation for step in self.graph.calls if isinstance(step.operation, keras.Layer)]
        return any(part is not layer and part.weights for layer in layers for part in layer._flatten_layers())

    def scaled(self, scaling: PixelScaling) -> "Backbone":
        """The same backbone with the scaling of its pixels in front."""
        inputs, last = self.graph.input_layer(), len(self.graph.nodes) - 1
        outputs = self.graph.copy_onto(scale_pixels(scaling, inputs, taken=self.graph.names), [last])
        network = keras.Model(inputs, outputs[0], name=self.network.name)
        graph = LayerGraph(network)
        return replace(self, scaling=scaling, network=network, graph=graph, points=_points(graph))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedBackbone:
    """A backbone whose input size is still to be chosen."""

    native_size: int  # px: the input size that it was trained at, as far as is known
    smallest_size: int = 1  # px: the smallest input it takes
    fixed: bool  # whether its input size is given and should be kept
    at: Callable[[int], Backbone]  # loads it at an input size in px


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
        network=network,
        graph=graph,
        points=_points(graph),
        fingerprint=_fingerprint(graph),
    )


def scale_pixels(scaling: PixelScaling, x: Any, taken: frozenset[str] = frozenset()) -> Any:
    """Scale a symbolic tensor of pixels 0 to 255; `taken` are names that layers of the network have already."""
    scale, offset, reverse = scaling.of_channels(x.shape[-1])
    if set(scale) != {1.0} or set(offset) != {0.0}:
        uniform = len(set(scale)) == 1 and len(set(offset)) == 1
        values = (scale[0], offset[0]) if uniform else (list(scale), list(offset))
        x = keras.layers.Rescaling(values[0], offset=values[1], name=free_name("rescaling", taken))(x)
    return keras.ops.flip(x, axis=-1) if reverse else x


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
