"""A segment of a module's op graph as data, and its name. Pure: no Keras, no TensorFlow."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from builders.graph.layer_names import free_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A variable of the module.

    Attributes:
        name: of the Keras variable, unique in its layer.
        node: the placeholder in the graph that its value enters by.
        shape: its shape.
        dtype: its dtype's name.
        trainable: whether gradients may change it.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A BatchNorm in inference mode: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Attributes:
        x: name of the tensor that it reads.
        y: name of the tensor that it puts out.
        gamma: the node of a weight or a constant; None where the scale is 1.
        beta: the same of the shift; None where that is 0.
        mean: the same of the moving mean.
        variance: the same of the moving variance.
        epsilon: what is added to the variance.
    """

    x: str
    y: str
    gamma: str | None
    beta: str | None
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """The part of an op graph between two cut points.

    Attributes:
        name: of the Keras layer.
        graph: a serialised `GraphDef`; the segment's input and its weights are placeholders in it.
        source: name of the tensor that it reads.
        target: name of the tensor that it puts out.
        input_shape: of the former, without the batch.
        output_shape: of the latter, without the batch.
        weights: the variables in it.
        norms: the BatchNorms in it, from input to output.
        weighted_layers: how many convolutions and matrix products by a weight it holds.
        head: whether it is the part behind the last map.
    """

    name: str
    graph: bytes
    source: str
    target: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    weights: tuple[Weight, ...]
    norms: tuple[Norm, ...]
    weighted_layers: int
    head: bool


SEGMENT_SCOPE = "netgraft_segment"  # around the ops of a segment; when the built model is exported, they keep it
_CALL = re.compile(r"Func|(Stateful)?PartitionedCall(_\d+)?")  # scopes that inlining a function adds to its ops


def segment_names(cuts: Sequence[str], ops: Sequence[str]) -> list[str]:
    """Layer names for the segments that end at ops: `…/model/block_8_add/add` becomes `block_8_add`.

    Scopes of inlined functions are removed, and the scope that all weighted ops share; so is a number that Keras 3
    appends to the scopes of all layers.

    Args:
        cuts: names of the ops that end a segment.
        ops: names of all convolutions and matrix products of the network.
    """
    paths = [_path(op) for op in ops]
    shared = 0
    while paths and len({tuple(path[: shared + 1]) for path in paths}) == 1 and min(map(len, paths)) > shared + 2:
        shared += 1
    number = _common_number({path[shared] for path in paths if len(path) > shared + 1})
    taken = {"image", "head"}
    prefix = paths[0][:shared] if paths else []
    return [_free(_path(cut), prefix, number, taken) for cut in cuts]


def _common_number(scopes: set[str]) -> str:
    """The ending, `_1`, that most scopes have in common."""
    endings = Counter(match[1] for scope in scopes if (match := re.search(r"(_\d+)$", scope)))
    ((ending, count),) = endings.most_common(1) or [("", 0)]
    return ending if len(scopes) > 1 and count > 0.8 * len(scopes) else ""


def _path(op: str) -> list[str]:
    parts = op.split("/")
    if SEGMENT_SCOPE in parts:
        parts = [*parts[: parts.index(SEGMENT_SCOPE)], parts[-1]]
    return [part for part in parts if not _CALL.fullmatch(part)] or parts[-1:]


def _free(path: list[str], prefix: list[str], number: str, taken: set[str]) -> str:
    if path[: len(prefix)] == prefix and len(path) > len(prefix):
        path = path[len(prefix) :]
    if len(path) > 2 and path[-2] == "batchnorm":  # the scope in which TensorFlow's own function normalises
        path = [*path[:-2], path[-1]]
    scoped = [path[0].removesuffix(number), *path[1:]] if len(path) > 1 else path
    return keras_name("_".join(scoped[:-1] or scoped), "_".join(scoped), taken)


def keras_name(name: str, longer: str, taken: set[str]) -> str:
    """A name that Keras accepts: the first one, the longer one, or that with a number; then it is taken."""
    name, longer = (re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "op" for text in (name, longer))
    free = name if name not in taken else free_name(longer, taken)
    taken.add(free)
    return free
