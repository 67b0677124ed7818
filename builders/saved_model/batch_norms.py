"""Find the BatchNorms of a module in its inference graph, as one op or as the arithmetic that Keras 3 writes."""

from itertools import permutations
from typing import Any, TypeAlias

from builders.saved_model.op_graph import OpGraph, Ref, tensor_name
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
    found = []
    for index, name in enumerate(graph.path):
        norm = _fused(graph, name) if graph.ops[name].op in _FUSED else _arithmetic(graph, name)
        if norm is not None:
            found.append((index, norm))
    return found


def _fused(graph: OpGraph, name: str) -> Norm | None:
    attributes = graph.ops[name].attr  # a default may be left out
    training = "is_training" not in attributes or attributes["is_training"].b
    if training or ("data_format" in attributes and attributes["data_format"].s != b"NHWC"):
        return None
    x, *weights = graph.reads(name)
    nodes = [_plain(graph, tensor)[0] for tensor in weights]
    if not all(_is_weight(graph, node) for node in nodes):
        return None
    gamma, beta, mean, variance = nodes
    epsilon = float(attributes["epsilon"].f) if "epsilon" in attributes else 1e-4
    return Norm(x=tensor_name(x), y=f"{name}:0", gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=epsilon)


def _arithmetic(graph: OpGraph, name: str) -> Norm | None:
    found = next((parts for pattern in _PATTERNS if (parts := _match(graph, (name, 0), pattern))), None)
    if found is None:
        return None
    nodes = {part: _plain(graph, tensor)[0] for part, tensor in found.items()}
    return Norm(
        x=tensor_name(found["x"]),
        y=f"{name}:0",
        gamma=nodes.get("gamma"),
        beta=nodes.get("beta"),
        mean=nodes["mean"],
        variance=nodes["variance"],
        epsilon=_number(graph, nodes["epsilon"]) or 0.0,
    )


def _match(graph: OpGraph, tensor: Ref, pattern: _Pattern) -> dict[str, Ref] | None:
    """The tensors of a pattern's parts, if a tensor is computed in that way; an equal part is one tensor."""
    if pattern == "x":
        return {"x": tensor} if tensor[0] in graph.index else None
    tensor = _plain(graph, tensor)
    if isinstance(pattern, str):
        scalar = _number(graph, tensor[0]) is not None
        fits = scalar if pattern == "epsilon" else _is_weight(graph, tensor[0]) and not scalar
        return {pattern: tensor} if fits else None
    op, *parts = pattern
    node = graph.ops[tensor[0]]
    if node.op.removesuffix("V2") != op:
        return None
    reads = graph.reads(node.name)
    for order in permutations(reads) if op in ("Add", "Mul") else [reads]:
        found: dict[str, Ref] = {}
        for read, part in zip(order, parts, strict=True):
            inner = _match(graph, read, part)
            if inner is None or any(found.get(name, ref) != ref for name, ref in inner.items()):
                break
            found |= inner
        else:
            return found
    return None


def _plain(graph: OpGraph, tensor: Ref) -> Ref:
    while graph.ops[tensor[0]].op in _RESHAPES:
        tensor = graph.reads(tensor[0])[0]
    return tensor


def _is_weight(graph: OpGraph, name: str) -> bool:
    return name in graph.flat.variables or graph.ops[name].op == "Const"


def _number(graph: OpGraph, name: str) -> float | None:
    """The value of a constant without dimensions."""
    node = graph.ops[name]
    if node.op != "Const" or node.attr["value"].tensor.tensor_shape.dim:
        return None
    from tensorflow import make_ndarray

    return float(make_ndarray(node.attr["value"].tensor))
