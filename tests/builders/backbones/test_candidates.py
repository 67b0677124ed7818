"""The networks among which one is chosen: those named, and those whose weights are on this machine."""

import keras
import pytest
from tiny import tiny_network

from builders import BuildError
from builders.backbones.applications import APPLICATIONS
from builders.backbones.candidates import candidates
from builders.backbones.packaged import PACKAGED
from builders.backbones.registry import BACKBONES

LITES = [spec.name for spec in PACKAGED]


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    """Puts empty files for networks of keras.applications into Keras's cache, which is empty at first."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()

    def cached(*names):
        for name in names:
            (tmp_path / "models" / BACKBONES[name].file).touch()

    return cached


def names(*arguments, **options):
    return [candidate.name for candidate in candidates(*arguments, **options)]


def test_one_name_is_one_candidate():
    assert names("EfficientNet-Lite0") == ["efficientnet_lite0"]


def test_auto_stands_for_the_networks_whose_weights_are_on_this_machine(cached):
    assert names("auto") == [name for name in LITES if BACKBONES[name].local_weights]
    cached("resnet50", "mobilenet", "mobilenet_v2_0.35")
    assert set(names("AUTO")) - set(LITES) == {"resnet50", "mobilenet", "mobilenet_v2_0.35"}
    assert "in the cache of Keras" in BACKBONES["resnet50"].availability


def test_auto_may_be_joined_with_others(cached, tmp_path):
    cached("resnet50")
    tiny_network().save(tmp_path / "mine.keras")
    found = names(["auto", tmp_path / "mine.keras", "resnet50"])
    assert found[:2] == [str(tmp_path / "mine.keras"), "resnet50"]
    assert found.count("resnet50") == 1
    assert "efficientnet_lite0" in found


def test_a_model_in_memory_is_named_by_itself():
    assert names([tiny_network(), "efficientnet_lite0"]) == ["tiny", "efficientnet_lite0"]


def test_weights_belong_to_the_one_network_of_keras_applications():
    found = candidates(["efficientnet_lite0", "mobilenet_0.75"], weights="w.h5")
    assert [each.weights for each in found] == [None, "w.h5"]
    assert [each.imagenet_accuracy for each in found] == [75.1, None]  # of other weights it is not known
    assert candidates("vgg16", weights="w.h5")[0].weights == "w.h5"
    assert {each.name: each.weights for each in candidates(["auto", "vgg16"], weights="w.h5")}["vgg16"] == "w.h5"


REFUSED = {
    "none": ([], None, "to name a network. Received: none"),
    "an unknown name": (["efficientnet_lite0", "resnet51"], None, "'resnet51'. Nearest: resnet50"),
    "one twice": (["resnet50", "vgg16", "ResNet-50"], None, "named once. Received: 'resnet50' twice"),
    "a file that is not there": (["auto", "none.keras"], None, "'none.keras', which is none"),
    "weights for two": (["resnet50", "vgg16"], "w.h5", "with one network of keras.applications.* Received: 2"),
    "weights for none": (["efficientnet_lite0", "efficientnet_lite1"], "w.h5", "Received: 0 of them"),
    "weights for auto": ("auto", "w.h5", "Received: 0 of them. Name the one"),
}


@pytest.mark.parametrize(("given", "weights", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_compared_is_refused(given, weights, message):
    with pytest.raises(BuildError, match=message):
        candidates(given, weights)


def test_auto_without_any_weights_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BuildError, match=r"Received: none\. Install some"):
        candidates("auto")


def test_every_shipped_network_has_an_accuracy_on_imagenet():
    assert all(50 < spec.imagenet_accuracy < 90 for spec in (*PACKAGED, *APPLICATIONS))


def test_a_wider_or_larger_network_of_a_family_has_the_higher_accuracy():
    for better, worse in (("efficientnet_lite2", "efficientnet_lite1"), ("resnet101", "resnet50")):
        assert BACKBONES[better].imagenet_accuracy > BACKBONES[worse].imagenet_accuracy


def asked_for(spec, monkeypatch, size):
    """The files that Keras wants to fetch for a network at an input size."""
    from keras.src.utils import file_utils

    class Asked(Exception):
        pass

    files = []

    def record(name, *_, **__):
        files.append(name)
        raise Asked

    monkeypatch.setattr(file_utils, "get_file", record)
    with pytest.raises(Asked):
        spec.pretrained(size, None)
    return files


QUICK = ["mobilenet_0.25", "vgg16"]
LARGE = [spec.name for spec in APPLICATIONS if spec.name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_the_file_in_the_cache_is_the_one_that_keras_asks_for(name, monkeypatch):
    spec = BACKBONES[name]
    assert asked_for(spec, monkeypatch, spec.native_size) == [spec.file]
    keras.utils.clear_session()


@pytest.mark.parametrize("name", ["mobilenet_0.25", pytest.param("mobilenet_v2_0.35", marks=pytest.mark.slow)])
def test_a_network_has_the_same_weights_at_every_input_size(name, monkeypatch):
    assert asked_for(BACKBONES[name], monkeypatch, 96) == [BACKBONES[name].file]
