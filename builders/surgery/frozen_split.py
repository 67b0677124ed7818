"""Split a model into a frozen part, whose output is computed once, and a part that trains."""

from dataclasses import dataclass
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenSplit:
    """A model in two parts that share its layers. Places are indices in the graph's nodes."""

    graph: LayerGraph  # of the whole model
    entry: int  # whose output is prepared pictures: the resizing, or the input
    size: int  # height and width in px of prepared pictures
    channels: int  # of prepared pictures
    split: int  # the split layer, where the frozen part ends; `entry` if no weight is frozen
    tail: Any  # `keras.Model` from the split layer's output to the model's output
    head_input: int | None  # the input of the prediction layer; None if the model ends in no Dense layer

    @property
    def takes_pictures(self) -> bool:
        """Whether the tail reads prepared pictures, since no frozen part is worth keeping."""
        return self.split == self.entry

    @property
    def solvable(self) -> bool:
        """Whether the prediction layer alone trains, so that a linear classifier is the whole training."""
        return self.head_input is not None and self.split == self.head_input

    def below_head(self) -> Any:
        """`keras.Model` from the split layer's output to the prediction layer's input; None if nothing lies between."""
        if self.head_input is None or self.head_input <= self.split:
            return None
        inputs = keras.Input(self.tail.input_shape[1:])
        return keras.Model(inputs, self.graph.run(inputs, [self.head_input], start=self.split)[0])


def split_frozen(model: Any) -> FrozenSplit:
    """Split a model at the last node that every path passes and below which nothing trains.

    The parts share the model's layers, so that training the tail trains the model.
    """
    graph = LayerGraph(model)
    if not model.trainable_variables:
        raise BuildError(
            f"Expected {graph.title} to have layers that train. Received: a model that is frozen as a whole. Set "
            "`trainable` on the layers that are to train."
        )
    entry, size = _entry(graph)
    split = _split(graph, entry)
    picture = (size, size, graph.input_shape[-1])
    shape = graph.nodes[split].shape if split != entry else picture
    if shape is None or None in shape:
        shape = graph.shapes_for(picture)[split - 1]
    inputs = keras.Input(shape, name="features" if split != entry else "pictures")
    last = graph.calls[-1].operation
    return FrozenSplit(
        graph=graph,
        entry=entry,
        size=size,
        channels=graph.input_shape[-1],
        split=split,
        tail=keras.Model(inputs, graph.run(inputs, [len(graph.calls)], start=split)[0], name=f"{model.name}_tail"),
        head_input=graph.nodes[-1].parents[0] if isinstance(last, keras.layers.Dense) and last.use_bias else None,
    )


def _entry(graph: LayerGraph) -> tuple[int, int]:
    """The node whose output is prepared pictures, and their side in px: the resizing of `build`, or the input."""
    first = graph.calls[0].operation
    if isinstance(first, keras.layers.Resizing) and first.height == first.width:
        config = first.get_config()
        kept = not (config["crop_to_aspect_ratio"] or config.get("pad_to_aspect_ratio"))
        if kept and config["interpolation"] == "bilinear" and config["antialias"]:
            return 1, int(first.height)
    shape = graph.input_shape
    if len(shape) != 3 or shape[0] is None or shape[0] != shape[1]:
        raise BuildError(
            f"Expected {graph.title} to take square pictures, or to begin with the resizing that `build` puts there. "
            f"Received: an input of shape {shape}, first read by {graph.calls[0].name}. Start from a built model."
        )
    return 0, int(shape[0])


def _split(graph: LayerGraph, entry: int) -> int:
    """The node where the frozen part ends: the last passage below all that trains, `entry` if no weight is frozen.

    Layers that are random in training only, as Dropout, do nothing inside the frozen part, which runs in inference
    mode. In front of it or behind it they stay in the tail, so that they act.
    """
    layers = [(i, call.operation) for i, call in enumerate(graph.calls, 1) if isinstance(call.operation, keras.Layer)]
    trains = next(index for index, layer in layers if layer.trainable_variables)
    frozen = [  # scaled pixels are not worth keeping
        index
        for index, layer in layers
        if index < trains and layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]
    random = [
        index
        for index, layer in layers
        if entry < index < trains
        and any(hasattr(part, "seed_generator") or hasattr(part, "generator") for part in layer._flatten_layers())
    ]
    if not frozen or any(index < frozen[0] for index in random):
        return entry
    end = min((index for index in random if index > frozen[-1]), default=trains)
    return max((index for index in graph.passages if frozen[0] <= index < end), default=entry)
