"""Freezing, unfreezing and describing small networks."""

import keras
import numpy as np
import pytest
from makes import MAKES, classifier, pictures, snapshot, trains
from network_checks import size_of

from builders import BuildError, describe, freeze, unfreeze

HEAD = {"probs/kernel", "probs/bias"}
KERNELS = {"one_conv/kernel", "two_conv/kernel", "three_conv/kernel"}
SCALES = {f"{name}_bn/{part}" for name in ("one", "two", "three") for part in ("gamma", "beta")}
FREEZES = {
    "by layer": ({"until": "two_relu"}, {"three_conv/kernel"}, {"three_bn/gamma", "three_bn/beta"}),
    "by depth": ({"until": 0.7}, {"three_conv/kernel"}, {"three_bn/gamma", "three_bn/beta"}),
    "nothing": ({"until": 0}, KERNELS, SCALES),
    "the whole backbone": ({"until": 1.0}, set(), set()),
    "by variable": ({"variables": r"(one|two)_conv/kernel$"}, {"three_conv/kernel"}, SCALES),
}


@pytest.mark.parametrize(("arguments", "trainable", "batch_norm"), FREEZES.values(), ids=FREEZES)
def test_what_is_not_frozen_trains_and_batch_norm_only_if_wanted(arguments, trainable, batch_norm):
    given = classifier()
    before = snapshot(given)
    model, count = freeze(given, **arguments)
    assert trains(model) == trainable | HEAD
    assert count == size_of(model.trainable_weights)
    assert model.trainable
    assert trains(freeze(given, **arguments, train_batch_norm=True).model) == trainable | batch_norm | HEAD
    assert snapshot(given) == before


@pytest.mark.parametrize("make", MAKES)
def test_models_of_every_make_are_frozen(make):
    model, count = freeze(MAKES[make](), until=1.0)
    assert count == size_of(model.layers[-1].weights)


def test_a_pattern_can_name_all_but_what_trains():
    model, count = freeze(classifier(), variables="^(?!probs/bias)")
    assert (trains(model), count) == ({"probs/bias"}, 5)


def test_only_what_is_not_frozen_moves_in_training():
    model, _ = freeze(classifier(), until="two_relu", train_batch_norm=True)
    before = {path: value for path, (value, _) in snapshot(model).items()}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pictures(), np.array([0, 1, 2, 3]), verbose=0)
    moved = {path for path, (value, _) in snapshot(model).items() if value != before[path]}
    assert moved == trains(model) | {"three_bn/moving_mean", "three_bn/moving_variance"}


REFUSED = [
    ({"until": "nowhere"}, "Expected `freeze` to name a layer of classifier. Received: 'nowhere'"),
    ({"until": 2.0}, "Received: 2.0"),
    ({"variables": "("}, "to be a regular expression"),
    ({"variables": "zzz"}, "which matches none of 17: one_conv/kernel to probs/bias"),
    ({"variables": "."}, "Expected `variables` to leave something to train. Received: '.'"),
    ({}, "Expected either `until` or `variables`"),
    ({"until": 0.5, "variables": "conv"}, "Expected either `until` or `variables`"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_freeze_that_is_not_possible_is_refused(arguments, message):
    with pytest.raises(BuildError, match=message):
        freeze(classifier(), **arguments)


UNFREEZES = {
    "all": ({}, KERNELS),
    "above a layer": ({"above": "two_relu"}, {"three_conv/kernel"}),
    "above a depth": ({"above": 0.7}, {"three_conv/kernel"}),
    "by variable": ({"variables": "^one_conv"}, {"one_conv/kernel"}),
    "with BatchNorm": ({"train_batch_norm": True}, KERNELS | SCALES),
}


@pytest.mark.parametrize(("arguments", "trainable"), UNFREEZES.values(), ids=UNFREEZES)
def test_unfreezing_trains_a_part_and_leaves_the_rest_unchanged(arguments, trainable):
    frozen = freeze(classifier(), until=1.0).model
    assert trains(unfreeze(frozen, **arguments).model) == trainable | HEAD
    assert trains(frozen) == HEAD


def test_unfreezing_takes_one_selection():
    with pytest.raises(BuildError, match=r"Received both: 0.5, 'conv'"):
        unfreeze(classifier(), above=0.5, variables="conv")


def test_unfreezing_batch_norm_alone_says_how():
    frozen = classifier()
    for layer in frozen.layers:
        layer.trainable = False
    with pytest.raises(BuildError, match="BatchNorm trains only with train_batch_norm=True"):
        unfreeze(frozen, variables="_bn/")
    assert trains(unfreeze(frozen, variables="_bn/", train_batch_norm=True).model) == SCALES


def test_a_description_adds_up():
    model = freeze(classifier(), until="two_relu", train_batch_norm=True).model
    found = describe(model)
    assert [(stage.name, stage.last, stage.cut_points, stage.state) for stage in found.stages] == [
        ("stage 1", "two_relu", 2, "frozen"),
        ("stage 2", "three_relu", 2, "trainable"),
        ("head", "probs", 0, "trainable"),
    ]
    assert found.parameters == model.count_params()
    assert found.trainable == size_of(model.trainable_weights)
    title, header, *_, head = str(found).splitlines()
    assert title == f"classifier: {found.parameters} parameters, {found.trainable} trainable"
    assert header.split() == ["stage", "from", "to", "cuts", "shape", "depth", "parameters", "state"]
    assert head.split() == ["head", "gap", "probs", "0", "5", "45", "trainable"]


def test_the_stages_of_a_network_for_any_size_follow_its_strides():
    stages = describe(classifier(size=None)).stages
    assert [(stage.name, stage.last) for stage in stages] == [
        ("stage 1", "two_relu"),
        ("stage 2", "three_relu"),
        ("head", "probs"),
    ]


def test_a_part_with_frozen_and_trainable_layers_is_partly_frozen():
    model = freeze(classifier(), until="one_relu").model
    assert [stage.state for stage in describe(model).stages] == ["partly frozen", "partly frozen", "trainable"]
