"""Cut points from the graph alone, against a naive oracle that walks every path."""

import itertools

import numpy as np
import pytest

from builders.graph.cut_search import Kind, Node, bottlenecks, cut_indices, head_start


def paths(nodes, index):
    """Every path from the first node to this one."""
    if index == 0:
        return [[0]]
    return [[*path, index] for parent in nodes[index].parents for path in paths(nodes, parent)]


def chain(*kinds, shape=(8, 8, 4), **changes):
    """A chain of nodes behind an input; `changes` replaces fields of the node with that index."""
    nodes = [Node(name="input", kind=Kind.INPUT, parents=(), shape=(8, 8, 3))]
    for index, kind in enumerate(kinds, start=1):
        fields = {"name": f"n{index}", "kind": kind, "parents": (index - 1,), "shape": shape}
        fields |= {"layers": int(kind in (Kind.MIXING, Kind.DEPTHWISE))}
        nodes.append(Node(**{**fields, **changes.get(f"n{index}", {})}))
    return nodes


def names(nodes):
    return [nodes[index].name for index in cut_indices(nodes)]


@pytest.mark.parametrize("seed", range(40))
def test_a_bottleneck_lies_on_every_path(seed):
    rng = np.random.default_rng(seed)
    nodes = [Node(name="0", kind=Kind.INPUT, parents=(), shape=(8, 8, 3))]
    for index in range(1, 11):
        some = rng.choice(index, size=min(index, int(rng.integers(1, 4))), replace=False)
        nodes.append(Node(name=str(index), kind=Kind.MIXING, parents=tuple(map(int, some)), shape=(8, 8, 3)))
    used = {10} | {parent for path in paths(nodes, 10) for parent in path}
    order = sorted(used)
    nodes = [
        Node(
            name=nodes[i].name,
            kind=nodes[i].kind,
            parents=tuple(order.index(p) for p in nodes[i].parents),
            shape=(8, 8, 3),
        )
        for i in order
    ]
    every = paths(nodes, len(nodes) - 1)
    expected = [all(index in path for path in every) for index in range(len(nodes))]
    assert bottlenecks(nodes) == expected


def test_a_unit_ends_behind_its_activation():
    nodes = chain(Kind.MIXING, Kind.POINTWISE, Kind.POINTWISE, Kind.MIXING, Kind.POINTWISE)
    assert names(nodes) == ["n3", "n5"]


def test_no_cut_inside_a_residual_block():
    nodes = chain(Kind.MIXING, Kind.MIXING, Kind.MIXING, Kind.POINTWISE, n4={"parents": (1, 3), "kind": Kind.POINTWISE})
    assert names(nodes) == ["n1", "n4"]


def test_no_cut_in_front_of_a_gate_on_the_same_map():
    """Squeeze-and-excite: the map, its pooled and mixed scale, their product."""
    nodes = chain(
        *(Kind.MIXING, Kind.DEPTHWISE, Kind.GLOBAL_POOLING, Kind.MIXING, Kind.GATE, Kind.MIXING),
        n3={"shape": (1, 1, 4)},
        n4={"shape": (1, 1, 4)},
        n5={"parents": (2, 4)},
    )
    assert names(nodes) == ["n1", "n6"]


def test_no_cut_in_the_widened_part_of_an_inverted_residual():
    wide = {"shape": (8, 8, 24)}
    nodes = chain(
        *(Kind.MIXING, Kind.MIXING, Kind.POINTWISE, Kind.DEPTHWISE, Kind.POINTWISE, Kind.MIXING, Kind.MIXING),
        **dict.fromkeys(("n2", "n3", "n4", "n5"), wide),
    )
    assert names(nodes) == ["n1", "n6", "n7"]


def test_no_cut_between_padding_and_what_it_pads():
    assert names(chain(Kind.MIXING, Kind.PADDING, Kind.MIXING)) == ["n1", "n3"]


@pytest.mark.parametrize(
    ("ending", "end"),
    [
        (["pool", "dense"], "n1"),
        (["flatten", "dense", "dense"], "n1"),
        (["window", "flatten", "dense"], "n1"),
        ([], "n1"),
    ],
)
def test_the_head_begins_where_the_last_map_is_pooled_or_flattened(ending, end):
    kinds = {
        "pool": (Kind.GLOBAL_POOLING, (4,)),
        "flatten": (Kind.OTHER, (64,)),
        "dense": (Kind.MIXING, (5,)),
        "window": (Kind.AVERAGE_POOLING, (1, 1, 4)),
    }
    chosen = [kinds[name] for name in ending]
    nodes = chain(
        Kind.MIXING,
        *(kind for kind, _ in chosen),
        **{f"n{index}": {"shape": shape} for index, (_, shape) in enumerate(chosen, start=2)},
    )
    assert names(nodes)[-1] == end
    assert head_start(nodes) == int(end[1:]) + 1


def test_a_small_map_that_is_halved_to_one_position_is_still_of_the_backbone():
    shapes = {"n1": {"shape": (2, 2, 4)}, "n2": {"shape": (1, 1, 4)}, "n3": {"shape": (4,)}, "n4": {"shape": (2,)}}
    assert names(chain(Kind.MIXING, Kind.OTHER, Kind.OTHER, Kind.MIXING, **shapes)) == ["n1", "n2"]


def test_a_pooled_branch_is_no_head():
    nodes = chain(
        *(Kind.MIXING, Kind.GLOBAL_POOLING, Kind.MIXING, Kind.GATE, Kind.MIXING),
        n2={"shape": (4,)},
        n3={"shape": (4,)},
        n4={"parents": (1, 3)},
    )
    assert head_start(nodes) == len(nodes)


def test_tokens_are_maps_and_picking_one_of_them_begins_the_head():
    nodes = chain(*[Kind.MIXING] * 3, Kind.OTHER, Kind.MIXING, shape=(16, 4), n4={"shape": (4,)}, n5={"shape": (2,)})
    assert names(nodes) == ["n1", "n2", "n3"]


def test_a_network_of_vectors_has_no_cut_point():
    assert names(chain(Kind.MIXING, Kind.MIXING, shape=(10,))) == []
    assert list(itertools.chain(cut_indices(chain()))) == []


def test_a_head_that_joins_several_pooled_maps_leaves_the_cut_points_of_the_last_of_them():
    nodes = chain(*[Kind.MIXING] * 3)
    for number, parent in enumerate((1, 2, 3)):
        nodes.append(Node(name=f"pool{number}", kind=Kind.GLOBAL_POOLING, parents=(parent,), shape=(4,)))
    nodes.append(Node(name="join", kind=Kind.OTHER, parents=(4, 5, 6), shape=(12,)))
    nodes.append(Node(name="dense", kind=Kind.MIXING, parents=(7,), shape=(2,)))
    assert names(nodes) == ["n1", "n2", "n3"]


def test_a_sum_of_tokens_begins_the_head():
    nodes = chain(
        Kind.MIXING,
        Kind.OTHER,
        Kind.OTHER,
        Kind.MIXING,
        n2={"shape": (64, 4)},
        n3={"shape": (1, 4)},
        n4={"shape": (2,)},
    )
    assert names(nodes) == ["n1", "n2"]


@pytest.mark.parametrize("kind", [Kind.MIXING, Kind.OTHER, Kind.AVERAGE_POOLING])
def test_a_window_over_the_whole_map_begins_the_head_whatever_it_does(kind):
    nodes = chain(Kind.MIXING, kind, Kind.MIXING, n2={"shape": (1, 1, 4)}, n3={"shape": (1, 1, 2)})
    assert names(nodes) == ["n1"]


def test_maps_behind_a_flattening_belong_to_the_backbone():
    nodes = chain(
        *(Kind.MIXING, Kind.OTHER, Kind.MIXING, Kind.OTHER, Kind.MIXING, Kind.GLOBAL_POOLING, Kind.MIXING),
        n2={"shape": (256,)},
        n3={"shape": (64,)},
        n4={"shape": (4, 4, 4)},
        n6={"shape": (4,)},
        n7={"shape": (2,)},
    )
    assert names(nodes)[-1] == "n5"
