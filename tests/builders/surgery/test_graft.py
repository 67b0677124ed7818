"""Grafting heads on small networks, and splitting a model at its frozen part."""

import keras
import numpy as np
import pytest
from makes import L, classifier, pictures, trains
from network_checks import answer

from builders import BuildError, HeadSpec, cut, freeze, graft
from builders.surgery.frozen_split import split_frozen

POOLINGS = ["average", "max", "both", "attention"]


def trunk():
    return cut(classifier(), "two_relu")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_head_pools_classifies_and_is_saved(pooling, tmp_path):
    model = graft(trunk(), HeadSpec(classes=3, pooling=pooling, hidden=(6,), dropout=0.2))
    probabilities = answer(model, pictures())
    assert probabilities.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert answer(again, pictures()) == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooled_vector_is_that_of_numpy(pooling):
    """Where one position has all the weight of the attention, the head sees that position alone."""
    model = graft(trunk(), HeadSpec(classes=4, pooling=pooling, activation="linear"))
    maps = keras.Model(model.input, model.get_layer("two_relu").output).predict(pictures(), verbose=0)
    flat = maps.reshape(4, -1, 4)
    if pooling == "attention":
        model.get_layer("pooling_scores").set_weights([np.full((4, 1), 100.0), np.zeros(1)])
    expected = {
        "average": flat.mean(1),
        "max": flat.max(1),
        "both": np.concatenate([flat.mean(1), flat.max(1)], axis=1)[:, :4],
        "attention": flat[np.arange(4), flat.sum(-1).argmax(1)],
    }[pooling]
    kernel = np.eye(8 if pooling == "both" else 4, 4)
    model.get_layer("predictions").set_weights([kernel, np.zeros(4)])
    assert answer(model, pictures()) == pytest.approx(expected, rel=1e-3)


def test_attention_pooling_is_of_the_head_and_trains_with_it():
    model = freeze(graft(trunk(), HeadSpec(classes=2, pooling="attention")), until=1.0).model
    assert {path.split("/")[0] for path in trains(model)} == {"pooling_scores", "predictions"}


def test_a_head_reads_several_levels():
    model = graft(cut(classifier(), 1.0), HeadSpec(classes=3, levels=("two_relu", "three_relu")))
    assert model.get_layer("predictions").kernel.shape == (4 + 8, 3)


def test_layers_of_ones_own_can_be_grafted():
    assert graft(trunk(), [L.Flatten(), L.Dense(2, name="mine")]).output_shape == (None, 2)
    assert graft(trunk(), L.Conv2D(1, 1)).output_shape == (None, 16, 16, 1)


REFUSED = [
    (HeadSpec(classes=2), "to end in a feature map, for a HeadSpec to pool"),
    ([], r"to be a HeadSpec, a Keras layer or a list of layers. Received: \[\]"),
    (["dense"], r"Received: \['dense'\]"),
    (L.Conv2D(2, 1), "Expected `head` to take the output of classifier, of shape"),
    (L.Dense(2, name="one_conv"), "Give its layers other names"),
]


@pytest.mark.parametrize(("head", "message"), REFUSED)
def test_a_head_that_does_not_fit_is_refused(head, message):
    with pytest.raises(BuildError, match=message):
        graft(classifier(), head)


@pytest.mark.parametrize(
    "changes", [{"pooling": "sum"}, {"activation": "tanh"}, {"dropout": 1.0}, {"classes": 0}, {"hidden": (0,)}]
)
def test_a_value_that_is_not_allowed_is_refused(changes):
    with pytest.raises(BuildError, match="Expected `"):
        graft(trunk(), HeadSpec(**{"classes": 2, **changes}))


SPLITS = {"two_relu": "two_relu", 1.0: "gap", 0: None}


@pytest.mark.parametrize(("until", "layer"), SPLITS.items())
def test_the_tail_behind_the_frozen_part_computes_what_the_model_does(until, layer):
    model = freeze(classifier(), until=until).model
    parts = split_frozen(model)
    assert parts.takes_pictures == (layer is None)
    assert parts.solvable == (layer == "gap")
    frozen = parts.graph.run(pictures(), parts.reads, start=parts.entry)[0]
    assert np.asarray(parts.tail(frozen)) == pytest.approx(answer(model, pictures()), abs=1e-5)
    assert parts.tail.layers[-1] is model.layers[-1]
    assert parts.below_head().output_shape == (None, 8)


def test_a_model_that_is_frozen_as_a_whole_has_no_split():
    model = classifier()
    model.trainable = False
    with pytest.raises(BuildError, match="to have layers that train"):
        split_frozen(model)


def test_a_model_for_any_size_without_resizing_has_no_split():
    with pytest.raises(BuildError, match=r"to take square pictures.*Received: an input of shape \(None, None, 3\)"):
        split_frozen(classifier(size=None))
