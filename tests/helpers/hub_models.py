"""Small image networks by KerasHub's own constructors, at random weights, and presets of them in folders."""

import keras
import pytest

SIZE = 64  # px
BLOCKS = 3  # of the vision transformer
SCALED = {"image_size": (SIZE, SIZE), "scale": 1 / 127.5, "offset": -1.0}


def hub():
    """The package; skips the test where it is not installed."""
    return pytest.importorskip("keras_hub")


def resnet(**arguments):
    return hub().models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        **arguments,
    )


def efficientnet():
    return hub().models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3] * 3,
        stackwise_num_repeats=[1, 2, 2],
        stackwise_input_filters=[16, 16, 24],
        stackwise_output_filters=[16, 24, 40],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_strides=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0.25],
        stackwise_block_types=["fused", "fused", "unfused"],
    )


def mobilenet():
    return hub().models.MobileNetBackbone(
        stackwise_expansion=[[8], [16, 24], [32, 32]],
        stackwise_num_blocks=[1, 2, 2],
        stackwise_num_filters=[[8], [8, 8], [12, 12]],
        stackwise_kernel_size=[[3], [3, 3], [5, 5]],
        stackwise_num_strides=[[2], [2, 1], [2, 1]],
        stackwise_se_ratio=[[0.25], [None, None], [0.25, 0.25]],
        stackwise_activation=[["relu"], ["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1], [1, 1], [2, 2]],
        output_num_filters=32,
        input_num_filters=8,
        input_activation="hard_swish",
        output_activation="hard_swish",
        last_layer_filter=64,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        image_shape=(None, None, 3),
    )


def vit(**arguments):
    return hub().models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=16,
        num_layers=BLOCKS,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        **arguments,
    )


def dinov2():
    return hub().models.DINOV2Backbone(
        patch_size=14,
        num_layers=BLOCKS,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        image_shape=(70, 70, 3),
        position_embedding_shape=(70, 70, 3),
    )


def swin():
    return hub().models.SwinTransformerBackbone(
        image_shape=(SIZE, SIZE, 3), embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
    )


def saved(backbone, folder, **converter):
    """The backbone as a preset in a folder, with a converter of images if its arguments are given."""
    backbone.save_to_preset(folder)
    if converter:
        name = type(backbone).__name__.replace("Backbone", "ImageConverter")
        getattr(hub().layers, name)(**converter).save_to_preset(folder)
    return f"kerashub:{folder}"


def seeded(make, **arguments):
    keras.utils.set_random_seed(0)
    return make(**arguments)


MAKES = (resnet, efficientnet, mobilenet, vit)
