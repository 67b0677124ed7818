"""What the probes read in a backbone of Keras layers."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np

from builders.backbones.backbone import Backbone
from builders.graph.layer_graph import LayerGraph
from probes.network.features import Norm
from probes.network.readout import Forward


def forward_of(backbone: Backbone, taps: Sequence[Norm], *, at_cuts: bool) -> Forward:
    """The network as a function from pixels to its tensors at the cut points, those at the taps less their centre, and
    its output. The taps are cut points, or BatchNorm layers.
    """
    graph, cuts = backbone.graph, tuple(point.layer for point in backbone.points)
    # BatchNorm inside a segment of a SavedModel is read while the segment runs.
    inside = set() if at_cuts else {tap.layer for tap in taps if hasattr(_layer(graph, tap.layer), "call_with_norm")}
    return lambda pixels: _forward(graph, cuts, taps, inside, pixels)


def _layer(graph: LayerGraph, name: str) -> Any:
    index = graph.index(name)
    return graph.calls[index - 1].operation if index else None


def batch_norms(backbone: Backbone) -> tuple[Norm, ...]:
    """Each cut point's last BatchNorm layer with its gamma as scale and its beta as centre."""
    found = []
    for name in (point.batch_norm for point in backbone.points if point.batch_norm is not None):
        layer = _layer(backbone.graph, name)
        if hasattr(layer, "norm_affine"):  # a segment of a SavedModel
            gamma, beta = layer.norm_affine()
        else:
            channels = layer.moving_mean.shape
            gamma = np.ones(channels) if layer.gamma is None else layer.gamma.numpy()
            beta = np.zeros(channels) if layer.beta is None else layer.beta.numpy()
        found.append(Norm(layer=name, centre=beta.astype(np.float64), scale=gamma.astype(np.float64)))
    return tuple(found)


def _forward(graph: LayerGraph, cuts: Sequence[str], taps: Sequence[Norm], inside: set[str], pixels: Any) -> list[Any]:
    """Tensors at the cuts and taps, and the output."""
    found: dict[str, Any] = {}
    names = {id(step.operation): step.name for step in graph.calls}

    def call(operation: Any, arguments: Any, keywords: Mapping[str, Any]) -> Any:
        name = names[id(operation)]
        if name not in inside:
            return infer(operation, arguments, keywords)
        result, found[name] = operation.call_with_norm(*arguments)
        return result

    outside = [tap.layer for tap in taps if tap.layer not in inside]
    wanted = [graph.index(name) or 0 for name in (*cuts, *outside)]
    *values, output = graph.run(pixels, [*wanted, len(graph.nodes) - 1], call=call)
    found |= dict(zip(outside, values[len(cuts) :], strict=True))
    # Squares of values far from 0 would lose what they differ by.
    centred = [found[tap.layer] - keras.ops.cast(tap.centre, found[tap.layer].dtype) for tap in taps]
    return [*values[: len(cuts)], *centred, output]


def infer(operation: Any, arguments: Any, keywords: Mapping[str, Any]) -> Any:
    """Call a layer in inference mode."""
    made_by: Any = type(operation)
    if isinstance(operation, keras.Layer) and _takes_training(made_by):
        keywords = {**keywords, "training": False}
    return operation(*arguments, **keywords)


@cache
def _takes_training(layer_class: Any) -> bool:
    return "training" in inspect.signature(layer_class.call).parameters
