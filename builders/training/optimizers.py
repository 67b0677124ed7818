"""Optimisers with lower learning rates for lower layers, and half precision where the machine gains from it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from builders.graph.layer_graph import LayerGraph
from builders.training.schedule import Schedule

_TENSOR_CORES = (7, 0)  # compute capability from which half precision is faster (NVIDIA, Mixed-precision training)


class _Layerwise:
    """Multiplies the learning rate of each trainable variable, in their order, by a factor of its own."""

    factors: Sequence[float] = ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
        factor = self.factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        return super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]


class LayerwiseAdamW(_Layerwise, keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW with layer-wise learning rates."""


class LayerwiseSGD(_Layerwise, keras.optimizers.SGD):  # type: ignore[misc]
    """SGD with layer-wise learning rates."""


def learning_rate_of(schedule: Schedule) -> Any:
    """Linear warm-up to the peak, then a cosine to 0 (Loshchilov and Hutter, arXiv 1608.03983)."""
    peak, warm_up = schedule.learning_rate, schedule.warm_up
    return keras.optimizers.schedules.CosineDecay(
        peak / (warm_up + 1), max(schedule.steps - warm_up, 1), warmup_target=peak, warmup_steps=warm_up
    )


def optimizer_for(model: Any, schedule: Schedule, depths: dict[int, float]) -> Any:
    """The optimiser of a schedule for the trainable variables of a model, with `depths_of` the whole model."""
    rate, trained = learning_rate_of(schedule), model.trainable_variables
    if schedule.optimizer == "adamw":
        optimizer = LayerwiseAdamW(rate, weight_decay=schedule.weight_decay)
    else:
        optimizer = LayerwiseSGD(rate, momentum=0.9, nesterov=True)
    optimizer.factors = [schedule.lowest_rate ** (1.0 - depths.get(id(variable), 1.0)) for variable in trained]
    return optimizer


def depths_of(graph: LayerGraph) -> dict[int, float]:
    """Depth in (0, 1] of each variable by its id: the share of the layers with weights at or below its own."""
    layers = dict.fromkeys(
        call.operation for call in graph.calls if isinstance(call.operation, keras.Layer) and call.operation.weights
    )
    return {
        id(variable): number / len(layers)
        for number, layer in enumerate(layers, start=1)
        for variable in layer.variables
    }


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
