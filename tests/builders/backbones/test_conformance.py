"""Every kind of backbone passes the same checks: opened, cut, grafted, frozen, trained, saved."""

import gc
from dataclasses import dataclass
from typing import Any

import hub_models
import keras
import numpy as np
import pytest
from network_checks import (
    NETWORK,
    STRUCTURE,
    a_saved_model_loads_with_keras_alone_and_answers_the_same,
    answer,
    pictures,
)
from tiny import tiny_network

from builders.backbones.applications import APPLICATIONS
from builders.backbones.load import open_backbone
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import BACKBONES

SLOW = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Member:
    """A backbone as a user gives it.

    Attributes:
        given: name, path or model.
        size: px at which it is loaded.
        scaling: as the user says it.
        bare: the network on pixels that are scaled outside; None if it scales them itself.
        composite: whether a layer with weights contains others. Keras does not save which of these are frozen.
    """

    given: Any
    size: int
    scaling: str | None = None
    bare: Any = None
    composite: bool = False

    def open(self):
        return open_backbone(self.given, scaling=self.scaling).at(self.size)


def tiny_in_memory(_folder):
    return Member(given=tiny_network(), size=32)


def tiny_for_any_size(_folder):
    return Member(given=tiny_network(size=None), size=40)


def tiny_saved(suffix):
    def make(folder):
        tiny_network().save(folder / f"tiny{suffix}")
        return Member(given=folder / f"tiny{suffix}", size=32)

    return make


def tiny_saved_model(folder):
    tiny_network().export(folder / "module", verbose=False)
    return Member(given=folder / "module", size=32)


def small_application(_folder):
    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2(weights=None, alpha=0.35, classes=10, input_shape=(32, 32, 3))
    return Member(given=network, size=32, scaling="-1..1", bare=network)


def preset(make):
    def save(folder):
        network = hub_models.seeded(make)
        given = hub_models.saved(network, folder, **hub_models.SCALED)
        composite = make in (hub_models.mobilenet, hub_models.vit)  # squeeze-and-excite, attention
        return Member(given=given, size=hub_models.SIZE, bare=network, composite=composite)

    return save


def packaged(name, size):
    return lambda _folder: Member(given=name, size=size, bare=BACKBONES[name].pretrained(size, None))


MEMBERS = {
    "a model in memory": tiny_in_memory,
    "a model for any size": tiny_for_any_size,
    "a .keras file": tiny_saved(".keras"),
    "an .h5 file": tiny_saved(".h5"),
    "a SavedModel": tiny_saved_model,
    "a small network of keras.applications": small_application,
    **{f"{make.__name__} of KerasHub": preset(make) for make in (hub_models.mobilenet, hub_models.vit)},
    "efficientnet_lite0": packaged("efficientnet_lite0", 64),
    "efficientnet_lite1": packaged("efficientnet_lite1", 64),
    "efficientnet_lite2": packaged("efficientnet_lite2", 64),
}
MARKS = dict.fromkeys(
    (
        "an .h5 file",
        "a SavedModel",
        "a small network of keras.applications",
        *(name for name in MEMBERS if name.endswith("KerasHub")),
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
    ),
    SLOW,
)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in MEMBERS])
def member(request, tmp_path_factory):
    if request.param in BACKBONES and BACKBONES[request.param].weights_path is None:
        pytest.skip(f"needs the weights of {request.param}")
    return MEMBERS[request.param](tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def backbone(member):
    return member.open()


def test_it_opens_at_the_wanted_size(member, backbone):
    assert backbone.network.input_shape == (None, member.size, member.size, 3)
    assert (backbone.input_size, backbone.channels) == (member.size, 3)
    assert backbone.points[-1].depth == 1.0
    assert backbone.has_composite_layers == member.composite


@pytest.mark.parametrize("check", NETWORK, ids=lambda check: check.__name__)
def test_its_network_passes(check, backbone):
    check(backbone.network)


def test_a_saved_model_loads_with_keras_alone(member, backbone, tmp_path):
    a_saved_model_loads_with_keras_alone_and_answers_the_same(backbone.network, tmp_path, flags=not member.composite)


def test_it_takes_pixels_of_0_to_255(member, backbone):
    pixels = pictures(backbone.network)
    bare = member.bare or backbone.network
    scaled = backbone.scaling.apply(pixels) if member.bare else pixels
    assert answer(backbone.network, pixels) == pytest.approx(answer(bare, scaled), abs=1e-4)


def test_its_fingerprint_and_cut_points_are_those_of_a_second_opening(member, backbone):
    again = member.open()
    assert again.fingerprint == backbone.fingerprint
    assert again.points == backbone.points


def test_its_fingerprint_depends_on_a_weight_below_the_last_cut_point_and_not_on_the_head(backbone):
    headless = keras.models.clone_model(backbone.network)
    headless.set_weights(backbone.network.get_weights())
    if headless.layers[-1].name != backbone.points[-1].layer:
        headless.layers[-1].set_weights([weight + 1 for weight in headless.layers[-1].get_weights()])
    assert open_backbone(headless).at(backbone.input_size).fingerprint == backbone.fingerprint
    first = next(layer for layer in headless.layers if layer.weights)
    first.set_weights([weight + 1 for weight in first.get_weights()])
    assert open_backbone(headless).at(backbone.input_size).fingerprint != backbone.fingerprint


CONSTRUCTORS = sorted(name for name in dir(keras.applications) if name[0].isupper())
SPECS = {spec.constructor: spec for spec in APPLICATIONS if spec.alpha is None}
# A train step on one network of each family; the others differ in repeats and widths alone.
TRAINED = {
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "VGG19"),
    "Xception",
}


@pytest.fixture
def _freed():
    """Networks of up to 350 million parameters follow each other; none may stay in memory."""
    yield
    keras.utils.clear_session()
    gc.collect()


def test_the_registry_has_every_constructor_of_keras_applications():
    assert set(SPECS) == set(CONSTRUCTORS)
    assert {spec.family for spec in APPLICATIONS} == {SPECS[name].family for name in TRAINED}
    assert {spec.scaling.name for spec in APPLICATIONS} <= set(SCALINGS)


@pytest.mark.slow
@pytest.mark.usefixtures("_freed")
@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_every_network_of_keras_applications_passes(name, tmp_path):
    size = SPECS[name].smallest_size
    network = getattr(keras.applications, name)(weights=None, classes=10, input_shape=(size, size, 3))
    for check in NETWORK if name in TRAINED else STRUCTURE:
        check(network)
    if name in TRAINED:
        a_saved_model_loads_with_keras_alone_and_answers_the_same(network, tmp_path)


@pytest.mark.parametrize("family", sorted({spec.family for spec in APPLICATIONS}))
def test_pixels_are_scaled_as_the_familys_preprocess_input_does(family):
    from builders.backbones.loaded import scale_pixels

    spec = next(spec for spec in APPLICATIONS if spec.family == family)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    expected = getattr(keras.applications, family).preprocess_input(pixels.copy())
    assert spec.scaling.apply(pixels) == pytest.approx(expected, abs=1e-4)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, scale_pixels(spec.scaling, inputs))
    assert np.asarray(model(pixels)) == pytest.approx(expected, abs=1e-4)


EXPECTED = {
    "ResNet50": "conv4_block6_out",  # behind a residual join
    "MobileNet": "conv_pw_7_relu",  # behind a separable convolution
    "MobileNetV2": "block_8_add",  # behind an inverted residual
    "InceptionV3": "mixed5",  # behind a concatenation
    "VGG16": "block3_pool",  # in a plain stack
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_cut_points_lie_behind_the_blocks_of_known_networks(name):
    from builders import cut_points

    size = SPECS[name].smallest_size
    network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), include_top=False)
    assert EXPECTED[name] in [point.layer for point in cut_points(network)]
