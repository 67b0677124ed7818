"""Where a network can be cut, found in its graph alone. Pure: no Keras, no TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Kind(Enum):
    """What a node does to a feature map."""

    INPUT = "input"
    MIXING = "mixing"  # has weights that mix channels or positions, as convolutions do
    DEPTHWISE = "depthwise"  # mixes positions within each channel
    POINTWISE = "pointwise"  # acts on each value alone, or moves values within a unit: activation, normalisation
    GATE = "gate"  # multiplies maps
    PADDING = "padding"
    GLOBAL_POOLING = "global pooling"
    AVERAGE_POOLING = "average pooling"  # over windows
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation of a network.

    Attributes:
        name: unique in the network.
        kind: what it does.
        parents: indices of the nodes that it reads, all smaller than its own.
        shape: of its output without the batch, None for an unknown extent; or None where it has several outputs.
        layers: how many weighted layers it stands for.
        parameters: number of its weights.
        norm: whether it is a BatchNorm layer or holds one.
    """

    name: str
    kind: Kind
    parents: tuple[int, ...]
    shape: tuple[int | None, ...] | None
    layers: int = 0
    parameters: int = 0
    norm: bool = False

    @property
    def is_map(self) -> bool:
        """Whether it puts out one feature map, (height, width, channels), or one set of tokens, (tokens, channels)."""
        return self.shape is not None and len(self.shape) in (2, 3)

    @property
    def mixes(self) -> bool:
        return self.kind in (Kind.MIXING, Kind.DEPTHWISE)


def bottlenecks(nodes: Sequence[Node]) -> list[bool]:
    """For each node: does every path from the first node to the last pass through it?

    A node is passed by unless no edge leads from a node before it to a node behind it.

    Args:
        nodes: in topological order; all lie on a path from the first to the last.
    """
    reach = list(range(len(nodes)))  # the last reader of each node
    for index, node in enumerate(nodes):
        for parent in node.parents:
            reach[parent] = max(reach[parent], index)
    farthest, passed = -1, []
    for index in range(len(nodes)):
        passed.append(farthest <= index)
        farthest = max(farthest, reach[index])
    return passed


def head_start(nodes: Sequence[Node]) -> int:
    """Index of the node at which the classification head begins: where the last map is pooled or flattened.

    That is the first bottleneck that leaves one position and behind which no map has more than one; where maps follow
    all of those, the first of them. Returns len(nodes) if there is none.
    """
    passed = bottlenecks(nodes)
    found = [index for index, node in enumerate(nodes) if passed[index] and node.parents and _reduces(nodes, node)]
    last_map = max((index for index, node in enumerate(nodes) if _spreads(node)), default=-1)
    behind = [index for index in found if index > last_map]
    return (behind or found or [len(nodes)])[0]


def _spreads(node: Node) -> bool:
    """Whether the node puts out a map of more than one position."""
    return node.is_map and any(side != 1 for side in (node.shape or ())[:-1])


_WHOLE = 5  # positions a side: a window with stride 2 leaves more than one of so many


def _reduces(nodes: Sequence[Node], node: Node) -> bool:
    before = nodes[node.parents[0]]
    if not before.is_map and node.kind is not Kind.OTHER:
        return False
    if node.kind is Kind.GLOBAL_POOLING:
        return True
    if node.shape is None or before.shape is None:
        return False
    if len(node.shape) == 1:
        return True
    if set(node.shape[:-1]) != {1} or not before.is_map:
        return False
    if node.kind is Kind.OTHER and len(node.shape) == 2:
        return before.shape[0] != 1  # a weighted sum of positions
    # A window over the whole map, as heads had it before global pooling; a small map may be halved to one position.
    least = 3 if node.kind is Kind.AVERAGE_POOLING else _WHOLE
    return all(side is not None and side >= least for side in before.shape[:-1])


def cut_indices(nodes: Sequence[Node]) -> list[int]:
    """The nodes behind which a backbone can be cut, from input to output; the last one ends it.

    A cut point is a bottleneck that puts out a map, behind a residual join or behind a unit of convolution,
    normalisation and activation; never between a depthwise convolution and the pointwise one that completes it, in the
    widened part of an inverted residual, or in front of a gate (squeeze-and-excite, swish) on its own map.

    Args:
        nodes: in topological order; all lie on a path from the first to the last.
    """
    end = head_start(nodes)
    trunk = _trunk(nodes, end)
    if trunk is not None:
        return [trunk[index] for index in cut_indices(_part(nodes, trunk))]
    passed = bottlenecks(nodes)
    places = [index for index in range(end) if passed[index] and nodes[index].is_map]
    gated: set[int] = set()
    ends = []
    for here, following in zip(places, [*places[1:], end], strict=True):
        region = range(here + 1, following + 1) if following < end else range(0)
        gate = bool(region) and nodes[following].kind is Kind.GATE and here in nodes[following].parents
        if gate:
            gated.update(region)
        unfinished = gate or (bool(region) and all(_stays_in_unit(nodes[index]) for index in region))
        if not unfinished and nodes[here].kind is not Kind.PADDING:
            ends.append(here)
    main = [index for index, node in enumerate(nodes[:end]) if node.mixes and index not in gated]
    ends = [place for place in ends if main and place >= main[0]]
    return [place for place in ends if not _inside_block(nodes, ends, main, place)]


def _trunk(nodes: Sequence[Node], end: int) -> list[int] | None:
    """Where a head joins pooled vectors of several maps: indices of the last of those maps and all that it depends on.

    None where the head reads one map, as most do.
    """
    if end == len(nodes) or any(nodes[parent].is_map for parent in nodes[end].parents):
        return None
    reached, waiting = set(), list(nodes[end].parents)
    while waiting:
        index = waiting.pop()
        if nodes[index].is_map:
            reached.add(index)
        else:
            waiting.extend(nodes[index].parents)
    if not reached:
        return None
    below, waiting = set(), [max(reached)]
    while waiting:
        index = waiting.pop()
        if index not in below:
            below.add(index)
            waiting.extend(nodes[index].parents)
    return sorted(below)


def _part(nodes: Sequence[Node], kept: Sequence[int]) -> list[Node]:
    """Those nodes alone, which hold all that they read."""
    place = {index: number for number, index in enumerate(kept)}
    return [replace(nodes[index], parents=tuple(place[parent] for parent in nodes[index].parents)) for index in kept]


def _stays_in_unit(node: Node) -> bool:
    return node.kind in (Kind.POINTWISE, Kind.GATE)


def _inside_block(nodes: Sequence[Node], ends: Sequence[int], main: Sequence[int], place: int) -> bool:
    """Whether a separable convolution or an inverted residual is still under way at this node."""
    below = [index for index in main if index <= place]
    above = [index for index in main if index > place]
    if not above:
        return False
    if nodes[below[-1]].kind is Kind.DEPTHWISE:
        return True
    width, earlier, ahead = _width(nodes[place]), [end for end in ends if end < place], [e for e in ends if e > place]
    if not earlier or not ahead:
        return False
    if nodes[above[0]].kind is Kind.DEPTHWISE:
        behind = [end for end in ahead if end > above[0]]
        return len(behind) > 1 and _width(nodes[behind[1]]) < width
    # One convolution widens at least twofold and the next one narrows again: the fused form of the inverted residual.
    lone = sum(earlier[-1] < index <= place for index in main) == 1
    return lone and width >= 2 * _width(nodes[earlier[-1]]) and width >= 2 * _width(nodes[ahead[0]])


def _width(node: Node) -> int:
    """Number of channels."""
    return (node.shape or (0,))[-1] or 0
