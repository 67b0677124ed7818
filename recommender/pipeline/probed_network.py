"""A backbone, from `builders`, as the network that the probes see."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np

from builders.backbones.backbone import Backbone
from builders.graph.layer_graph import LayerGraph
from probes.network.features import Network, Norm


def probed_network(backbone: Backbone, norms: Sequence[Norm] | None = None) -> Network:
    """A backbone as the probes see it: every cut point is pooled, and drift is measured.

    `norms` are cut points with the source's moments; by default drift is measured at the last BatchNorm layer before
    each cut point.
    """
    graph, cuts = backbone.graph, tuple(point.layer for point in backbone.points)
    taps = _batch_norms(backbone) if norms is None else tuple(norms)
    # BatchNorm inside a segment of a SavedModel is read while the segment runs.
    inside = {tap.layer for tap in taps if norms is None and hasattr(_layer(graph, tap.layer), "call_with_norm")}
    return Network(
        forward=lambda pixels: _forward(graph, cuts, [tap.layer for tap in taps], inside, pixels),
        input_size=backbone.input_size,
        channels=backbone.channels,
        cuts=cuts,
        norms=taps,
    )


def _layer(graph: LayerGraph, name: str) -> Any:
    index = graph.index(name)
    return graph.calls[index - 1].operation if index else None


def _batch_norms(backbone: Backbone) -> tuple[Norm, ...]:
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


def _forward(graph: LayerGraph, cuts: Sequence[str], norms: Sequence[str], inside: set[str], pixels: Any) -> list[Any]:
    """Tensors at the cuts and norms, and the output."""
    found: dict[str, Any] = {}
    names = {id(step.operation): step.name for step in graph.calls}

    def call(operation: Any, arguments: Any, keywords: Mapping[str, Any]) -> Any:
        name = names[id(operation)]
        if name not in inside:
            return infer(operation, arguments, keywords)
        result, found[name] = operation.call_with_norm(*arguments)
        return result

    outside = [name for name in norms if name not in inside]
    wanted = [graph.index(name) or 0 for name in (*cuts, *outside)]
    *values, output = graph.run(pixels, [*wanted, len(graph.nodes) - 1], call=call)
    found |= dict(zip(outside, values[len(cuts) :], strict=True))
    return [*values[: len(cuts)], *(found[name] for name in norms), output]


def infer(operation: Any, arguments: Any, keywords: Mapping[str, Any]) -> Any:
    """Call a layer in inference mode."""
    made_by: Any = type(operation)
    if isinstance(operation, keras.Layer) and _takes_training(made_by):
        keywords = {**keywords, "training": False}
    return operation(*arguments, **keywords)


@cache
def _takes_training(layer_class: Any) -> bool:
    return "training" in inspect.signature(layer_class.call).parameters
