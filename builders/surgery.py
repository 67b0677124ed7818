"""Cut points of a network, found in its layer graph; cutting, copying and freezing there."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from builders.errors import BuildError

# Layers that act on each value alone or only move values: a unit of the network ends behind them, not before.
_POINTWISE = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.SpatialDropout2D,
)
_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D, keras.layers.Flatten)
_DEPTHWISE = (keras.layers.DepthwiseConv2D,)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """A tensor through which every path from input to output passes.

    Attributes:
        layer: the layer that puts it out.
        depth: the share of the backbone's weighted layers at or below it, in (0, 1]; 1.0 is the whole backbone.
        shape: (height, width, channels).
        parameters: the number of weights at or below it.
        batch_norm: the last BatchNorm layer since the cut point before, or None.
    """

    layer: str
    depth: float
    shape: tuple[int, int, int]
    parameters: int
    batch_norm: str | None


def _bottlenecks(nodes: list[Any]) -> list[bool]:
    """For each node, in topological order: does every path from the first node to the last pass through it?

    A node is passed by unless no edge leads from a node before it to a node behind it.
    """
    position = {id(node): index for index, node in enumerate(nodes)}
    reach = list(range(len(nodes)))  # the last consumer of each node
    for index, node in enumerate(nodes):
        for parent in node.parent_nodes:
            reach[position[id(parent)]] = max(reach[position[id(parent)]], index)
    farthest, passed = -1, []
    for index in range(len(nodes)):
        passed.append(farthest <= index)
        farthest = max(farthest, reach[index])
    return passed


def _nodes_in_order(network: Any) -> list[Any]:
    """The nodes of a functional model, each behind all that it reads."""
    depths = sorted(network._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in network._nodes_by_depth[depth]]


def _is_map(node: Any) -> bool:
    """Whether the node puts out one feature map of shape (batch, height, width, channels)."""
    return len(node.outputs) == 1 and len(node.outputs[0].shape) == 4


def _backbone_nodes(network: Any) -> list[Any]:
    """The nodes below the classification head, which begins where the last feature map is pooled or flattened."""
    nodes = _nodes_in_order(network)
    ends = [
        index
        for index, passed in enumerate(_bottlenecks(nodes))
        if passed and isinstance(nodes[index].operation, _POOLING)
    ]
    return nodes[: ends[-1]] if ends else nodes


def cut_points(network: Any) -> tuple[CutPoint, ...]:
    """The places where a functional network can be cut, from input to output.

    A cut point lies behind a residual join or behind a unit of convolution, normalisation and activation; never inside
    a residual block, between a depthwise convolution and the pointwise one that completes it, or in the widened part
    of an inverted residual.

    Args:
        network: a functional `keras.Model` with one input.

    Returns:
        The cut points, in order. The last one ends the backbone.
    """
    nodes = _backbone_nodes(network)
    passed = _bottlenecks(nodes)
    weighted = [_mixes(node) for node in nodes]
    places = [
        index
        for index, node in enumerate(nodes)
        if passed[index] and _is_map(node) and any(weighted[: index + 1]) and _ends_unit(nodes, index)
    ]
    places = [index for index in places if not _inside_block(nodes, places, index)]
    points, start = [], 0
    for index in places:
        layer = nodes[index].operation
        norms = [
            node.operation.name
            for node in nodes[start : index + 1]
            if isinstance(node.operation, keras.layers.BatchNormalization)
        ]
        points.append(
            CutPoint(
                layer=layer.name,
                depth=sum(weighted[: index + 1]) / sum(weighted[: places[-1] + 1]),
                shape=tuple(nodes[index].outputs[0].shape[1:]),
                parameters=sum(_parameters(node.operation) for node in nodes[: index + 1]),
                batch_norm=norms[-1] if norms else None,
            )
        )
        start = index + 1
    return tuple(points)


def _parameters(layer: Any) -> int:
    return int(layer.count_params()) if isinstance(layer, keras.Layer) else 0


def _ends_unit(nodes: list[Any], index: int) -> bool:
    """Whether what follows is no mere activation or normalisation of this node's output."""
    if isinstance(nodes[index].operation, keras.layers.ZeroPadding2D):
        return False
    readers = [node for node in nodes[index + 1 :] if any(parent is nodes[index] for parent in node.parent_nodes)]
    return len(readers) != 1 or not isinstance(readers[0].operation, _POINTWISE)


def _inside_block(nodes: list[Any], places: list[int], index: int) -> bool:
    """Whether a separable convolution or an inverted residual is still under way at this node."""
    below = next((node for node in reversed(nodes[: index + 1]) if _mixes(node)), None)
    above = next((node for node in nodes[index + 1 :] if _mixes(node)), None)
    if above is None:
        return False
    if below is not None and isinstance(below.operation, _DEPTHWISE):
        return True
    if not isinstance(above.operation, _DEPTHWISE):
        return False
    ahead = [place for place in places if place > nodes.index(above)]
    narrows = [nodes[place].outputs[0].shape[-1] for place in ahead]
    width = nodes[index].outputs[0].shape[-1]
    earlier = [place for place in places if place < index]
    return bool(earlier) and len(narrows) > 1 and narrows[1] < width


def _mixes(node: Any) -> bool:
    """Whether the node has weights that mix channels or positions, as convolutions do."""
    operation = node.operation
    return isinstance(operation, keras.Layer) and bool(operation.weights) and not isinstance(operation, _POINTWISE)


def find_cut(network: Any, layer: str) -> CutPoint:
    """The cut point at that layer.

    Raises:
        BuildError: the layer is no cut point of the network; the message offers the nearest ones.
    """
    points = cut_points(network)
    for point in points:
        if point.layer == layer:
            return point
    near = difflib.get_close_matches(layer, [point.layer for point in points], n=2, cutoff=0.0)
    raise BuildError(
        f"Expected `cut` to name a cut point of {network.name}. Received: {layer!r}. Nearest: {', '.join(near)}."
    )


def copy_up_to(network: Any, levels: Sequence[str], inputs: Any) -> list[Any]:
    """Copy the part of a network that ends at a cut point onto new inputs.

    The layers are new ones with the same names and weights, laid flat into the graph of `inputs`; the given network
    is unchanged.

    Args:
        network: a functional model with one input.
        levels: names of cut points, from input to output; the last one is where the copy ends.
        inputs: a symbolic tensor of the shape that the network takes.

    Returns:
        The symbolic tensors that the copied levels put out.

    Raises:
        BuildError: one of them is no cut point.
    """
    for level in levels:
        find_cut(network, level)
    part = keras.Model(network.input, [network.get_layer(level).output for level in levels])
    copied: dict[str, Any] = {}

    def copy(original: Any) -> Any:
        """A new layer; the same one wherever the network uses the original again."""
        if original.name not in copied:
            copied[original.name] = original.__class__.from_config(original.get_config())
        return copied[original.name]

    # What keras.models.clone_model does, without its last step, which would nest the copy in a model of its own.
    outputs = part._run_through_graph(inputs, operation_fn=copy)
    for name, new in copied.items():
        if isinstance(new, keras.Layer):
            new.set_weights(network.get_layer(name).get_weights())
    return list(keras.tree.flatten(outputs))


def freeze(model: Any, until: str | None, *, train_batch_norm: bool) -> None:
    """Freeze every layer up to and including one; train those behind it.

    The flag is set on the layers themselves and the model's own stays True, since a frozen parent hides its trainable
    children. A frozen BatchNorm layer runs in inference mode, so that its statistics never move.

    Args:
        model: a flat functional model, changed in place.
        until: the last layer to freeze, in the model's own order; None freezes nothing.
        train_batch_norm: whether BatchNorm layers behind `until` train and move their statistics.

    Raises:
        BuildError: the model has no such layer.
    """
    names = [layer.name for layer in model.layers]
    if until is not None and until not in names:
        raise BuildError(f"Expected `freeze` to name a layer of {model.name}. Received: {until!r}.")
    frozen = names.index(until) + 1 if until is not None else 0
    for index, layer in enumerate(model.layers):
        still = isinstance(layer, keras.layers.BatchNormalization) and not train_batch_norm
        layer.trainable = index >= frozen and not still
