"""Find the BatchNorms of a module in its inference graph, as one op or as the arithmetic that Keras 3 writes."""

from collections.abc import Iterator
from typing import Any

from builders.saved_model.op_graph import OpGraph, Ref, tensor_name
from builders.saved_model.segment import Norm

_FUSED = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
_SUMS = {"Add", "AddV2"}
_RESHAPES = {"Cast", "Reshape", "ExpandDims", "Squeeze"}  # between a weight of one entry a channel and its use


class _NoNorm(Exception):
    """The arithmetic is not that of a BatchNorm."""


def find_norms(graph: OpGraph) -> list[tuple[int, Norm]]:
    """The BatchNorms on the path, each with the index of the op that puts out its y, from input to output."""
    found = []
    for index, name in enumerate(graph.path):
        op = graph.op(name)
        try:
            if op.op in _FUSED:
                found.append((index, _fused(graph, name)))
            elif op.op in _SUMS:
                found.append((index, _arithmetic(graph, name)))
        except _NoNorm:
            continue
    return found


def _fused(graph: OpGraph, name: str) -> Norm:
    attributes = graph.op(name).attr  # a default may be left out
    training = "is_training" not in attributes or attributes["is_training"].b
    if training or ("data_format" in attributes and attributes["data_format"].s != b"NHWC"):
        raise _NoNorm
    x, gamma, beta, mean, variance = graph.reads(name)
    return Norm(
        x=tensor_name(x),
        y=f"{name}:0",
        gamma=_leaf(graph, gamma),
        beta=_leaf(graph, beta),
        mean=_leaf(graph, mean),
        variance=_leaf(graph, variance),
        epsilon=float(attributes["epsilon"].f) if "epsilon" in attributes else 1e-4,
    )


def _arithmetic(graph: OpGraph, name: str) -> Norm:
    """`tf.nn.batch_normalization`: y = x * s + (beta - mean * s) with s = rsqrt(variance + epsilon) * gamma."""
    product, shift = _on_path_first(graph, name)
    x, scale = _on_path_first(graph, _producer(graph, product, {"Mul"}))
    scale = _plain(graph, scale)
    inverse, gamma = _scale(graph, scale)
    beta, mean = _shift(graph, shift, scale)
    variance, epsilon = _sum(graph, _producer(graph, inverse, {"Rsqrt"}))
    return Norm(
        x=tensor_name(x),
        y=f"{name}:0",
        gamma=gamma,
        beta=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
    )


def _on_path_first(graph: OpGraph, name: str) -> tuple[Ref, Ref]:
    """What the network computes, and what comes from weights alone."""
    first, second = graph.reads(name)
    if (first[0] in graph.index) == (second[0] in graph.index):
        raise _NoNorm
    return (first, second) if first[0] in graph.index else (second, first)


def _producer(graph: OpGraph, tensor: Ref, ops: set[str]) -> str:
    if graph.op(tensor[0]).op not in ops:
        raise _NoNorm
    return tensor[0]


def _plain(graph: OpGraph, tensor: Ref) -> Ref:
    while graph.op(tensor[0]).op in _RESHAPES:
        tensor = graph.reads(tensor[0])[0]
    return tensor


def _leaf(graph: OpGraph, tensor: Ref) -> str:
    """The node of the weight or constant that a tensor holds the values of."""
    name = _plain(graph, tensor)[0]
    if name not in graph.flat.variables and graph.op(name).op != "Const":
        raise _NoNorm
    return name


def _scale(graph: OpGraph, scale: Ref) -> tuple[Ref, str | None]:
    """1 / sqrt(variance + epsilon), and gamma's node."""
    if graph.op(scale[0]).op == "Rsqrt":
        return scale, None
    first, second = (_plain(graph, ref) for ref in graph.reads(_producer(graph, scale, {"Mul"})))
    if graph.op(first[0]).op != "Rsqrt":
        first, second = second, first
    return first, _leaf(graph, second)


def _shift(graph: OpGraph, shift: Ref, scale: Ref) -> tuple[str | None, str]:
    """The nodes of beta and of the moving mean."""
    shift = _plain(graph, shift)
    if graph.op(shift[0]).op == "Sub":
        beta, product = graph.reads(shift[0])
        return _leaf(graph, beta), _leaf(graph, _other_factor(graph, product, scale))
    negative = _plain(graph, _other_factor(graph, shift, scale))
    return None, _leaf(graph, graph.reads(_producer(graph, negative, {"Neg"}))[0])


def _other_factor(graph: OpGraph, product: Ref, scale: Ref) -> Ref:
    factors = graph.reads(_producer(graph, _plain(graph, product), {"Mul"}))
    rest = [factor for factor in factors if _plain(graph, factor) != scale]
    if len(rest) != 1:
        raise _NoNorm
    return rest[0]


def _sum(graph: OpGraph, name: str) -> tuple[str, float]:
    """The variance's node, and epsilon."""
    (total,) = graph.reads(name)
    first, second = graph.reads(_producer(graph, _plain(graph, total), _SUMS))
    values = dict(_constants(graph, first, second))
    if len(values) != 1:
        raise _NoNorm
    ((epsilon, value),) = values.items()
    return _leaf(graph, second if epsilon == first else first), value


def _constants(graph: OpGraph, *tensors: Ref) -> Iterator[tuple[Ref, float]]:
    for tensor in tensors:
        op: Any = graph.op(_plain(graph, tensor)[0])
        if op.op == "Const" and not op.attr["value"].tensor.tensor_shape.dim:
            from tensorflow import make_ndarray

            yield tensor, float(make_ndarray(op.attr["value"].tensor))
