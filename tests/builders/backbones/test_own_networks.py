"""Networks that are not ours: saved models with other heads, other scalings, other channels, measured and built."""

import json
import zipfile

import jsonschema
import keras
import numpy as np
import pytest
from paths import ROOT
from pictures import write_images

from builders import BuildError, HeadSpec, cut, cut_points, freeze, graft
from builders.backbones.keras_file import load_keras_file
from builders.backbones.load import open_backbone
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import BACKBONES, weights_path
from probes.errors import ProbeError
from recommender import recommend

L = keras.layers
SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text())


@pytest.fixture(scope="module")
def lite0():
    """EfficientNet-Lite0 without its top, on scaled pixels of 96 px."""
    from builders.backbones.efficientnet_lite import efficientnet_lite, load_torch_weights, torch_names
    from builders.backbones.torch_file import read_state_dict

    spec = BACKBONES["efficientnet_lite0"]
    network = efficientnet_lite(name="lite0", input_size=96, width=1.0, depth=1.0, classes=1000)
    load_torch_weights(network, read_state_dict(weights_path(spec), sha256=spec.sha256), torch_names(1.0, 1.0))
    return keras.Model(network.input, network.get_layer("top_activation").output, name="lite0_body")


@pytest.fixture(scope="module")
def saved(lite0, tmp_path_factory):
    """A colleague's models: nested with its scaling, and flat without it, in both of Keras's formats."""
    folder = tmp_path_factory.mktemp("models with spaces")
    head = [L.GlobalAveragePooling2D(), L.Dense(64, activation="relu"), L.Dense(5, activation="softmax")]
    scaling = L.Rescaling(1 / 128, offset=-127 / 128)
    nested = keras.Sequential([keras.Input((96, 96, 3)), scaling, lite0, *head])
    flat = keras.Model(lite0.input, L.Dense(7)(L.Flatten()(L.AveragePooling2D(3)(lite0.output))))
    nested.save(folder / "nested.keras")
    flat.save(folder / "flat.keras")
    flat.save(folder / "flat.h5")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Handwritten digits alone, in two classes."""
    folder = write_images(tmp_path_factory.mktemp("digits"), {"-": 0, "--": 0, "some": 15, "|": 0, "||": 0, "more": 15})
    for empty in folder.iterdir():
        if not any(empty.iterdir()):
            empty.rmdir()
    return folder


FILES = ["nested.keras", "flat.keras", "flat.h5"]


@pytest.mark.parametrize("file", FILES)
def test_the_old_head_is_found_and_a_nested_backbone_opened(saved, file):
    backbone = open_backbone(saved / file).at(96)
    assert [point.layer for point in backbone.points][-3:] == ["block6d_add", "block7a_project_bn", "top_activation"]
    assert len(backbone.points) == 18


@pytest.mark.parametrize("file", FILES)
def test_the_weights_are_known_again_whatever_the_head_and_the_format(saved, file):
    shipped = open_backbone("efficientnet_lite0").at(96)
    assert open_backbone(saved / file).at(96).fingerprint == shipped.fingerprint
    assert open_backbone("efficientnet_lite1").at(96).fingerprint != shipped.fingerprint


@pytest.mark.parametrize("file", FILES)
def test_photographs_give_scenario_1_and_a_model_that_works(saved, file, two_classes):
    found = recommend(two_classes, backbone=saved / file)
    assert found.scenario.id == 1
    assert found.measurements.similarity.source == "ImageNet"
    assert found.measurements.similarity.basis == "reference"
    assert (found.scaling is None) == (file == "nested.keras")
    jsonschema.validate(found.to_dict(), SCHEMA)
    model = found.build()
    assert model.predict(np.zeros((1, 50, 40, 3)), verbose=0).shape == (1, 2)


def test_what_netgraft_built_is_a_backbone_for_the_next_task(two_classes, tmp_path):
    first = recommend(two_classes, input_size=96)
    assert len(first.strategy.head.levels) > 1
    first.build().save(tmp_path / "first.keras")
    again = recommend(two_classes, backbone=tmp_path / "first.keras")
    assert [point.layer for point in again.backbone.points] == [point.layer for point in first.backbone.points]
    assert again.backbone.fingerprint == first.backbone.fingerprint
    assert again.strategy.input_size == 96
    assert again.measurements.similarity.excess == pytest.approx(first.measurements.similarity.excess, abs=1e-4)
    model = again.build()
    model.save(tmp_path / "second.keras")
    loaded = keras.models.load_model(tmp_path / "second.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 50, 3)).astype(np.float32)
    assert loaded.predict(pictures, verbose=0) == pytest.approx(first.build().predict(pictures, verbose=0), abs=1e-3)


def test_a_scaling_that_is_not_in_the_network_is_told_by_its_statistics(saved, two_classes):
    found = recommend(two_classes, backbone=saved / "flat.keras")
    assert found.backbone.scaling == SCALINGS["-1..1"]
    named = recommend(two_classes, backbone=saved / "flat.keras", pixels="-1..1")
    assert named.scaling is None
    assert named.expected_accuracy == found.expected_accuracy


def test_an_own_network_gives_the_drift_that_the_shipped_one_does(saved, two_classes):
    own = recommend(two_classes, backbone=saved / "nested.keras").measurements.similarity
    shipped = recommend(two_classes, input_size=96).measurements.similarity
    assert own.excess == pytest.approx(shipped.excess, abs=1e-4)


def conv_net(channels=3, norm=True, size=32):
    """A small network of random weights."""
    x = inputs = keras.Input((size, size, channels), name="pixels")
    for width in (8, 8, 16, 16, 24, 24):
        x = L.Conv2D(width, 3, padding="same", use_bias=not norm)(x)
        x = L.BatchNormalization()(x) if norm else x
        x = L.ReLU()(x)
    return keras.Model(inputs, L.Dense(4, activation="softmax")(L.GlobalAveragePooling2D()(x)), name="small")


def test_a_model_in_memory_is_a_backbone_and_stays_as_it_was(two_classes):
    model = conv_net()
    before = [weight.numpy().copy() for weight in model.weights]
    found = recommend(two_classes, backbone=model, pixels="0..1")
    assert found.backbone.name == "small"
    assert found.measurements.similarity.basis == "foreign"  # it has learnt nothing, not even photographs
    assert found.measurements.similarity.source is None
    found.build().fit(np.zeros((2, 32, 32, 3)), np.zeros(2), verbose=0)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))
    assert model.get_layer("pixels").output.shape == (None, 32, 32, 3)


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


def test_the_source_is_whatever_the_network_was_trained_on(digit_network, digits, two_classes):
    """Digits are familiar to it and photographs foreign, the other way round than for a network of ImageNet."""
    own = recommend(digits, backbone=digit_network)
    other = recommend(two_classes, backbone=digit_network)
    assert own.scenario.id == 1
    assert own.measurements.similarity.score > 0.95
    assert other.measurements.similarity.score < 0.65
    assert own.measurements.similarity.basis == "foreign"
    assert any("Photographs are out-of-distribution for digits" in note for note in own.to_dict()["warnings"])
    jsonschema.validate(own.to_dict(), SCHEMA)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_go_into_networks_made_for_them(two_classes, channels):
    found = recommend(two_classes, backbone=conv_net(channels), pixels="0..1")
    model = found.build()
    assert model.input_shape == (None, None, None, channels)
    assert model.predict(np.zeros((1, 50, 40, channels)), verbose=0).shape == (1, 2)


def test_a_network_that_shows_no_drift_rests_on_the_classifiers_and_says_so(two_classes):
    found = recommend(two_classes, backbone=conv_net(norm=False), pixels="0..1")
    assert found.measurements.similarity is None
    assert found.to_dict()["similarity"] is None
    jsonschema.validate(found.to_dict(), SCHEMA)
    assert found.verdict.confidence < 1
    assert found.verdict.close
    assert any("could not be measured: small has no BatchNorm" in reason for reason in found.reasons)


def test_its_scaling_has_to_be_named(two_classes):
    with pytest.raises(BuildError, match=r"how small wants its pixels scaled.*Name it with --pixels: 0..255, 0..1"):
        recommend(two_classes, backbone=conv_net(norm=False))


def with_lambda(path):
    x = inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3)(L.Lambda(lambda pixels: pixels / 2, name="halve", output_shape=(32, 32, 3))(x))
    keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x))).save(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_by_the_name_of_its_layer(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    with_lambda(path)
    with pytest.raises(BuildError, match=r"to hold no code. Received: the layer 'halve' with a Lambda.*--trust"):
        load_keras_file(path)
    assert load_keras_file(path, trust=True).get_layer("halve")


def two_inputs():
    one, two = keras.Input((32, 32, 3), name="left"), keras.Input((32, 32, 3), name="right")
    return keras.Model([one, two], L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(L.Add()([one, two])))))


def text_model():
    tokens = keras.Input((20,))
    return keras.Model(tokens, L.Dense(2)(L.GlobalAveragePooling1D()(L.Embedding(50, 8)(tokens))))


def detector():
    pixels = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3)(pixels)
    return keras.Model(pixels, {"boxes": L.Conv2D(4, 1, name="boxes")(x), "scores": L.Conv2D(2, 1)(x)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_inputs, r"to have one input.*Received: 2 \(left, right\)"),
        (text_model, r"to take pictures of shape \(height, width, channels\).*no image network"),
        (detector, "to have one output.*Received: 2"),
        (lambda: conv_net(channels=13), "of 1, 3 or 4 channels.*Received: 13 channels"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), L.Flatten(), L.Dense(2)]), "to hold feature maps"),
    ],
)
def test_what_is_no_image_classifier_is_refused(make, message, tmp_path):
    make().save(tmp_path / "m.keras")
    with pytest.raises(BuildError, match=message):
        open_backbone(tmp_path / "m.keras")


@keras.saving.register_keras_serializable(package="test_own_networks")
class Special(L.Layer):
    def call(self, x):
        return 2 * x


def broken(tmp_path, kind):
    path = tmp_path / f"m.{'h5' if 'h5' in kind else 'keras'}"
    if kind == "text":
        path.write_text("no zip")
    elif kind == "empty zip":
        zipfile.ZipFile(path, "w").close()
    elif kind == "weights of h5":
        path = tmp_path / "m.weights.h5"
        conv_net().save_weights(path)
    elif kind == "own class":
        inputs = keras.Input((32, 32, 3))
        keras.Model(inputs, Special()(L.Conv2D(2, 3)(inputs))).save(path)
        keras.saving.get_custom_objects().pop("test_own_networks>Special")
    elif kind != "missing":
        conv_net().save(path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "to be a .keras file, a zip archive"),
        ("empty zip", "a zip archive with config.json"),
        ("truncated", "to be a .keras file, a zip archive"),
        ("truncated h5", "to be an HDF5 file"),
        ("weights of h5", "to hold a whole model. Received: weights alone. Name their network"),
        ("own class", "to be made of classes that Keras knows.*recommend"),
        ("missing", "Received: .*which is no"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(kind, message, tmp_path):
    with pytest.raises(BuildError, match=message) as caught:
        open_backbone(broken(tmp_path, kind))
    assert "\n" not in str(caught.value)


def vision_transformer():
    """Patches, four blocks of attention, a class token that is picked out at the end."""
    x = inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(16, 8, strides=8, name="patches")(L.Rescaling(1 / 127.5, offset=-1)(x))
    x = L.Reshape((16, 16))(x)
    for _ in range(4):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(2, 8)(y, y)])
        x = L.Add()([x, L.Dense(16)(L.Dense(32, activation="gelu")(L.LayerNormalization()(x)))])
    return keras.Model(inputs, L.Dense(5)(L.LayerNormalization(name="norm")(x)[:, 0]), name="vit")


def test_a_vision_transformer_is_cut_between_its_blocks(two_classes, tmp_path):
    points = cut_points(vision_transformer())
    assert [point.layer for point in points] == [
        "patches",
        "reshape",
        *[f"add_{n}" if n else "add" for n in range(7)],
        "norm",
    ]
    assert {point.shape for point in points[1:]} == {(16, 16)}
    found = recommend(two_classes, backbone=vision_transformer())
    assert found.measurements.similarity is None
    model = found.build()
    model.save(tmp_path / "m.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.float32)
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert again.predict(pictures, verbose=0) == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)
    # Keras forgets in a file that layers inside a layer were frozen; the page says how to mend it.
    assert any("set the flag of each frozen layer to True and back" in note for note in found.to_dict()["warnings"])
    assert len(again.trainable_weights) > len(model.trainable_weights) == 2
    frozen, _ = freeze(again, until=1.0)
    assert {weight.path.split("/")[0] for weight in frozen.trainable_weights} == {"predictions"}


def test_attention_pooling_is_no_part_of_the_backbone():
    grafted = graft(cut(vision_transformer(), 1.0), HeadSpec(classes=2, pooling="attention"))
    trainable = {weight.path.split("/")[0] for weight in freeze(grafted, until=1.0).model.trainable_weights}
    assert trainable == {"pooling_scores", "predictions"}


@pytest.mark.parametrize(("scale", "offset", "told"), [(2.0, -1.0, True), (1 / 127.5, -1.0, False)])
def test_a_scaling_layer_counts_only_if_it_takes_0_to_255(scale, offset, told, two_classes):
    """Twice a pixel less one wants pixels from 0 to 1."""
    network = conv_net()
    inputs = keras.Input((32, 32, 3))
    found = recommend(two_classes, backbone=keras.Model(inputs, network(L.Rescaling(scale, offset=offset)(inputs))))
    assert (found.scaling is not None) == told


def test_weights_that_are_no_numbers_are_told(two_classes):
    network = conv_net()
    network.layers[-4].set_weights([np.full(weight.shape, np.nan) for weight in network.layers[-4].weights])
    with pytest.raises(ProbeError, match="finite numbers"):
        recommend(two_classes, backbone=network)
    with pytest.raises(ProbeError, match=r"finite numbers.*with pixels scaled 0\.\.1"):
        recommend(two_classes, backbone=network, pixels="0..1")


def test_half_precision_is_measured_where_it_overflows(two_classes):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        network = conv_net()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    found = recommend(two_classes, backbone=network)
    assert found.build().predict(np.zeros((1, 40, 40, 3)), verbose=0).shape == (1, 2)


def test_channels_first_is_refused():
    inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, data_format="channels_first", name="first")(L.Permute((3, 1, 2))(inputs))
    with pytest.raises(BuildError, match=r"to have its channels last. Received: the layer 'first'"):
        open_backbone(keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D(data_format="channels_first")(x))))
