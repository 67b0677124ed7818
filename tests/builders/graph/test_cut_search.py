"""The cut-point search on the graph alone: random graphs against a naive oracle, and each rule on a small graph."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.graph.cut_search import Kind, Node, ancestors, bottlenecks, cut_indices, head_start

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
MAPS = (Kind.MIXING, Kind.DEPTHWISE, Kind.POINTWISE, Kind.GATE, Kind.PADDING, Kind.OTHER)


@st.composite
def graphs(draw, kinds=MAPS):
    """Nodes in topological order, all on a path from the first to the last, with maps of 4 to 24 channels."""
    count = draw(st.integers(2, 11))
    parents = [(), *(draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=3)) for i in range(1, count))]
    kept, waiting = set(), [count - 1]
    while waiting:
        index = waiting.pop()
        kept.add(index)
        waiting.extend(set(parents[index]) - kept)
    place = {index: number for number, index in enumerate(sorted(kept))}
    return [
        Node(
            name=str(number),
            kind=draw(st.sampled_from(kinds)) if number else Kind.INPUT,
            parents=tuple(sorted(place[parent] for parent in parents[index])),
            shape=(8, 8, draw(st.sampled_from((4, 8, 24)))),
        )
        for index, number in place.items()
    ]


def paths(nodes, index):
    """Every path from the first node to this one."""
    if index == 0:
        return [[0]]
    return [[*path, index] for parent in nodes[index].parents for path in paths(nodes, parent)]


@UNHURRIED
@given(graphs())
def test_a_bottleneck_lies_on_every_path(nodes):
    every = paths(nodes, len(nodes) - 1)
    assert bottlenecks(nodes) == [all(index in path for path in every) for index in range(len(nodes))]


@UNHURRIED
@given(graphs(), st.data())
def test_ancestors_are_the_nodes_on_the_paths_to_the_wanted_ones(nodes, data):
    wanted = data.draw(st.sets(st.integers(0, len(nodes) - 1), min_size=1))
    assert ancestors(nodes, wanted) == {index for end in wanted for path in paths(nodes, end) for index in path}


@UNHURRIED
@given(graphs())
def test_a_cut_point_is_a_bottleneck_with_a_convolution_below_and_nothing_unfinished_behind(nodes):
    passed = bottlenecks(nodes)
    for place in cut_indices(nodes):
        assert passed[place]
        assert nodes[place].kind is not Kind.PADDING
        assert any(node.kind.mixes for node in nodes[: place + 1])
        gates = [i for i, node in enumerate(nodes) if node.kind is Kind.GATE and place in node.parents and passed[i]]
        assert not [gate for gate in gates if not any(passed[place + 1 : gate])]


@UNHURRIED
@given(graphs((Kind.MIXING, Kind.OTHER)))
def test_without_units_and_wide_blocks_every_bottleneck_behind_a_convolution_is_a_cut_point(nodes):
    nodes = [replace(node, shape=(8, 8, 4)) for node in nodes]
    first = next((index for index, node in enumerate(nodes) if node.kind.mixes), len(nodes))
    passed = bottlenecks(nodes)
    assert cut_indices(nodes) == [index for index in range(first, len(nodes)) if passed[index]]


@UNHURRIED
@given(graphs(), st.sampled_from([(), (Kind.GLOBAL_POOLING, Kind.MIXING), (Kind.OTHER, Kind.MIXING)]))
def test_a_head_adds_no_cut_point(nodes, head):
    whole = list(nodes)
    for kind in head:
        whole.append(Node(name="head", kind=kind, parents=(len(whole) - 1,), shape=(5,)))
    assert head_start(whole) == len(nodes)
    assert cut_indices(whole) == cut_indices(nodes)


def chain(*kinds, shape=(8, 8, 4), **changes):
    """A chain of nodes n1, n2 ... behind an input; `changes` replaces fields of the node with that name."""
    nodes = [Node(name="input", kind=Kind.INPUT, parents=(), shape=(8, 8, 3))]
    for index, kind in enumerate(kinds, start=1):
        node = Node(name=f"n{index}", kind=kind, parents=(index - 1,), shape=shape)
        nodes.append(replace(node, **changes.get(node.name, {})))
    return nodes


def shapes(**changes):
    return {name: {"shape": shape} for name, shape in changes.items()}


MIX, DEPTHWISE, POINT, OTHER = Kind.MIXING, Kind.DEPTHWISE, Kind.POINTWISE, Kind.OTHER
BLOCKS = {
    "a unit ends behind its activation": (chain(MIX, POINT, POINT, MIX, POINT), ["n3", "n5"]),
    "no cut inside a residual block": (chain(MIX, MIX, MIX, POINT, n4={"parents": (1, 3)}), ["n1", "n4"]),
    "no cut between a map and a gate on it": (
        chain(
            *(MIX, DEPTHWISE, Kind.GLOBAL_POOLING, MIX, Kind.GATE, MIX),
            **shapes(n3=(1, 1, 4), n4=(1, 1, 4)) | {"n5": {"parents": (2, 4)}},
        ),
        ["n1", "n6"],
    ),
    "no cut in the widened part of an inverted residual": (
        chain(
            *(MIX, MIX, POINT, DEPTHWISE, POINT, MIX, MIX),
            **shapes(**dict.fromkeys(("n2", "n3", "n4", "n5"), (8, 8, 24))),
        ),
        ["n1", "n6", "n7"],
    ),
    "no cut in the widened part of a fused inverted residual": (
        chain(MIX, MIX, MIX, **shapes(n2=(8, 8, 16))),
        ["n1", "n3"],
    ),
    "no cut between a depthwise convolution and its pointwise one": (chain(MIX, DEPTHWISE, POINT, MIX), ["n1", "n4"]),
    "no cut between padding and its convolution": (chain(MIX, Kind.PADDING, MIX), ["n1", "n3"]),
    "a network of vectors has none": (chain(MIX, MIX, shape=(10,)), []),
    "an input alone has none": (chain(), []),
}


@pytest.mark.parametrize(("nodes", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_blocks(nodes, expected):
    assert [nodes[index].name for index in cut_indices(nodes)] == expected


def joined_head():
    nodes = chain(MIX, MIX, MIX)
    for number in (1, 2, 3):
        nodes.append(Node(name=f"pool{number}", kind=Kind.GLOBAL_POOLING, parents=(number,), shape=(4,)))
    nodes.append(Node(name="join", kind=OTHER, parents=(4, 5, 6), shape=(12,)))
    return [*nodes, Node(name="dense", kind=MIX, parents=(7,), shape=(2,))]


def window(kind):
    return chain(MIX, kind, MIX, **shapes(n2=(1, 1, 4), n3=(1, 1, 2)))


HEADS = {
    "pooled": (chain(MIX, Kind.GLOBAL_POOLING, MIX, **shapes(n2=(4,), n3=(5,))), "n1"),
    "flattened": (chain(MIX, OTHER, MIX, MIX, **shapes(n2=(64,), n3=(5,), n4=(5,))), "n1"),
    "averaged over windows": (
        chain(MIX, Kind.AVERAGE_POOLING, OTHER, MIX, **shapes(n2=(1, 1, 4), n3=(64,), n4=(5,))),
        "n1",
    ),
    "a convolution over the whole map": (window(MIX), "n1"),
    "an operation over the whole map": (window(OTHER), "n1"),
    "an average over the whole map": (window(Kind.AVERAGE_POOLING), "n1"),
    "a token picked out": (chain(MIX, MIX, MIX, OTHER, MIX, shape=(16, 4), **shapes(n4=(4,), n5=(2,))), "n3"),
    "a weighted sum of tokens": (chain(MIX, OTHER, OTHER, MIX, **shapes(n2=(64, 4), n3=(1, 4), n4=(2,))), "n2"),
    "several pooled maps joined": (joined_head(), "n3"),
    "a small map halved to one position is of the backbone": (
        chain(MIX, OTHER, OTHER, MIX, **shapes(n1=(2, 2, 4), n2=(1, 1, 4), n3=(4,), n4=(2,))),
        "n2",
    ),
    "maps behind a flattening are of the backbone": (
        chain(
            *(MIX, OTHER, MIX, OTHER, MIX, Kind.GLOBAL_POOLING, MIX),
            **shapes(n2=(256,), n3=(64,), n4=(4, 4, 4), n6=(4,), n7=(2,)),
        ),
        "n5",
    ),
    "a pooled branch": (
        chain(MIX, Kind.GLOBAL_POOLING, MIX, Kind.GATE, MIX, **shapes(n2=(4,), n3=(4,)) | {"n4": {"parents": (1, 3)}}),
        "n5",
    ),
}


@pytest.mark.parametrize(("nodes", "last"), HEADS.values(), ids=HEADS)
def test_the_backbone_ends_where_the_head_begins(nodes, last):
    assert nodes[cut_indices(nodes)[-1]].name == last
