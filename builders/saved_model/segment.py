"""A segment of a module's op graph as data, and its name. Pure: no Keras, no TensorFlow."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from builders.graph.layer_names import free_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A variable of the module."""

    name: str  # of the Keras variable, unique in its layer
    node: str  # the placeholder in the graph that its value enters by
    shape: tuple[int, ...]
    dtype: str
    trainable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A BatchNorm in inference mode: y = gamma (x - mean) / sqrt(variance + epsilon) + beta."""

    x: str  # name of the tensor that it reads
    y: str  # name of the tensor that it puts out
    gamma: str | None  # the node of a weight or a constant; None where the scale is 1
    beta: str | None  # None where the shift is 0
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """The part of an op graph between two cut points. Saved files hold these fields."""

    name: str  # of the Keras layer
    graph: bytes  # a serialised and compressed `GraphDef`; the segment's input and weights are placeholders in it
    source: str  # name of the tensor that it reads
    target: str  # name of the tensor that it puts out
    input_shape: tuple[int | None, ...]  # without the batch
    output_shape: tuple[int | None, ...]  # without the batch
    weights: tuple[Weight, ...]
    norms: tuple[Norm, ...]  # from input to output
    weighted_layers: int  # how many convolutions and matrix products by a weight it holds
    head: bool  # whether it is the part behind the last map


SEGMENT_SCOPE = "netgraft_segment"  # around the ops of a segment; when the built model is exported, they keep it
_CALL = re.compile(r"Func|(Stateful)?PartitionedCall(_\d+)?")  # scopes that inlining a function adds to its ops


def segment_names(cuts: Sequence[str], ops: Sequence[str]) -> list[str]:
    """Layer names for the segments that end at the ops `cuts`: `…/model/block_8_add/add` becomes `block_8_add`.

    Scopes of inlined functions are removed, and the scope that all weighted ops of the network (`ops`) share; so is a
    number that Keras 3 appends to the scopes of all layers.
    """
    paths = [_path(op) for op in ops]
    shared = 0
    while paths and len({tuple(path[: shared + 1]) for path in paths}) == 1 and min(map(len, paths)) > shared + 2:
        shared += 1
    prefix = paths[0][:shared] if paths else []
    scopes = {path[shared] for path in paths if len(path) > shared + 1}
    endings = Counter(match[1] for scope in scopes if (match := re.search(r"(_\d+)$", scope)))
    ((number, count),) = endings.most_common(1) or [("", 0)]
    if len(scopes) < 2 or count <= 0.8 * len(scopes):
        number = ""
    taken = {"image", "head"}
    names = []
    for path in map(_path, cuts):
        if path[:shared] == prefix and len(path) > shared:
            path = path[shared:]
        if len(path) > 2 and path[-2] == "batchnorm":  # the scope in which TensorFlow's own function normalises
            path = [*path[:-2], path[-1]]
        scoped = [path[0].removesuffix(number), *path[1:]] if len(path) > 1 else path
        names.append(keras_name("_".join(scoped[:-1] or scoped), "_".join(scoped), taken))
    return names


def _path(op: str) -> list[str]:
    parts = op.split("/")
    if SEGMENT_SCOPE in parts:
        parts = [*parts[: parts.index(SEGMENT_SCOPE)], parts[-1]]
    return [part for part in parts if not _CALL.fullmatch(part)] or parts[-1:]


def keras_name(name: str, longer: str, taken: set[str]) -> str:
    """A name that Keras accepts: the first one, the longer one, or that with a number; then it is taken."""
    name, longer = (re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "op" for text in (name, longer))
    free = name if name not in taken else free_name(longer, taken)
    taken.add(free)
    return free
