"""A module's flat op graph as the search for cut points reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builders.errors import BuildError, first_line
from builders.graph.cut_search import Kind, Node, cut_indices

BATCH = 97  # of the shape inference: a tensor with this first extent holds one entry for each image

_ALIASES = {"Identity", "IdentityN", "EnsureShape", "Snapshot", "PreventGradient", "CheckNumerics"}
_MIXING = {"Conv2D", "Conv3D", "Conv2DBackpropInput", "Conv", "FusedPadConv2D"}
_PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}  # mixing, if one factor is a weight
_PADDINGS = {"Pad", "PadV2", "MirrorPad", "SpaceToBatch", "SpaceToBatchND"}
_REDUCTIONS = {"Mean", "Max", "Sum"}
_POINTWISE = set(
    """
    Abs Add AddN AddV2 BiasAdd BiasAddV1 Cast ClipByValue Div DivNoNan Elu Erf Erfc Exp Expm1 FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 Greater GreaterEqual LRN LeakyRelu Less LessEqual Log Log1p Maximum Minimum Neg
    Pow RealDiv Reciprocal Relu Relu6 Rsqrt Select SelectV2 Selu Sigmoid Sign Softplus Softsign Sqrt Square
    SquaredDifference StopGradient Sub Tanh
    """.split()
)
CONTROL_FLOW = frozenset(
    "Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While".split()
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatGraph:
    """A module in inference mode: all functions inlined where that is possible, no control edges.

    Attributes:
        graph: a `GraphDef`, in which the image batch and each variable are placeholders.
        input: the image batch's node.
        output: name of the one tensor that it puts out.
        variables: the loaded variable by the node that stands for it.
    """

    graph: Any
    input: str
    output: str
    variables: Mapping[str, Any]


Ref = tuple[str, int]  # a tensor: node and number of its output


def tensor_ref(name: str) -> Ref:
    node, _, number = name.partition(":")
    return node, int(number or 0)


def tensor_name(ref: Ref) -> str:
    return f"{ref[0]}:{ref[1]}"


class OpGraph:
    """The ops between a module's input and its output, without those that only work on weights.

    Attributes:
        flat: the graph.
        ops: its nodes by name.
        path: names of the ops on the paths from input to output, in topological order.
        nodes: the same as `builders.graph.cut_search` sees them.
        output: the tensor that it puts out.
    """

    def __init__(self, flat: FlatGraph) -> None:
        self.flat = flat
        self.ops = {node.name: node for node in flat.graph.node}
        self._shapes = _inferred(flat)
        self.output = self.resolve(flat.output)
        self.path, self._weights = self._sorted()
        self.index = {name: index for index, name in enumerate(self.path)}
        self._used = self._outputs_used()
        self.nodes = [self._node(name) for name in self.path]

    def resolve(self, tensor: str) -> Ref:
        """The tensor that a name refers to, without the ops that only pass it on."""
        name, number = tensor_ref(tensor)
        while self.ops[name].op in _ALIASES:
            name, number = tensor_ref(self.ops[name].input[number if self.ops[name].op == "IdentityN" else 0])
        return name, number

    def reads(self, name: str) -> list[Ref]:
        """The tensors that an op reads."""
        return [self.resolve(tensor) for tensor in self.ops[name].input if not tensor.startswith("^")]

    def shape(self, ref: Ref) -> tuple[int | None, ...] | None:
        """Shape of a tensor for a batch of `BATCH` images; None where its rank is open."""
        return self._shapes[tensor_name(ref)][0]

    def dtype(self, ref: Ref) -> int:
        """Number of a tensor's dtype."""
        return self._shapes[tensor_name(ref)][1]

    def _sorted(self) -> tuple[list[str], dict[str, frozenset[str]]]:
        """Ops that depend on the input in topological order; and for each op the variables that reach it otherwise."""
        order: list[str] = []
        depends: dict[str, bool] = {}
        weights: dict[str, frozenset[str]] = {}
        waiting = [self.output[0]]
        while waiting:
            name = waiting[-1]
            before = [] if name == self.flat.input else [read for read, _ in self.reads(name)]
            missing = [read for read in before if read not in depends]
            waiting.extend(missing)
            if missing:
                continue
            waiting.pop()
            if name in depends:
                continue
            depends[name] = name == self.flat.input or any(depends[read] for read in before)
            own = {name} & self.flat.variables.keys()
            weights[name] = frozenset(own.union(*(weights[read] for read in before if not depends[read])))
            if depends[name]:
                order.append(name)
        return order, weights

    def _outputs_used(self) -> dict[str, set[int]]:
        used: dict[str, set[int]] = {self.output[0]: {self.output[1]}}
        for name in self.path[1:]:
            for read, number in self.reads(name):
                used.setdefault(read, set()).add(number)
        return used

    def parents(self, name: str) -> list[str]:
        """The ops on the path that an op reads, each once."""
        if name == self.flat.input:
            return []
        return list(dict.fromkeys(read for read, _ in self.reads(name) if read in self.index))

    def _node(self, name: str) -> Node:
        parents = self.parents(name)
        kind = self._kind(name, parents) if parents else Kind.INPUT
        mixes = kind in (Kind.MIXING, Kind.DEPTHWISE)
        places = tuple(self.index[parent] for parent in parents)
        return Node(name=name, kind=kind, parents=places, shape=self._map(name), layers=int(mixes))

    def _map(self, name: str) -> tuple[int | None, ...] | None:
        """Shape without the batch; None if there are several outputs or not one entry for each image."""
        if len(self._used[name]) != 1:
            return None
        (number,) = self._used[name]
        shape = self.shape((name, number))
        return shape[1:] if shape and shape[0] == BATCH else None

    def _kind(self, name: str, parents: Sequence[str]) -> Kind:
        op = self.ops[name].op
        if op == "DepthwiseConv2dNative" or (op == "Conv2D" and self._grouped_singly(name)):
            return Kind.DEPTHWISE
        if op in _MIXING or (op in _PRODUCTS and len(parents) == 1):
            return Kind.MIXING
        if op == "Mul":
            return Kind.GATE if len(parents) > 1 else Kind.POINTWISE
        if op in _REDUCTIONS:
            return Kind.GLOBAL_POOLING if self._pools(name, parents) else Kind.POINTWISE
        if op == "AvgPool":
            return Kind.AVERAGE_POOLING
        if op in _PADDINGS:
            return Kind.PADDING
        return Kind.POINTWISE if op in _POINTWISE else Kind.OTHER

    def _grouped_singly(self, name: str) -> bool:
        """Whether a convolution works on each channel alone."""
        images, kernel = (self.shape(ref) for ref in self.reads(name)[:2])
        return bool(images and kernel) and kernel[2] == 1 and (images[-1] or 0) > 1  # type: ignore[index]

    def _pools(self, name: str, parents: Sequence[str]) -> bool:
        before, after = self._map(parents[0]), self._map(name)
        if not before or not after or len(before) < 2 or before[-1] != after[-1]:
            return False
        return set(after[:-1]) <= {1} and set(before[:-1]) != {1}

    def cuts(self, trainable: frozenset[str]) -> list[int]:
        """Indices of the ops behind which the graph is split, from input to output.

        All ops between two uses of a trainable variable stay in one segment; otherwise its copies would differ.

        Args:
            trainable: nodes of the variables that train.
        """
        found = [place for place in cut_indices(self.nodes) if self._used[self.path[place]] == {0}]
        first: dict[str, int] = {}
        tied: list[tuple[int, int]] = []
        for place, name in enumerate(self.path[1:], start=1):
            for weight in self.weights_of(name) & trainable:
                tied.append((first.setdefault(weight, place), place))
        found = [place for place in found if not any(start <= place < end for start, end in tied)]
        return self._lasting(found)

    def weights_of(self, name: str) -> frozenset[str]:
        """Nodes of the variables that an op on the path reads, straight or through ops that only work on weights."""
        others = (self._weights[read] for read, _ in self.reads(name) if read not in self.index)
        return frozenset().union(*others)

    def _lasting(self, cuts: list[int]) -> list[int]:
        """The cuts that are still cut points when each segment is one layer."""
        while cuts:
            chain = [self.nodes[0]]
            for place in cuts:
                parents = (len(chain) - 1,)
                chain.append(Node(name="", kind=Kind.MIXING, parents=parents, shape=self.nodes[place].shape, layers=1))
            if cuts[-1] < len(self.path) - 1:
                last = self.nodes[-1].shape
                chain.append(Node(name="", kind=Kind.OTHER, parents=(len(chain) - 1,), shape=last))
            kept = [cuts[place - 1] for place in cut_indices(chain) if place <= len(cuts)]
            if kept == cuts:
                break
            cuts = kept
        return cuts


def reason_of(error: Exception) -> str:
    """TensorFlow's message, without the op's attributes that it appends."""
    return first_line(error).partition(" for '{{node")[0]


def _inferred(flat: FlatGraph) -> dict[str, tuple[tuple[int | None, ...] | None, int]]:
    """Shape and number of the dtype of each tensor, for a batch of `BATCH` images."""
    import tensorflow as tf

    (placeholder,) = (node for node in flat.graph.node if node.name == flat.input)
    _, height, width, _ = shape = placeholder.attr["shape"].shape.dim
    try:
        shape[0].size = BATCH
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(flat.graph, name="")
    except ValueError as error:
        raise BuildError(
            f"Expected the module to take images of {height.size} x {width.size} px. Received: {reason_of(error)}. "
            "Choose another input size."
        ) from error
    finally:
        shape[0].size = -1
    found = {}
    for op in graph.get_operations():
        for tensor in op.outputs:
            shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
            found[tensor.name] = (shape, tensor.dtype.as_datatype_enum)
    return found
