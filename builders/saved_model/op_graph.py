"""A module's flat op graph as the search for cut points reads it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from builders.errors import BuildError, first_line
from builders.graph.cut_search import Kind, Node, cut_indices

_BATCH = 97  # of the shape inference: a tensor with this first extent holds one entry for each image

_ALIASES = {"Identity", "IdentityN", "EnsureShape", "Snapshot", "PreventGradient", "CheckNumerics"}
_PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}  # mixing, if one factor is a weight
_REDUCTIONS = {"Mean", "Max", "Sum"}
_CLASSES = {
    Kind.DEPTHWISE: "DepthwiseConv2dNative",
    Kind.MIXING: "Conv2D Conv3D Conv2DBackpropInput Conv FusedPadConv2D",
    Kind.AVERAGE_POOLING: "AvgPool",
    Kind.PADDING: "Pad PadV2 MirrorPad SpaceToBatch SpaceToBatchND",
    Kind.POINTWISE: (
        "Abs Add AddN AddV2 BiasAdd BiasAddV1 Cast ClipByValue Div DivNoNan Elu Erf Erfc Exp Expm1 FusedBatchNorm "
        "FusedBatchNormV2 FusedBatchNormV3 Greater GreaterEqual LRN LeakyRelu Less LessEqual Log Log1p Max Maximum "
        "Mean Minimum Mul Neg Pow RealDiv Reciprocal Relu Relu6 Rsqrt Select SelectV2 Selu Sigmoid Sign Softplus "
        "Softsign Sqrt Square SquaredDifference StopGradient Sub Sum Tanh"
    ),
}
_KINDS = {op: kind for kind, ops in _CLASSES.items() for op in ops.split()}
CONTROL_FLOW = frozenset(
    "Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While".split()
)


def node_of(tensor: str) -> str:
    """The node that puts out a tensor: `add` for `add:0`."""
    return tensor.partition(":")[0]


def dependencies(names: Iterable[str], reads: Callable[[str], Iterable[str]]) -> set[str]:
    """The names and all that they read, directly or through others."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(reads(name))
    return found


class OpGraph:
    """The ops between a module's input and its output, without those that only work on weights.

    Tensors are known by their names. `graph_def` is a module in inference mode: functions are inlined where possible,
    and the image batch, which enters by the node `source`, and each variable are placeholders.
    """

    def __init__(self, graph_def: Any, source: str, output: str, variables: Mapping[str, Any]) -> None:
        self.graph_def = graph_def
        self.source = source
        self.variables = variables  # the loaded variable by the node that stands for it
        self._graph = _imported(graph_def, source)
        self.ops = {op.name: op for op in self._graph.get_operations()}
        self.output = self._resolved(self._graph.get_tensor_by_name(output))
        self.path, self._weights = self._sorted()  # ops on the paths from input to output, in topological order
        self.index = {name: index for index, name in enumerate(self.path)}
        self._used = {node_of(self.output): {self.output}}
        for name in self.path[1:]:
            for tensor in self.reads(name):
                self._used.setdefault(node_of(tensor), set()).add(tensor)
        self.nodes = [self._node(name) for name in self.path]

    def _resolved(self, tensor: Any) -> str:
        """The tensor itself, not one that an op only passes on."""
        while tensor.op.type in _ALIASES:
            tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
        return str(tensor.name)

    def reads(self, name: str) -> list[str]:
        """The tensors that an op reads."""
        return [self._resolved(tensor) for tensor in self.ops[name].inputs]

    def dtype(self, tensor: str) -> Any:
        return self._graph.get_tensor_by_name(tensor).dtype

    def shape(self, tensor: str) -> tuple[int | None, ...] | None:
        """Shape of a tensor for a batch of `_BATCH` images; None where its rank is open."""
        shape = self._graph.get_tensor_by_name(tensor).shape
        return None if shape.rank is None else tuple(shape.as_list())

    def _sorted(self) -> tuple[list[str], dict[str, frozenset[str]]]:
        """Ops that depend on the input in topological order; and for each op the variables that reach it otherwise."""
        order: list[str] = []
        depends: dict[str, bool] = {}
        weights: dict[str, frozenset[str]] = {}
        waiting = [node_of(self.output)]
        while waiting:
            name = waiting[-1]
            before = [] if name == self.source else [node_of(tensor) for tensor in self.reads(name)]
            missing = [read for read in before if read not in depends]
            waiting.extend(missing)
            if missing:
                continue
            waiting.pop()
            if name in depends:
                continue
            depends[name] = name == self.source or any(depends[read] for read in before)
            own = {name} & self.variables.keys()
            weights[name] = frozenset(own.union(*(weights[read] for read in before if not depends[read])))
            if depends[name]:
                order.append(name)
        return order, weights

    def _node(self, name: str) -> Node:
        reads = [] if name == self.source else [node_of(tensor) for tensor in self.reads(name)]
        parents = list(dict.fromkeys(read for read in reads if read in self.index))
        kind = self._kind(name, parents) if parents else Kind.INPUT
        places = tuple(self.index[parent] for parent in parents)
        return Node(name=name, kind=kind, parents=places, shape=self._map(name), layers=int(kind.mixes))

    def _map(self, name: str) -> tuple[int | None, ...] | None:
        """Shape without the batch; None if there are several outputs or not one entry for each image."""
        shapes = [self.shape(tensor) for tensor in self._used[name]]
        return shapes[0][1:] if len(shapes) == 1 and shapes[0] and shapes[0][0] == _BATCH else None

    def _kind(self, name: str, parents: Sequence[str]) -> Kind:
        op = self.ops[name].type
        if op == "Conv2D":
            images, kernel = (self.shape(tensor) for tensor in self.reads(name)[:2])
            if images and kernel and kernel[2] == 1 and (images[-1] or 0) > 1:  # works on each channel alone
                return Kind.DEPTHWISE
        if op in _PRODUCTS and len(parents) == 1:
            return Kind.MIXING
        if op == "Mul" and len(parents) > 1:
            return Kind.GATE
        if op in _REDUCTIONS:
            before, after = self._map(parents[0]) or (), self._map(name) or ()
            keeps_channels = len(before) > 1 and after and before[-1] == after[-1]
            if keeps_channels and set(after[:-1]) <= {1} and set(before[:-1]) != {1}:
                return Kind.GLOBAL_POOLING
        return _KINDS.get(op, Kind.OTHER)

    def cuts(self, trainable: frozenset[str]) -> list[int]:
        """Indices of the ops behind which the graph is split, from input to output.

        All ops between two uses of a trainable variable stay in one segment; otherwise its copies would differ.
        """
        first: dict[str, int] = {}
        tied: list[tuple[int, int]] = []
        for place, name in enumerate(self.path[1:], start=1):
            others = {node_of(tensor) for tensor in self.reads(name)} - self.index.keys()
            for weight in trainable & set().union(*(self._weights[other] for other in others)):
                tied.append((first.setdefault(weight, place), place))
        found = [place for place in cut_indices(self.nodes) if not any(start <= place < end for start, end in tied)]
        return [place for place in found if self._used[self.path[place]] == {f"{self.path[place]}:0"}]


def reason_of(error: Exception) -> str:
    """TensorFlow's message, without the op's attributes that it appends."""
    return first_line(error).partition(" for '{{node")[0]


def _imported(graph_def: Any, source: str) -> Any:
    """The `tf.Graph` with the shapes of all tensors for a batch of `_BATCH` images."""
    (placeholder,) = (node for node in graph_def.node if node.name == source)
    batch, height, width, _ = placeholder.attr["shape"].shape.dim
    batch.size = _BATCH
    try:
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(graph_def, name="")
    except ValueError as error:
        raise BuildError(
            f"Expected the module to take images of {height.size} x {width.size} px. Received: {reason_of(error)}. "
            "Choose another input size."
        ) from error
    finally:
        batch.size = -1
    return graph
