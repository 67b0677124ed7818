"""Find the BatchNorms of a module in its inference graph, as one op or as the arithmetic that Keras 3 writes."""

from itertools import permutations
from typing import Any, TypeAlias

import tensorflow as tf

from builders.saved_model.op_graph import OpGraph, node_of
from builders.saved_model.segment import Norm

_FUSED = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
_RESHAPES = {"Cast", "Reshape", "ExpandDims", "Squeeze"}  # between a weight of one entry a channel and its use

# `tf.nn.batch_normalization`: y = x * s + (beta - mean * s) with s = rsqrt(variance + epsilon) * gamma, where gamma
# and beta may be left out. A pattern is the name of a part, or an op with the patterns of its inputs.
_Pattern: TypeAlias = "str | tuple[Any, ...]"
_INVERSE = ("Rsqrt", ("Add", "variance", "epsilon"))
_SCALES: tuple[_Pattern, ...] = (_INVERSE, ("Mul", _INVERSE, "gamma"))
_PATTERNS = [
    ("Add", ("Mul", "x", scale), shift)
    for scale in _SCALES
    for shift in (("Sub", "beta", ("Mul", "mean", scale)), ("Mul", ("Neg", "mean"), scale))
]


def find_norms(graph: OpGraph) -> list[tuple[int, Norm]]:
    """The BatchNorms on the path, each with the index of the op that puts out its y, from input to output."""
    find = {name: _fused if graph.ops[name].type in _FUSED else _arithmetic for name in graph.path}
    norms = ((index, find[name](graph, name)) for index, name in enumerate(graph.path))
    return [(index, norm) for index, norm in norms if norm is not None]


def _fused(graph: OpGraph, name: str) -> Norm | None:
    op = graph.ops[name]
    x, *weights = graph.reads(name)
    nodes = [node_of(_plain(graph, tensor)) for tensor in weights]
    training = op.get_attr("is_training") or op.get_attr("data_format") != b"NHWC"
    if training or not all(_is_weight(graph, node) for node in nodes):
        return None
    gamma, beta, mean, variance = nodes
    epsilon = float(op.get_attr("epsilon"))
    return Norm(x=x, y=f"{name}:0", gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=epsilon)


def _arithmetic(graph: OpGraph, name: str) -> Norm | None:
    found = next((parts for pattern in _PATTERNS if (parts := _match(graph, f"{name}:0", pattern))), None)
    if found is None:
        return None
    x, epsilon = found.pop("x"), _number(graph, node_of(found.pop("epsilon"))) or 0.0
    nodes: dict[str, Any] = {"gamma": None, "beta": None} | {part: node_of(tensor) for part, tensor in found.items()}
    return Norm(x=x, y=f"{name}:0", epsilon=epsilon, **nodes)


def _match(graph: OpGraph, tensor: str, pattern: _Pattern) -> dict[str, str] | None:
    """The tensors of a pattern's parts, if a tensor is computed in that way; an equal part is one tensor."""
    if pattern == "x":
        return {"x": tensor} if node_of(tensor) in graph.index else None
    tensor = _plain(graph, tensor)
    node = node_of(tensor)
    if isinstance(pattern, str):
        scalar = _number(graph, node) is not None
        fits = scalar if pattern == "epsilon" else _is_weight(graph, node) and not scalar
        return {pattern: tensor} if fits else None
    op, *parts = pattern
    if graph.ops[node].type.removesuffix("V2") != op:
        return None
    reads = graph.reads(node)
    for order in permutations(reads) if op in ("Add", "Mul") else [reads]:
        found: dict[str, str] = {}
        for read, part in zip(order, parts, strict=True):
            inner = _match(graph, read, part)
            if inner is None or any(found.get(name, other) != other for name, other in inner.items()):
                break
            found |= inner
        else:
            return found
    return None


def _plain(graph: OpGraph, tensor: str) -> str:
    while graph.ops[node_of(tensor)].type in _RESHAPES:
        tensor = graph.reads(node_of(tensor))[0]
    return tensor


def _is_weight(graph: OpGraph, name: str) -> bool:
    return name in graph.variables or graph.ops[name].type == "Const"


def _number(graph: OpGraph, name: str) -> float | None:
    """The value of a constant without dimensions."""
    op = graph.ops[name]
    if op.type != "Const" or op.get_attr("value").tensor_shape.dim:
        return None
    return float(tf.make_ndarray(op.get_attr("value")))
