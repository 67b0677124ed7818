"""Whole recommendations with networks of the user's own: other heads, other scalings, other channels."""

import json

import jsonschema
import keras
import numpy as np
import pytest
from makes import vision_transformer
from paths import ROOT
from pictures import write_images
from tiny import tiny_network

from builders import BuildError, freeze
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import BACKBONES
from probes.errors import ProbeError
from recommender import recommend
from recommender.rules.scenario import Similarity

L = keras.layers
SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text())


def conv_net(channels=3, norm=True):
    """A small network of random weights on pixels that are scaled outside."""
    x = inputs = keras.Input((32, 32, channels), name="pixels")
    for width in (8, 8, 16, 16, 24, 24):
        x = L.Conv2D(width, 3, padding="same", use_bias=not norm)(x)
        x = L.ReLU()(L.BatchNormalization()(x) if norm else x)
    return keras.Model(inputs, L.Dense(4, activation="softmax")(L.GlobalAveragePooling2D()(x)), name="small")


def test_a_model_in_memory_is_a_backbone_and_is_not_changed(two_classes):
    model = conv_net()
    before = [weight.numpy().copy() for weight in model.weights]
    found = recommend(two_classes, backbone=model, pixels="0..1")
    jsonschema.validate(found.to_dict(), SCHEMA)
    assert found.backbone.name == "small"
    assert found.measurements.similarity.basis == "out_of_distribution"  # it has learnt nothing, not even photographs
    assert found.measurements.similarity.source is None
    found.build().fit(np.zeros((2, 32, 32, 3)), np.zeros(2), verbose=0)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))


def test_an_unknown_scaling_without_batch_norm_has_to_be_named(two_classes):
    with pytest.raises(BuildError, match=r"--pixels .`pixels=`.: 0..255, 0..1"):
        recommend(two_classes, backbone=conv_net(norm=False))


def test_weights_that_are_not_finite_are_reported(two_classes):
    network = tiny_network()
    layer = network.get_layer("block3_conv")
    layer.set_weights([np.full(weight.shape, np.nan) for weight in layer.weights])
    with pytest.raises(ProbeError, match=r"finite outputs.*with pixels scaled 0\.\.255"):
        recommend(two_classes, backbone=network)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_go_into_networks_made_for_them(two_classes, channels):
    model = recommend(two_classes, backbone=conv_net(channels), pixels="0..1").build()
    assert model.input_shape == (None, None, None, channels)
    assert model.predict(np.zeros((1, 50, 40, channels)), verbose=0).shape == (1, 2)


@pytest.mark.slow
def test_without_drift_the_answer_rests_on_the_classifiers_and_says_so(two_classes):
    found = recommend(two_classes, backbone=conv_net(norm=False), pixels="0..1")
    jsonschema.validate(found.to_dict(), SCHEMA)
    assert found.measurements.similarity is None
    assert found.to_dict()["similarity"] is None
    assert found.verdict.confidence < 1
    assert any("could not be measured: small has fewer than 4 BatchNorm" in reason for reason in found.reasons)


@pytest.mark.slow
def test_half_precision_is_measured_where_it_overflows(two_classes):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        network = conv_net()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    found = recommend(two_classes, backbone=network)
    assert found.build().predict(np.zeros((1, 40, 40, 3)), verbose=0).shape == (1, 2)


@pytest.fixture(scope="module")
def lite0_files(tmp_path_factory):
    """EfficientNet-Lite0 as colleagues save it: nested with its scaling, and flat without."""
    folder = tmp_path_factory.mktemp("models with spaces")
    lite0 = BACKBONES["efficientnet_lite0"].pretrained(96, None)
    body = keras.Model(lite0.input, lite0.get_layer("top_activation").output, name="lite0_body")
    head = [L.GlobalAveragePooling2D(), L.Dense(64, activation="relu"), L.Dense(5, activation="softmax")]
    scaling = L.Rescaling(1 / 128, offset=-127 / 128)
    keras.Sequential([keras.Input((96, 96, 3)), scaling, body, *head]).save(folder / "nested.keras")
    keras.Model(body.input, L.Dense(7)(L.Flatten()(L.AveragePooling2D(3)(body.output)))).save(folder / "flat.keras")
    return folder


@pytest.fixture(scope="module")
def shipped(two_classes):
    return recommend(two_classes, input_size=96)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nested.keras", "flat.keras"])
def test_photographs_give_the_known_drift_and_a_model_that_works(lite0_files, file, two_classes, shipped):
    found = recommend(two_classes, backbone=lite0_files / file)
    jsonschema.validate(found.to_dict(), SCHEMA)
    similarity = found.measurements.similarity
    assert found.verdict.similarity is Similarity.SIMILAR
    assert (similarity.source, similarity.basis) == ("ImageNet", "reference")
    if file == "nested.keras":
        assert found.scaling is None
        assert similarity.excess == pytest.approx(shipped.measurements.similarity.excess, abs=1e-4)
    else:  # its scaling follows from its BatchNorm statistics
        assert found.backbone.scaling == SCALINGS["-1..1"]
        named = recommend(two_classes, backbone=lite0_files / file, pixels="-1..1")
        assert named.scaling is None
        assert named.expected_accuracy == found.expected_accuracy
    assert found.build().predict(np.zeros((1, 50, 40, 3)), verbose=0).shape == (1, 2)


@pytest.mark.slow
def test_what_netgraft_built_is_a_backbone_for_the_next_task(two_classes, tmp_path, shipped):
    assert len(shipped.strategy.head.levels) > 1
    shipped.build().save(tmp_path / "first.keras")
    again = recommend(two_classes, backbone=tmp_path / "first.keras")
    assert [point.layer for point in again.backbone.points] == [point.layer for point in shipped.backbone.points]
    assert again.backbone.fingerprint == shipped.backbone.fingerprint
    assert again.strategy.input_size == 96
    assert again.measurements.similarity.excess == pytest.approx(shipped.measurements.similarity.excess, abs=1e-4)
    again.build().save(tmp_path / "second.keras")
    loaded = keras.models.load_model(tmp_path / "second.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 50, 3)).astype(np.float32)
    assert loaded.predict(pictures, verbose=0) == pytest.approx(shipped.build().predict(pictures, verbose=0), abs=1e-3)


@pytest.fixture(scope="module")
def digit_network():
    """A network that has learnt scikit-learn's digits and has never seen a photograph."""
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    pixels = np.repeat(pictures.reshape(-1, 8, 8, 1) * 255 / 16, 3, axis=-1)
    x = inputs = keras.Input((32, 32, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    for width in (8, 8, 16, 16, 24, 24):
        x = L.ReLU()(L.BatchNormalization(momentum=0.8)(L.Conv2D(width, 3, padding="same", use_bias=False)(x)))
        x = L.MaxPooling2D()(x) if width == 16 else x
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x)), name="digits")
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(keras.ops.image.resize(pixels, (32, 32)), labels, epochs=3, verbose=0)
    return model


@pytest.mark.slow
def test_the_source_is_the_data_that_the_network_was_trained_on(digit_network, two_classes, tmp_path):
    """To this network digits are similar and photographs are not, the other way round than to one of ImageNet."""
    digits = write_images(tmp_path / "digits", {"-": 0, "--": 0, "some": 15, "|": 0, "||": 0, "more": 15})
    for empty in [folder for folder in digits.iterdir() if not any(folder.iterdir())]:
        empty.rmdir()
    own = recommend(digits, backbone=digit_network)
    other = recommend(two_classes, backbone=digit_network)
    jsonschema.validate(own.to_dict(), SCHEMA)
    assert own.verdict.similarity is Similarity.SIMILAR
    assert own.measurements.similarity.score > 0.95
    assert other.measurements.similarity.score < 0.65
    assert own.measurements.similarity.basis == "out_of_distribution"
    assert any("Photographs are out-of-distribution" in note for note in own.to_dict()["warnings"])


@pytest.mark.slow
def test_a_vision_transformer_is_built_and_its_page_says_how_to_freeze_it_after_loading(two_classes, tmp_path):
    found = recommend(two_classes, backbone=vision_transformer(), scenario=1)
    assert found.measurements.similarity is None
    model = found.build()
    model.save(tmp_path / "m.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.float32)
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert again.predict(pictures, verbose=0) == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)
    # A Keras file does not keep that layers inside a layer were frozen.
    assert any("set the flag of each frozen layer to True and back" in note for note in found.to_dict()["warnings"])
    assert len(again.trainable_weights) > len(model.trainable_weights) == 2
    frozen, _ = freeze(again, until=1.0)
    assert {weight.path.split("/")[0] for weight in frozen.trainable_weights} == {"predictions"}
