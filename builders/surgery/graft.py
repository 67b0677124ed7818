"""Put a new head on a cut network."""

from collections.abc import Sequence
from typing import Any

import keras

from builders.errors import BuildError, first_line
from builders.graph.layer_graph import LayerGraph
from builders.strategy import HeadSpec
from builders.surgery.cut import find_cut
from builders.surgery.heads import add_head


def graft(model: Any, head: Any, *, share: bool = False) -> Any:
    """Put a head on a network.

    Args:
        model: a built `keras.Model` with one input and one output; usually what `cut` returned.
        head: a `HeadSpec`, a Keras layer, or a list of layers that are called one after the other on the model's
            output. The layers given are used themselves, not copied.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        A flat `keras.Model` from the same input to the head's output.

    Raises:
        BuildError: the head is of none of these kinds, can't take the model's output, or has a layer with the name of a
            layer of the model; a `HeadSpec` needs a feature map.
    """
    graph = LayerGraph(model)
    inputs = graph.input_layer()
    last = len(graph.nodes) - 1
    if isinstance(head, HeadSpec):
        places = [find_cut(graph, level) for level in head.levels] or [last]
        if not graph.nodes[places[-1]].is_map:
            raise BuildError(
                f"Expected {graph.title} to end in a feature map, for a HeadSpec to pool. Received: an output of shape "
                f"{graph.nodes[last].shape}. Remove the old head with builders.cut(model, at=1.0) first."
            )
        outputs = add_head(head, graph.copy_onto(inputs, places, share=share), taken=graph.names)
    else:
        layers = _layers(head)
        (outputs,) = graph.copy_onto(inputs, [last], share=share)
        for layer in layers:
            outputs = _call(layer, outputs, graph.title)
    try:
        return keras.Model(inputs, outputs, name=graph.title)
    except ValueError as error:  # a name that two layers share
        raise BuildError(
            f"Expected a head that fits {graph.title}. Received: {error}. Give its layers other names."
        ) from error


def _layers(head: Any) -> Sequence[Any]:
    layers = list(head) if isinstance(head, (list, tuple)) else [head]
    wrong = next((layer for layer in layers if not isinstance(layer, keras.Layer)), None)
    if not layers or wrong is not None:
        raise BuildError(
            f"Expected `head` to be a HeadSpec, a Keras layer or a list of layers. Received: {wrong or head!r}."
        )
    return layers


def _call(layer: Any, x: Any, title: str) -> Any:
    try:
        return layer(x)
    except (ValueError, TypeError) as error:
        raise BuildError(
            f"Expected `head` to take the output of {title}, of shape {tuple(x.shape)}. Received: the layer "
            f"{layer.name!r}, which can't: {first_line(error)}."
        ) from error
