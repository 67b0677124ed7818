"""Split a model into a frozen part, whose outputs are computed once, and a part that trains."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import Call, LayerGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenSplit:
    """A model in two parts that share its layers. Places are indices in the graph's nodes."""

    graph: LayerGraph  # of the whole model
    entry: int  # whose output is prepared pictures: the resizing, or the input
    size: int  # height and width in px of prepared pictures
    channels: int  # of prepared pictures
    reads: tuple[int, ...]  # where the frozen part ends, ascending; `entry` alone if no weight is frozen
    tail: Any  # `keras.Model` from the outputs of `reads` to the model's output
    head_input: int | None  # the input of the prediction layer; None if the model ends in no Dense layer

    @property
    def takes_pictures(self) -> bool:
        """Whether the tail reads prepared pictures, since no frozen part is worth keeping."""
        return self.reads == (self.entry,)

    @property
    def solvable(self) -> bool:
        """Whether the prediction layer alone trains, so that a linear classifier is the whole training."""
        return self.head_input is not None and self.reads == (self.head_input,)

    def below_head(self) -> Any:
        """`keras.Model` from what the tail reads to the prediction layer's input; None without a Dense layer."""
        if self.head_input is None:
            return None
        inputs = [keras.Input(tensor.shape[1:]) for tensor in self.tail.inputs]
        return keras.Model(inputs, self.graph.run(inputs, [self.head_input], start=self.reads)[0])


class _StillNorm(keras.layers.Layer):  # type: ignore[misc]
    """BatchNorm whose statistics stay as they are while its scale and offset train.

    Behind a convolution it is computed as part of it: kernel and bias are scaled, which are far smaller than the map
    (benchmarks/speed.py has the time that this saves).
    """

    def __init__(self, norm: Any, convolution: Any = None) -> None:
        super().__init__(name=f"{norm.name}_still")
        self.norm, self.convolution = norm, convolution

    def call(self, x: Any, mask: Any = None) -> Any:
        norm, convolution = self.norm, self.convolution
        if convolution is None:
            return norm(x, training=False, mask=mask)
        if self.compute_dtype != "float32":  # the scaled kernel may be beyond the range of half precision
            return norm(convolution(x), training=False)
        scale = keras.ops.rsqrt(norm.moving_variance + norm.epsilon)
        if norm.scale:
            scale = scale * norm.gamma
        offset = -norm.moving_mean if convolution.bias is None else convolution.bias - norm.moving_mean
        offset = offset * scale + (norm.beta if norm.center else 0.0)
        kernel = convolution.kernel
        by_channel = isinstance(convolution, keras.layers.DepthwiseConv2D)
        kernel = kernel * (keras.ops.reshape(scale, kernel.shape[2:]) if by_channel else scale)
        x = (keras.ops.depthwise_conv if by_channel else keras.ops.conv)(
            x,
            kernel,
            strides=convolution.strides,
            padding=convolution.padding,
            data_format=convolution.data_format,
            dilation_rate=convolution.dilation_rate,
        )
        return keras.ops.add(x, offset if convolution.data_format == "channels_last" else offset[:, None, None])


def _foldable(convolution: Any, norm: Any) -> bool:
    """Whether BatchNorm does nothing but scale what a plain convolution puts out, channel by channel."""
    return (
        type(convolution) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and type(norm) is keras.layers.BatchNormalization
        and convolution.activation in (None, keras.activations.linear)
        and convolution.activity_regularizer is None
        and convolution.dtype_policy.name == norm.dtype_policy.name == "float32"
        and norm.axis in ((-1, 3) if convolution.data_format == "channels_last" else (1,))
    )


def split_frozen(model: Any, *, train_norms: bool = False) -> FrozenSplit:
    """Split a model where its frozen part ends: at what layers that train read of layers below which nothing trains.

    The parts share the model's layers, so that training the tail trains the model. `train_norms`: whether BatchNorm in
    the tail trains its scale and offset where it is held, its statistics unchanged; its flag is then set in the model.
    """
    graph = LayerGraph(model)
    if not model.trainable_variables:
        raise BuildError(
            f"Expected {graph.title} to have layers that train. Received: a model that is frozen as a whole. Set "
            "`trainable` on the layers that are to train."
        )
    entry, size = _entry(graph)
    picture: tuple[int | None, ...] = (size, size, graph.input_shape[-1])
    reads = _reads(graph, entry)
    shapes = [picture] if reads == (entry,) else [graph.nodes[index].shape for index in reads]
    if any(shape is None or None in shape for shape in shapes):
        fixed = graph.shapes_for(picture)
        shapes = [fixed[index - 1] for index in reads]
    names = ["pictures"] if reads == (entry,) else [f"features_{number}" for number in range(len(reads))]
    inputs = [keras.Input(shape, name=name) for shape, name in zip(shapes, names, strict=True)]
    operation = _with_still_norms(graph, reads) if train_norms else None
    outputs = graph.run(inputs, [len(graph.calls)], operation, start=reads)
    last = graph.calls[-1].operation
    return FrozenSplit(
        graph=graph,
        entry=entry,
        size=size,
        channels=graph.input_shape[-1],
        reads=reads,
        tail=keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs[0], name=f"{model.name}_tail"),
        head_input=graph.nodes[-1].parents[0] if isinstance(last, keras.layers.Dense) and last.use_bias else None,
    )


def _with_still_norms(graph: LayerGraph, reads: tuple[int, ...]) -> Callable[[Call], Any]:
    below = graph.ancestors(reads) | _frozen_norms(graph)
    read_by = Counter(parent for node in graph.nodes for parent in node.parents)
    times = Counter(id(call.operation) for call in graph.calls)
    replaced: dict[str, Any] = {}
    still: dict[int, Any] = {}
    for index, call in enumerate(graph.calls, start=1):
        norm = call.operation
        if index in below or not isinstance(norm, keras.layers.BatchNormalization):
            continue
        if not norm.trainable:
            norm.trainable = True
            parent = graph.nodes[index].parents[0]
            before = graph.calls[parent - 1] if parent else call  # nothing is called before the input
            alone = parent not in below and read_by[parent] == times[id(norm)] == 1 and not before.arguments.kwargs
            folded = alone and _foldable(before.operation, norm)
            still[id(norm)] = _StillNorm(norm, before.operation if folded else None)
            if folded:
                replaced[before.name] = lambda x: x
        if id(norm) in still:
            replaced[call.name] = still[id(norm)]
    return lambda call: replaced.get(call.name, call.operation)


def _frozen_norms(graph: LayerGraph) -> set[int]:
    """Places of BatchNorm among frozen layers, in front of all that trains; none if nothing else is frozen."""
    layers = {i: call.operation for i, call in enumerate(graph.calls, 1) if isinstance(call.operation, keras.Layer)}
    tail = _descendants(graph, {index for index, layer in layers.items() if layer.trainable_variables})
    still = {index: layer for index, layer in layers.items() if index not in tail and layer.weights}
    norms = {index for index, layer in still.items() if isinstance(layer, keras.layers.BatchNormalization)}
    others = [layer for index, layer in still.items() if index not in norms]
    return norms if any(not isinstance(layer, keras.layers.Normalization) for layer in others) else set()


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


def _reads(graph: LayerGraph, entry: int) -> tuple[int, ...]:
    """The nodes where the frozen part ends, `entry` alone if no weight is frozen.

    Layers that are random in training only, as Dropout, do nothing inside the frozen part, which runs in inference
    mode. In front of it or behind it they stay in the tail, so that they act.
    """
    layers = {i: call.operation for i, call in enumerate(graph.calls, 1) if isinstance(call.operation, keras.Layer)}
    active = {index for index, layer in layers.items() if layer.trainable_variables}
    tail = _descendants(graph, active)
    frozen = [  # scaled pixels are not worth keeping
        index
        for index, layer in layers.items()
        if index not in tail and layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]
    below_frozen = graph.ancestors(frozen)
    for index, layer in layers.items():
        is_random = any(
            hasattr(part, "seed_generator") or hasattr(part, "generator") for part in layer._flatten_layers()
        )
        if not is_random or index in tail or index <= entry:
            continue
        if not graph.ancestors([index]).intersection(frozen):
            return (entry,)
        if index not in below_frozen:
            active.add(index)
    tail = _descendants(graph, active)
    ends = sorted({parent for index in tail for parent in graph.nodes[index].parents} - tail)
    kept = all(graph.ancestors([end]).intersection(frozen) and graph.calls[end - 1].single for end in ends)
    return tuple(ends) if frozen and kept else (entry,)


def _descendants(graph: LayerGraph, places: set[int]) -> set[int]:
    """The places and all nodes that depend on them."""
    found = set(places)
    for index, node in enumerate(graph.nodes):
        if found.intersection(node.parents):
            found.add(index)
    return found
