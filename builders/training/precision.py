"""Half precision where the machine gains from it."""

import contextlib
from collections.abc import Iterator
from typing import Any

_TENSOR_CORES = (7, 0)  # compute capability from which half precision is faster (NVIDIA, Mixed-precision training)


def best_precision() -> str:
    """The precision to train in on this machine: "mixed_float16" if every GPU has tensor cores, else "float32"."""
    import tensorflow as tf

    capabilities = [
        tf.config.experimental.get_device_details(device).get("compute_capability", (0, 0))
        for device in tf.config.list_physical_devices("GPU")
    ]
    return "mixed_float16" if capabilities and min(capabilities) >= _TENSOR_CORES else "float32"


@contextlib.contextmanager
def use_precision(model: Any, precision: str) -> Iterator[None]:
    """Let the layers of a model, all but the last, compute in a precision; weights stay float32.

    Args:
        model: a flat `keras.Model`.
        precision: name of a Keras dtype policy.
    """
    layers = [layer for layer in model._flatten_layers() if layer is not model.layers[-1]]
    before = [layer.dtype_policy for layer in layers]
    if precision != "float32":
        for layer in layers:
            layer.dtype_policy = precision
    try:
        yield
    finally:
        if precision != "float32":
            for layer, policy in zip(layers, before, strict=True):
                layer.dtype_policy = policy
