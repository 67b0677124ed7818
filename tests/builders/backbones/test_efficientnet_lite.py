"""EfficientNet-Lite: the published architecture with the genuine weights."""

import numpy as np
import pytest
from network_checks import size_of
from PIL import Image

from builders.backbones.efficientnet_lite import efficientnet_lite
from builders.backbones.load import load_backbone
from builders.backbones.registry import BACKBONES


def top_one(shared_imagenet, name):
    """Share of every fourth class's picture that is right, centre crop of 224 px from a short side of 256 px."""
    backbone = load_backbone(name, 224)
    folders = sorted(shared_imagenet.iterdir())
    classes = np.arange(0, len(folders), 4)
    pictures = np.empty((len(classes), 224, 224, 3), np.float32)
    for row, number in enumerate(classes):
        with Image.open(next(folders[number].iterdir())) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            pictures[row] = image.convert("RGB").crop((left, top, left + 224, top + 224))
    return (backbone.network.predict(pictures, verbose=0).argmax(1) == classes).mean()


@pytest.mark.slow
def test_at_least_80_percent_of_a_quarter_of_the_imagenet_pictures_are_right(shared_imagenet):
    assert top_one(shared_imagenet, "efficientnet_lite0") >= 0.80


@pytest.mark.parametrize(("name", "millions"), [("efficientnet_lite0", 4.65), ("efficientnet_lite1", 5.42)])
def test_the_number_of_parameters_is_the_published_one(name, millions):
    spec = BACKBONES[name]
    network = efficientnet_lite(name=name, input_size=64, width=spec.width, depth=spec.depth, classes=1000)
    assert size_of(network.trainable_weights) / 1e6 == pytest.approx(millions, abs=0.01)


def test_it_is_made_of_standard_layers_and_cut_behind_each_block():
    backbone = load_backbone("efficientnet_lite0", 64)
    assert all(type(layer).__module__.startswith("keras.") for layer in backbone.network.layers)
    layers = [point.layer for point in backbone.points]
    assert len(layers) == 18  # stem, 16 blocks, top
    assert layers[:4] == ["stem_activation", "block1a_project_bn", "block2a_project_bn", "block2b_add"]
    assert layers[-2:] == ["block7a_project_bn", "top_activation"]
    assert backbone.points[-1].shape == (2, 2, 1280)
    assert (backbone.title, backbone.source, backbone.native_size) == ("EfficientNet-Lite0", "ImageNet", 224)


def test_weights_do_not_depend_on_the_input_size():
    small, large = (load_backbone("efficientnet_lite0", size) for size in (64, 96))
    assert small.fingerprint == large.fingerprint
