"""Presets and models of KerasHub as backbones. Its own constructors write the presets: nothing is downloaded."""

import json
import shutil

import hub_models
import keras
import numpy as np
import pytest
from network_checks import answer, pictures

from builders import HeadSpec, cut, cut_points, graft
from builders.backbones.kerashub import KerasHub
from builders.backbones.kind import OpenOptions
from builders.backbones.load import open_backbone, resolve
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import check_backbone, kind_of
from builders.build import build_model
from builders.errors import BuildError
from builders.export.export import export_model
from builders.strategy import Strategy

SLOW = pytest.mark.slow
BLOCKS = ["dropout", "transformer_block_1", "transformer_block_2", "ln"]


# --- without the package


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BuildError, match=r'no such package. Install it with `pip install "netgraft\[kerashub\]"`'):
        check_backbone("kerashub:resnet_50_imagenet")
    assert KerasHub().identity("kerashub:resnet_50_imagenet", OpenOptions()) is None
    assert "pip install" in KerasHub().listing


def test_a_package_that_lacks_a_part_is_refused_in_one_line(monkeypatch):
    def fail(_):
        raise ModuleNotFoundError("No module named 'regex'")

    monkeypatch.setattr("builders.backbones.kerashub._installed", lambda: True)
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(BuildError, match=r"Received: No module named 'regex'. Install it again"):
        open_backbone("kerashub:resnet_50_imagenet")


def test_names_of_presets_are_recognised_and_nothing_else_is():
    for given in ("kerashub:resnet_50_imagenet", "kerashub:hf://keras/x", "kerashub:a.keras", "kerashub:"):
        assert isinstance(kind_of(given), KerasHub)
    for given in ("resnet50", "https://kerashub:8080/module", 5, keras.Sequential()):
        assert not isinstance(kind_of(given), KerasHub)


# --- presets in folders


@pytest.fixture(scope="module")
def vit():
    return hub_models.seeded(hub_models.vit)


@pytest.fixture(scope="module")
def vit_preset(vit, tmp_path_factory):
    return hub_models.saved(vit, tmp_path_factory.mktemp("vit"), **hub_models.SCALED)


def test_a_vision_transformer_has_a_cut_point_after_each_block(vit, vit_preset):
    opened = open_backbone(vit_preset)
    assert (opened.native_size, opened.fixed) == (hub_models.SIZE, True)
    backbone = opened.at(hub_models.SIZE)
    assert backbone.scaling is SCALINGS["-1..1"]
    assert [(point.layer, point.shape) for point in backbone.points] == [(name, (17, 16)) for name in BLOCKS]
    pixels = pictures(backbone.network)
    assert answer(backbone.network, pixels) == pytest.approx(answer(vit, backbone.scaling.apply(pixels)), abs=1e-4)


def test_its_own_scaling_and_size_are_those_of_its_image_converter(tmp_path):
    scale, offset = (0.017, 0.018, 0.019), (-2.0, -2.1, -1.8)
    network = hub_models.seeded(hub_models.resnet)
    given = hub_models.saved(network, tmp_path, image_size=(96, 96), scale=scale, offset=offset)
    opened = open_backbone(given)
    assert (opened.native_size, opened.fixed) == (96, False)
    backbone = opened.at(40)
    assert (backbone.scaling.scale, backbone.scaling.offset, backbone.native_size) == (scale, offset, 96)
    pixels = pictures(backbone.network)
    assert answer(backbone.network, pixels) == pytest.approx(answer(network, pixels * scale + offset), abs=1e-4)
    assert open_backbone(given, scaling="caffe").at(40).scaling is SCALINGS["caffe"]


def test_without_a_converter_the_scaling_is_not_known(tmp_path):
    assert open_backbone(hub_models.saved(hub_models.resnet(), tmp_path)).at(32).scaling is None


def test_the_identity_follows_the_files_and_the_version(vit_preset, tmp_path, monkeypatch):
    def identity(given):
        kind, options = resolve(given)
        return kind.identity(given, options)

    folder = vit_preset.removeprefix("kerashub:")
    copy = shutil.copytree(folder, tmp_path / "copy")
    first = identity(f"kerashub:{copy}")
    assert identity(f"kerashub:{copy}") == first
    with (copy / "config.json").open("a") as file:
        file.write("\n")
    assert identity(f"kerashub:{copy}") not in (first, None)
    named = identity("kerashub:resnet_50_imagenet")
    monkeypatch.setattr("builders.backbones.kerashub.metadata.version", lambda _: "0.0")
    assert identity("kerashub:resnet_50_imagenet") not in (named, None)
    assert identity("kerashub:kaggle://keras/vit/keras/vit_base/2") is not None
    for changing in ("kaggle://keras/vit/keras/vit_base", "hf://google/vit"):
        assert identity(f"kerashub:{changing}") is None


def not_whole(folder):
    hub_models.saved(hub_models.resnet(), folder)
    (folder / "model.weights.h5").unlink()


def text(folder):
    hub_models.hub().models.BertBackbone(
        vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
    ).save_to_preset(folder)


def of_another_class(folder):
    (folder / "config.json").write_text(json.dumps({"registered_name": "mine>Net", "config": {}}))


FOLDERS = {
    "no preset": (lambda _: None, "to be a folder with a preset of KerasHub. Received: no config.json there"),
    "without weights": (not_whole, "to hold a whole preset of KerasHub. Received: "),
    "text": (text, "Expected a preset of an image network. Received: '.*', a BertBackbone"),
    "another class": (of_another_class, "to hold a whole preset of KerasHub. Received: .*mine>Net"),
}


@pytest.mark.parametrize(("write", "message"), FOLDERS.values(), ids=FOLDERS)
def test_folders_that_hold_no_image_network_are_refused_in_one_line(tmp_path, write, message):
    hub_models.hub()
    write(tmp_path)
    with pytest.raises(BuildError, match=message) as raised:
        open_backbone(f"kerashub:{tmp_path}")
    assert "\n" not in str(raised.value)


def test_names_without_a_preset_are_refused(monkeypatch):
    hub = hub_models.hub()
    with pytest.raises(BuildError, match=r"Expected a preset behind 'kerashub:'. Received: none"):
        check_backbone("kerashub:")
    with pytest.raises(BuildError, match=r"Received: 'resnet_50_imagenett'. Nearest: resnet_50_imagenet"):
        open_backbone("kerashub:resnet_50_imagenett")

    def fail(*_):
        raise ConnectionError("no route to kaggle.com\nmore")

    monkeypatch.setattr(hub.src.utils.preset_utils, "get_file", fail)
    with pytest.raises(BuildError, match=r"'resnet_50_imagenet' to be fetched. Received: no route to kaggle.com"):
        open_backbone("kerashub:resnet_50_imagenet")


@SLOW
def test_another_size_is_refused_where_position_embeddings_are_fixed(vit_preset):
    with pytest.raises(BuildError, match=r"to take pictures of 96 px. Received: a network for 64 px alone"):
        open_backbone(vit_preset).at(96)


@SLOW
def test_position_embeddings_that_can_be_interpolated_give_another_size(tmp_path):
    opened = open_backbone(hub_models.saved(hub_models.dinov2(), tmp_path, **hub_models.SCALED))
    assert (opened.native_size, opened.fixed) == (70, True)
    other = opened.at(98)
    assert other.points[-1].shape == (50, 16)
    assert (other.input_size, other.native_size, len(other.points)) == (98, 70, hub_models.BLOCKS + 1)


# --- models in memory


@SLOW
def test_a_classifier_in_memory_has_the_scaling_of_its_preprocessor():
    hub = hub_models.hub()
    converter = hub.layers.ResNetImageConverter(image_size=(96, 96), scale=1 / 255)
    model = hub.models.ResNetImageClassifier(
        backbone=hub_models.resnet(),
        num_classes=5,
        preprocessor=hub.models.ResNetImageClassifierPreprocessor(image_converter=converter),
    )
    opened = open_backbone(model)
    assert (opened.native_size, opened.fixed) == (96, False)
    backbone = opened.at(32)
    assert backbone.scaling is SCALINGS["0..1"]
    assert backbone.network.output_shape == (None, 5)
    assert backbone.points == open_backbone(model.backbone, scaling="0..1").at(32).points


def clip():
    """The network, its input of images, and the output that counts."""
    hub = hub_models.hub()
    size = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
    images = hub.models.CLIPVisionEncoder(patch_size=16, image_shape=(64, 64, 3), **size)
    words = hub.models.CLIPTextEncoder(vocabulary_size=9, embedding_dim=16, max_sequence_length=8, **size)
    return hub.models.CLIPBackbone(images, words, projection_dim=8), images.inputs[0], images.outputs[0]


def pyramid():
    model = hub_models.hub().models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=16,
        hidden_sizes=[16, 32],
        stem_channels=[3, 8, 16],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(16, 8, 16, 1, 2, 3), (16, 8, 32, 2, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, True],
        image_shape=(64, 64, 3),
    )
    return model, model.inputs[0], model.output["stage2"]


@SLOW
@pytest.mark.parametrize("make", [clip, pyramid])
def test_of_several_inputs_or_outputs_the_one_of_images_is_taken(make):
    model, images, output = make()
    part = keras.Model(images, output)
    backbone = open_backbone(model, scaling="0..1").at(64)
    pixels = pictures(backbone.network)
    assert backbone.points == open_backbone(part, scaling="0..1").at(64).points
    assert answer(backbone.network, pixels) == pytest.approx(answer(part, pixels / 255), abs=1e-4)


@SLOW
@pytest.mark.filterwarnings("ignore:Layer 'attn' .* was passed an input with a mask")  # Keras takes an argument for one
def test_swin_has_a_cut_point_after_each_block_and_is_copied():
    network = hub_models.seeded(hub_models.swin)
    backbone = open_backbone(network, scaling="0..1").at(64)
    pixels = pictures(backbone.network)
    assert answer(backbone.network, pixels) == pytest.approx(answer(network, pixels / 255), abs=1e-4)
    layers = [point.layer for point in backbone.points]
    assert layers == ["pos_drop", "blocks_0", "blocks_1", "downsample", "stage_1_blocks_0", "norm"]


# --- what is built on them


def strategy(backbone, layer):
    return Strategy(
        backbone=backbone.name,
        input_size=backbone.input_size,
        cut=layer,
        cut_depth=0.5,
        freeze=backbone.points[0].layer,
        freeze_depth=0.1,
        train_batch_norm=True,
        learning_rate=1e-3,
        head=HeadSpec(levels=(layer,), classes=3),
    )


LOAD = "import sys, keras, numpy as np\nprint(np.abs(keras.models.load_model(sys.argv[1]).predict(\
np.load(sys.argv[2]), verbose=0) - np.load(sys.argv[3])).max() < 1e-4)"


@SLOW
@pytest.mark.parametrize("make", hub_models.MAKES)
def test_a_saved_model_loads_where_only_keras_is_imported_and_is_exported(make, tmp_path, run_python):
    given = hub_models.saved(hub_models.seeded(make), tmp_path / "preset", **hub_models.SCALED)
    backbone = open_backbone(given).at(hub_models.SIZE)
    model = build_model(strategy(backbone, backbone.points[2].layer), backbone=backbone)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 70, 80, 3)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", model.predict(pixels, verbose=0))
    done = run_python(LOAD, *(tmp_path / name for name in ("m.keras", "x.npy", "y.npy")))
    assert done.stdout.strip().endswith("True"), done.stderr
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)
    frozen = [[(layer.trainable, len(layer.trainable_weights)) for layer in each.layers] for each in (model, again)]
    assert frozen[0] == frozen[1]
    for form in ("litert", "saved_model"):
        assert export_model(model, tmp_path / "exported", form, pixels).largest_difference < 1e-4


@SLOW
def test_surgery_takes_a_network_of_keras_hub_as_it_is(vit):
    assert [point.layer for point in cut_points(vit)] == BLOCKS
    model = graft(cut(vit, "transformer_block_1"), HeadSpec(classes=3))
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    pixels = pictures(vit)
    assert answer(again, pixels) == pytest.approx(answer(model, pixels), abs=1e-5)
