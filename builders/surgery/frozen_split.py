"""Part a model into what is frozen, which is computed once, and what trains."""

from dataclasses import dataclass
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenSplit:
    """A model in two parts that share its layers.

    Attributes:
        graph: of the whole model.
        entry: index in its nodes of the one that puts out prepared pictures: the resizing, or the input.
        size: height and width in px of prepared pictures.
        channels: of prepared pictures.
        joint: index in its nodes where the frozen part ends: `entry` where no weight is frozen.
        tail: `keras.Model` from what the joint puts out to the model's output.
        head_input: index in the nodes of what the prediction layer reads; None where the model ends in no Dense layer.
    """

    graph: LayerGraph
    entry: int
    size: int
    channels: int
    joint: int
    tail: Any
    head_input: int | None

    @property
    def takes_pictures(self) -> bool:
        """Whether the tail reads prepared pictures, since nothing below is worth keeping."""
        return self.joint == self.entry

    @property
    def solvable(self) -> bool:
        """Whether the prediction layer alone trains, so that a linear classifier is the whole training."""
        return self.head_input is not None and self.joint == self.head_input

    def below_head(self) -> Any:
        """`keras.Model` from what the joint puts out to what the prediction layer reads; None where there is none."""
        if self.head_input is None or self.head_input <= self.joint:
            return None
        inputs = keras.Input(self.tail.input_shape[1:])
        return keras.Model(inputs, self.graph.run(inputs, [self.head_input], start=self.joint)[0])


def split_frozen(model: Any) -> FrozenSplit:
    """Find the frozen part of a model.

    It ends at the last node through which every path from input to output passes and below which nothing trains.

    Args:
        model: a built `keras.Model` with one input and one output, from pictures to a vector.

    Returns:
        The parts; they share the model's layers, so that training the tail trains the model.

    Raises:
        BuildError: nothing trains, or the model takes pictures of any size and resizes them nowhere.
    """
    graph = LayerGraph(model)
    if not model.trainable_variables:
        raise BuildError(
            f"Expected {graph.title} to have layers that train. Received: a model that is frozen as a whole. Set "
            "`trainable` on the layers that shall train."
        )
    entry, size = _entry(graph)
    joint = _joint(graph, entry)
    shape = graph.nodes[joint].shape if joint != entry else (size, size, graph.input_shape[-1])
    if shape is None or None in shape:
        shape = graph.shapes_for((size, size, graph.input_shape[-1]))[joint - 1]
    inputs = keras.Input(shape, name="features" if joint != entry else "pictures")
    tail = keras.Model(inputs, graph.run(inputs, [len(graph.nodes) - 1], start=joint)[0], name=f"{model.name}_tail")
    return FrozenSplit(
        graph=graph,
        entry=entry,
        size=size,
        channels=graph.input_shape[-1],
        joint=joint,
        tail=tail,
        head_input=_head_input(graph),
    )


def _entry(graph: LayerGraph) -> tuple[int, int]:
    """The node that puts out prepared pictures, and their side in px: resizing as `build` does it, or the input."""
    first = graph.calls[0].operation
    if isinstance(first, keras.layers.Resizing):
        config = first.get_config()
        as_built = {"interpolation": "bilinear", "antialias": True, "crop_to_aspect_ratio": False}
        padded = config.get("pad_to_aspect_ratio", False)
        if first.height == first.width and not padded and all(config[key] == as_built[key] for key in as_built):
            return 1, int(first.height)
    shape = graph.input_shape
    if len(shape) != 3 or shape[0] is None or shape[0] != shape[1]:
        raise BuildError(
            f"Expected {graph.title} to take square pictures, or to begin with the resizing that `build` puts there. "
            f"Received: an input of shape {shape}, first read by {graph.calls[0].name}. Start from a built model."
        )
    return 0, int(shape[0])


def _joint(graph: LayerGraph, entry: int) -> int:
    """Where the frozen part ends: the last passage below all that trains, `entry` where no weight is frozen.

    Layers that draw at random in training alone, as Dropout, are passed over inside the frozen part, which runs in
    inference mode; in front of it or behind it they stay out, so that they act.
    """
    layers = {index: call.operation for index, call in enumerate(graph.calls, start=1)}
    trains = min(index for index, layer in layers.items() if _trains(layer))
    frozen = [index for index, layer in layers.items() if index < trains and _has_weights(layer)]
    random = [index for index, layer in layers.items() if entry < index < trains and _draws(layer)]
    if not frozen or any(index < frozen[0] for index in random):
        return entry
    end = min((index for index in random if index > frozen[-1]), default=trains)
    return max((index for index in graph.passages if frozen[0] <= index < end), default=entry)


def _draws(operation: Any) -> bool:
    """Whether a layer does something at random in training."""
    return isinstance(operation, keras.Layer) and any(
        hasattr(part, "seed_generator") or hasattr(part, "generator") for part in operation._flatten_layers()
    )


def _has_weights(operation: Any) -> bool:
    """Whether a layer is worth computing once: pixels that are scaled by fixed numbers are not."""
    scales = isinstance(operation, keras.layers.Normalization)
    return isinstance(operation, keras.Layer) and bool(operation.weights) and not scales


def _trains(operation: Any) -> bool:
    return isinstance(operation, keras.Layer) and bool(operation.trainable_variables)


def _head_input(graph: LayerGraph) -> int | None:
    last = graph.calls[-1]
    is_dense = isinstance(last.operation, keras.layers.Dense) and last.operation.use_bias
    return graph.nodes[-1].parents[0] if is_dense and len(last.outputs) == 1 else None
