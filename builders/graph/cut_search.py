"""Where a network can be cut, found in its graph alone. Pure: no Keras, no TensorFlow."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise


class Kind(Enum):
    """What a node does to a feature map."""

    INPUT = "input"
    MIXING = "mixing"  # has weights that mix channels or positions, as convolutions do
    DEPTHWISE = "depthwise"  # mixes positions within each channel
    POINTWISE = "pointwise"  # acts on each value alone, normalises, or moves values within a unit
    GATE = "gate"  # multiplies maps
    PADDING = "padding"
    GLOBAL_POOLING = "global pooling"
    AVERAGE_POOLING = "average pooling"  # over windows
    OTHER = "other"

    @property
    def mixes(self) -> bool:
        """Whether it is a convolution or another layer with mixing weights."""
        return self in (Kind.MIXING, Kind.DEPTHWISE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation of a network. A network is a list of nodes in topological order, each on a path to the last."""

    name: str  # unique in the network
    kind: Kind  # what it does
    parents: tuple[int, ...]  # indices of the nodes that it reads, all smaller than its own
    # of its output without the batch, None for an unknown extent; or None if it has several outputs
    shape: tuple[int | None, ...] | None
    layers: int = 0  # number of weighted layers that it stands for
    parameters: int = 0  # number of its weights
    trainable: int = 0  # of these, how many train if nothing is frozen
    trainable_without_norm: int = 0  # the same, with BatchNorm held
    norm: bool = False  # whether it is or contains a BatchNorm layer

    @property
    def is_map(self) -> bool:
        """Whether its output is one feature map (height, width, channels) or one token sequence (tokens, channels)."""
        return self.shape is not None and len(self.shape) in (2, 3)

    @property
    def width(self) -> int:
        """Number of channels; 0 if unknown."""
        return (self.shape or (0,))[-1] or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """A tensor through which every path from input to output passes."""

    layer: str  # whose output it is, under a name that is the same in every rebuild of the network
    depth: float  # share of the backbone's weighted layers at or below it, in (0, 1]; 1.0 is the whole backbone
    shape: tuple[int | None, ...]  # (height, width, channels) or (tokens, channels); None depends on the input
    stride: int | None  # input pixels for one position of the map; None if unknown
    parameters: int  # number of weights at or below it
    batch_norm: str | None  # the last BatchNorm layer since the cut point before


def stride_of(extents: Sequence[int], shape: Sequence[int | None]) -> int | None:
    """Input pixels for one position of a map (positions..., channels), for an input of (height, width) px."""
    positions = math.prod(side or 0 for side in shape[:-1])
    return round((extents[0] * extents[1] / positions) ** 0.5) or None if positions else None


def ancestors(nodes: Sequence[Node], wanted: Iterable[int], ends: Collection[int] = ()) -> set[int]:
    """Indices of the wanted nodes and of all nodes that they depend on, where some `ends` depend on nothing."""
    needed = set(wanted)
    for index in range(max(needed, default=-1), -1, -1):
        if index in needed and index not in ends:
            needed.update(nodes[index].parents)
    return needed


def bottlenecks(nodes: Sequence[Node]) -> list[bool]:
    """For each node: does every path from the first node to the last pass through it?

    That is the case if no edge leads from a node before it to a node behind it, since all nodes lie on such a path.
    """
    last_reader = list(range(len(nodes)))
    for index, node in enumerate(nodes):
        for parent in node.parents:
            last_reader[parent] = index
    farthest, passed = -1, []
    for index, reader in enumerate(last_reader):
        passed.append(farthest <= index)
        farthest = max(farthest, reader)
    return passed


def head_start(nodes: Sequence[Node]) -> int:
    """Index of the node at which the classification head begins: where the last map is pooled or flattened.

    That is the first bottleneck that reduces a map to one position and has no larger map behind it; if each of them
    has one, the first of them; len(nodes) if there is none.
    """
    passed = bottlenecks(nodes)
    found = [index for index, node in enumerate(nodes) if passed[index] and node.parents and _reduces(nodes, node)]
    larger = (index for index, node in enumerate(nodes) if node.is_map and set((node.shape or ())[:-1]) != {1})
    last_map = max(larger, default=-1)
    behind = [index for index in found if index > last_map]
    return (behind or found or [len(nodes)])[0]


_WHOLE = 5  # positions a side: a window with stride 2 leaves more than one of so many


def _reduces(nodes: Sequence[Node], node: Node) -> bool:
    """Whether the node reduces a map to one position."""
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
    # A window over the whole map, as heads had it before global pooling; a backbone may halve a small map to one
    # position.
    least = 3 if node.kind is Kind.AVERAGE_POOLING else _WHOLE
    return all(side is not None and side >= least for side in before.shape[:-1])


def cut_indices(nodes: Sequence[Node]) -> list[int]:
    """The nodes behind which a backbone can be cut, from input to output; the last one ends it.

    A cut point is a bottleneck whose output is a map, behind a residual join or a unit of convolution, normalisation
    and activation. No cut point lies between a depthwise convolution and its pointwise convolution, in the widened part
    of an inverted residual, or between a map and a gate on that map (squeeze-and-excite, swish).
    """
    end = head_start(nodes)
    trunk = _trunk(nodes, end)
    if trunk is not None:
        renumbered = {index: number for number, index in enumerate(trunk)}
        inside = [
            replace(nodes[index], parents=tuple(renumbered[parent] for parent in nodes[index].parents))
            for index in trunk
        ]
        return [trunk[index] for index in cut_indices(inside)]
    passed = bottlenecks(nodes)
    places = [index for index in range(end) if passed[index] and nodes[index].is_map]
    gated: set[int] = set()
    ends = []
    for here, following in pairwise(places):
        between = range(here + 1, following + 1)
        if nodes[following].kind is Kind.GATE and here in nodes[following].parents:
            gated.update(between)
        elif any(nodes[index].kind not in (Kind.POINTWISE, Kind.GATE) for index in between):
            ends.append(here)
    ends = [place for place in (*ends, *places[-1:]) if nodes[place].kind is not Kind.PADDING]
    main = [index for index, node in enumerate(nodes[:end]) if node.kind.mixes and index not in gated]
    ends = [place for place in ends if main and place >= main[0]]
    return [place for place in ends if not _inside_block(nodes, ends, main, place)]


def _trunk(nodes: Sequence[Node], end: int) -> list[int] | None:
    """If the head joins pooled vectors of several maps: the last of them and all that it depends on; else None."""
    if end == len(nodes) or any(nodes[parent].is_map for parent in nodes[end].parents):
        return None
    maps = {index for index, node in enumerate(nodes) if node.is_map}
    pooled = maps & ancestors(nodes, nodes[end].parents, maps)
    return sorted(ancestors(nodes, [max(pooled)])) if pooled else None


def _inside_block(nodes: Sequence[Node], ends: Sequence[int], main: Sequence[int], place: int) -> bool:
    """Whether the node lies inside a separable convolution or an inverted residual."""
    below = [index for index in main if index <= place]
    above = [index for index in main if index > place]
    if not above:
        return False
    if nodes[below[-1]].kind is Kind.DEPTHWISE:
        return True
    width = nodes[place].width
    earlier, later = [end for end in ends if end < place], [end for end in ends if end > place]
    if not earlier or not later:
        return False
    if nodes[above[0]].kind is Kind.DEPTHWISE:
        behind = [end for end in later if end > above[0]]
        return len(behind) > 1 and nodes[behind[1]].width < width
    # The fused form of the inverted residual: one convolution widens at least twofold, and the next one narrows again.
    single = sum(earlier[-1] < index <= place for index in main) == 1
    return single and width >= 2 * nodes[earlier[-1]].width and width >= 2 * nodes[later[0]].width
