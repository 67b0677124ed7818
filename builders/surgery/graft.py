"""Put a new head on a cut network."""

from collections.abc import Collection, Sequence
from typing import Any

import keras

from builders.errors import BuildError, first_line
from builders.graph.layer_graph import LayerGraph
from builders.graph.layer_names import free_name
from builders.strategy import HeadSpec
from builders.surgery.cut import find_cut


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
        layers = list(head) if isinstance(head, (list, tuple)) else [head]
        if not layers or not all(isinstance(layer, keras.Layer) for layer in layers):
            raise BuildError(
                f"Expected `head` to be a HeadSpec, a Keras layer or a list of layers. Received: {head!r}."
            )
        (outputs,) = graph.copy_onto(inputs, [last], share=share)
        for layer in layers:
            try:
                outputs = layer(outputs)
            except (ValueError, TypeError) as error:
                raise BuildError(
                    f"Expected `head` to take the output of {graph.title}, of shape {tuple(outputs.shape)}. Received: "
                    f"the layer {layer.name!r}, which can't: {first_line(error)}."
                ) from error
    try:
        return keras.Model(inputs, outputs, name=graph.title)
    except ValueError as error:  # a name that two layers share
        raise BuildError(
            f"Expected a head that fits {graph.title}. Received: {error}. Give its layers other names."
        ) from error


def add_head(head: HeadSpec, feature_maps: Sequence[Any], taken: Collection[str] = ()) -> Any:
    """Pool the feature maps of all levels of a head, concatenate them and classify: (batch, head.classes).

    A map is a symbolic tensor of shape (batch, height, width, channels), (batch, tokens, channels) or (batch,
    channels). `taken` are names that layers of the network have already.
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


def _pooled(x: Any, pooling: str, name: str) -> Any:
    """A vector of a map of shape (batch, height, width, channels) or (batch, tokens, channels); a vector unchanged."""
    dimensions = len(x.shape) - 2
    if dimensions == 0:
        return x
    average = getattr(keras.layers, f"GlobalAveragePooling{dimensions}D")
    largest = getattr(keras.layers, f"GlobalMaxPooling{dimensions}D")
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
