"""The optimiser of a training, and half precision where the machine gains from it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from builders.training.schedule import Schedule

_TENSOR_CORES = (7, 0)  # compute capability from which half precision is faster (NVIDIA, Mixed-precision training)


def optimizer_for(schedule: Schedule, place: Any = None) -> Any:
    """Adam, with a linear warm-up to the peak rate and a cosine to 0 (Loshchilov and Hutter, arXiv 1608.03983).

    `place`: a Keras variable, the step of the schedule whose rate is used; by default the number of the step.
    """
    peak, warm_up = schedule.learning_rate, schedule.warm_up
    rate = keras.optimizers.schedules.CosineDecay(
        peak / (warm_up + 1), max(schedule.steps - warm_up, 1), warmup_target=peak, warmup_steps=warm_up
    )
    return keras.optimizers.Adam(rate if place is None else lambda: rate(keras.ops.convert_to_tensor(place)))


def best_precision() -> str:
    """The precision to train in on this machine: "mixed_float16" if every GPU has tensor cores, else "float32"."""
    if keras.backend.backend() != "tensorflow":
        return "float32"
    import tensorflow as tf

    capabilities = [
        tf.config.experimental.get_device_details(device).get("compute_capability", (0, 0))
        for device in tf.config.list_physical_devices("GPU")
    ]
    return "mixed_float16" if capabilities and min(capabilities) >= _TENSOR_CORES else "float32"


@contextlib.contextmanager
def use_precision(model: Any, precision: str) -> Iterator[None]:
    """Let the layers of a flat model, all but the last, compute in a Keras dtype policy; weights stay float32."""
    layers = [layer for layer in model._flatten_layers() if layer is not model.layers[-1] and precision != "float32"]
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = precision
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy
