"""Keras models and their files as backbones: what is opened, at which sizes, and what is refused without running it."""

import zipfile

import keras
import numpy as np
import pytest
from makes import vision_transformer
from tiny import tiny_network

from builders import BuildError, cut_points
from builders.backbones.keras_model import load_keras_file
from builders.backbones.load import open_backbone
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import BACKBONES

L = keras.layers


def conv_net(*front, channels=3, size=(32, 32), **options):
    """A network of two convolutions behind the given layers."""
    x = inputs = keras.Input((*size, channels))
    for layer in front:
        x = layer(x)
    x = L.Conv2D(4, 3, padding="same", **options)(x)
    x = L.Conv2D(8, 3, padding="same", **options)(L.ReLU()(x))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)), name="small")


def flattening(size):
    return keras.Sequential([keras.Input((*size, 3)), L.Conv2D(4, 3), L.Flatten(), L.Dense(2)], name="flat")


SIZES = {
    "square": (lambda: conv_net(size=(48, 48)), 48, True),
    "any": (lambda: conv_net(size=(None, None)), 224, False),
    "of the same area": (lambda: conv_net(size=(32, 128)), 64, True),
    "resizes by itself": (lambda: conv_net(L.Resizing(40, 40), size=(None, None)), 40, True),
}


@pytest.mark.parametrize(("make", "native", "fixed"), SIZES.values(), ids=SIZES)
def test_the_native_size_is_that_of_the_input(make, native, fixed):
    opened = open_backbone(make())
    assert (opened.native_size, opened.fixed) == (native, fixed)
    assert opened.at(native).network.input_shape == (None, native, native, 3)


def test_another_size_drops_a_head_that_does_not_fit():
    backbone = open_backbone(flattening((32, 32))).at(40)
    assert backbone.network.output_shape == (None, 38, 38, 4)
    with pytest.raises(BuildError, match=r"to take pictures of 2 px. Received: a network for \(32, 32, 3\) alone"):
        open_backbone(flattening((32, 32))).at(2)


SCALED = {
    "no layer": (list, False),
    "-1..1": (lambda: [L.Rescaling(1 / 127.5, offset=-1)], True),
    "for pixels of 0..1": (lambda: [L.Rescaling(2.0, offset=-1.0)], False),
    "in two steps": (lambda: [L.Rescaling(1 / 255), L.Normalization(mean=[0.5] * 3, variance=[0.25] * 3)], True),
}


@pytest.mark.parametrize(("front", "known"), SCALED.values(), ids=SCALED)
def test_a_scaling_in_the_network_counts_only_if_it_takes_0_to_255(front, known):
    backbone = open_backbone(conv_net(*front())).at(32)
    assert backbone.scaling == (SCALINGS["0..255"] if known else None)


def test_a_nested_network_is_found_below_the_scaling_and_the_old_head():
    body = tiny_network(head=False)
    head = [L.GlobalAveragePooling2D(), L.Dense(64, activation="relu"), L.Dense(5, activation="softmax")]
    nested = open_backbone(keras.Sequential([keras.Input((32, 32, 3)), body, *head])).at(32)
    plain = open_backbone(tiny_network()).at(32)
    assert nested.points == plain.points
    assert nested.fingerprint == plain.fingerprint


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


def channels_first():
    inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, data_format="channels_first", name="first")(L.Permute((3, 1, 2))(inputs))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D(data_format="channels_first")(x)))


def perceptron():
    return keras.Sequential([keras.Input((8, 8, 3)), L.Flatten(), L.Dense(2)])


NO_CLASSIFIERS = {
    "two inputs": (two_inputs, r"to have one input.*Received: 2 \(left, right\)"),
    "text": (text_model, r"to take pictures of shape \(height, width, channels\).*takes \(20,\)"),
    "two outputs": (detector, "to have one output.*Received: 2"),
    "13 channels": (lambda: conv_net(channels=13), r"with 1, 3 or 4 channels.*takes \(32, 32, 13\)"),
    "no feature map": (perceptron, "to have feature maps"),
    "channels first": (channels_first, r"to have its channels last. Received: the layer 'first'"),
}


@pytest.mark.parametrize(("make", "message"), NO_CLASSIFIERS.values(), ids=NO_CLASSIFIERS)
def test_what_is_no_image_classifier_is_refused(make, message):
    with pytest.raises(BuildError, match=message):
        open_backbone(make())


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_by_the_name_of_its_layer(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    conv_net(L.Lambda(lambda pixels: pixels / 2, name="halve", output_shape=(32, 32, 3))).save(path)
    with pytest.raises(BuildError, match=r"to hold no code. Received: the layer 'halve' with a Lambda.*--trust"):
        open_backbone(path)
    assert load_keras_file(path, trust=True).get_layer("halve")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_trusted_file_with_code_gives_what_its_network_gives(tmp_path, suffix):
    network = conv_net(L.Lambda(lambda pixels: pixels / 2, name="halve", output_shape=(32, 32, 3)))
    network.save(tmp_path / f"m{suffix}")
    backbone = open_backbone(tmp_path / f"m{suffix}", scaling="0..255", trust=True).at(32)
    pixels = np.full((1, 32, 32, 3), 100.0)
    np.testing.assert_allclose(backbone.network(pixels), network(pixels), rtol=1e-5)


@keras.saving.register_keras_serializable(package="test_keras_model")
class Special(L.Layer):
    def call(self, x):
        return 2 * x


def own_class(path):
    conv_net(Special()).save(path)
    keras.saving.get_custom_objects().pop("test_keras_model>Special")


def truncated(path):
    conv_net().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BROKEN = {
    "text": ("m.keras", lambda path: path.write_text("no zip"), "of a whole model"),
    "empty zip": ("m.keras", lambda path: zipfile.ZipFile(path, "w").close(), "of a whole model.*config.json"),
    "truncated": ("m.keras", truncated, "of a whole model"),
    "truncated h5": ("m.h5", truncated, "of a whole model"),
    "weights alone": ("m.weights.h5", lambda path: conv_net().save_weights(path), "weights alone. Name their network"),
    "own class": ("m.keras", own_class, "to be made of classes that Keras knows.*recommend"),
    "a folder inside the name": ("no/m.keras", lambda _: None, "to be a file or folder"),
}


@pytest.mark.parametrize(("name", "write", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_model_is_refused_in_one_line(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(BuildError, match=message) as caught:
        open_backbone(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BuildError, match="No such file"):
        load_keras_file(tmp_path / "none.keras")


@pytest.mark.slow
def test_the_weights_of_lite0_are_recognised_in_any_model_and_format(tmp_path):
    lite0 = BACKBONES["efficientnet_lite0"].pretrained(96, None)
    body = keras.Model(lite0.input, lite0.get_layer("top_activation").output)
    flat = keras.Model(body.input, L.Dense(7)(L.Flatten()(L.AveragePooling2D(3)(body.output))))
    shipped = open_backbone("efficientnet_lite0").at(96)
    for suffix in (".keras", ".h5"):
        flat.save(tmp_path / f"flat{suffix}")
        backbone = open_backbone(tmp_path / f"flat{suffix}").at(96)
        assert backbone.fingerprint == shipped.fingerprint
        assert [point.layer for point in backbone.points] == [point.layer for point in shipped.points]


def test_a_vision_transformer_is_cut_between_its_blocks():
    points = cut_points(vision_transformer())
    adds = [f"add_{number}" if number else "add" for number in range(7)]
    assert [point.layer for point in points] == ["patches", "reshape", *adds, "norm"]
    assert {point.shape for point in points[1:]} == {(16, 16)}
    assert open_backbone(vision_transformer()).at(32).has_composite_layers


def test_scaling_of_grey_pixels_is_the_mean_of_rgb():
    network = conv_net(channels=1)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    scaled = open_backbone(network, scaling="torch").at(32).network.predict(pixels, verbose=0)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = network.predict(pixels * np.mean(1 / (255 * deviation)) - np.mean(mean / deviation), verbose=0)
    assert scaled == pytest.approx(expected, abs=1e-5)
