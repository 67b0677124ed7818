"""Matching by names, shapes and places alone: properties that hold for any two lists of variables."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.checkpoints.checkpoint import Place, Weight
from builders.checkpoints.matching import match, pair_weights, rename_weights
from builders.errors import BuildError

CLASSES = {"conv2d", "dense"}
NAMES = st.sampled_from(["stem", "neck", "conv2d", "conv2d_1", "conv2d_2", "dense", "dense_1", "a/stem", "b/stem"])
KEYS = st.lists(st.sampled_from(["kernel", "bias", "gamma"]), min_size=1, max_size=3, unique=True)
SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@st.composite
def networks(draw):
    """The variables of a few layers, with or without paths of their own."""
    layers = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    structured = draw(st.booleans())
    weights = []
    for position, layer in enumerate(layers):
        for key in draw(KEYS):
            place = Place(layer, f"layers/conv2d_{position}" if structured else "", key)
            weights.append(Weight(name=f"{layer}/{key}", value=np.zeros(draw(SHAPES)), place=place))
    return weights


def matched(model, stored):
    return match(model, stored, model_name="net", classes=CLASSES)


@given(networks(), networks())
def test_each_stored_variable_is_used_at_most_once(model, stored):
    pairs = matched(model, stored)
    assert pairs.keys() <= set(model)
    assert len(set(pairs.values())) == len(pairs)


@given(networks(), st.randoms())
def test_a_network_is_matched_to_itself_in_any_order(network, random):
    shuffled = random.sample(network, len(network))
    assert matched(network, shuffled) == {weight: weight for weight in network}


@given(networks())
def test_names_alone_suffice_under_the_name_of_the_model(network):
    def below(root):
        return [Weight(name=f"{root}/{one.name}", value=one.value) for one in network]

    assert matched(network, below("net_2")).keys() == set(network)
    assert matched(network, below("other")) == {}


@given(networks())
def test_a_variable_of_a_given_name_never_goes_to_another_given_name(network):
    for own, other in matched(network, network[::-1]).items():
        assert own.name.split("/")[0] == other.name.split("/")[0]


def weights(text):
    """The weights of a layer, from their keys and numbers of values: "kernel:3 bias:1"."""
    return [
        Weight(name=key, value=np.zeros(int(size)), place=Place("layer", "", key))
        for key, size in (part.split(":") for part in text.split())
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        pytest.param("kernel:3 bias:1", "bias:1 kernel:3", "kernel bias", id="by key"),
        pytest.param("kernel:3 bias:1", "W:3 b:1", "W b", id="by order, as Keras 1"),
        pytest.param("kernel:3 bias:1", "depthwise_kernel:3 bias:1", "bias depthwise_kernel", id="by a longer key"),
        pytest.param("kernel:3 bias:1", "scale:3 bias:1", "bias", id="not by order alone"),
        pytest.param("0:3 1:1", "1:1 0:3", "0 1", id="by number"),
        pytest.param("0:2 1:2 2:5", "0:2 1:5", "1", id="by a unique shape"),
    ],
)
def test_the_weights_of_two_layers_are_paired(mine, theirs, expected):
    assert " ".join(other.name for _, other in pair_weights(weights(mine), weights(theirs))) == expected


@given(networks())
def test_a_prefix_that_a_pattern_removes_makes_no_difference(network):
    prefixed = [replace(weight, name=f"old/{weight.name}") for weight in network]
    renamed, fixed = rename_weights(prefixed, {"^old/": ""}, network)
    assert [weight.name for weight in renamed] == [weight.name for weight in network]
    assert {own: other.value for own, other in fixed.items()} == {one: one.value for one in network}


@pytest.mark.parametrize("rename", [{"(": ""}, {"stem": r"\2"}, ["stem"], {"stem": 3}])
def test_an_argument_that_is_no_mapping_of_regular_expressions_is_refused(rename):
    with pytest.raises(BuildError, match="Expected `rename` to map regular expressions to replacements"):
        rename_weights(weights("stem:1"), rename, [])


def test_two_names_that_become_one_are_refused():
    stored = weights("stem/kernel:1 neck/kernel:1")
    with pytest.raises(BuildError, match=re.escape("both 'stem/kernel' and 'neck/kernel' become 'stem/kernel'")):
        rename_weights(stored, {"neck": "stem"}, stored)
