"""Optimisers with lower rates for lower layers, and the rate over time."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from builders.graph.layer_graph import LayerGraph
from builders.training.schedule import Schedule


class _Layerwise:
    """Multiplies the rate of each variable by a factor of its own."""

    factors: Sequence[float] = ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
        factor = self.factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        return super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]


class LayerwiseAdamW(_Layerwise, keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW with a factor for the rate of each variable, in the order of the trainable variables."""


class LayerwiseSGD(_Layerwise, keras.optimizers.SGD):  # type: ignore[misc]
    """SGD with a factor for the rate of each variable, in the order of the trainable variables."""


class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """From near 0 linearly to the peak, and back to 0 by a cosine (Loshchilov and Hutter, arXiv 1608.03983)."""

    def __init__(self, peak: float, warm_up: int, steps: int) -> None:
        self.peak, self.warm_up, self.steps = peak, warm_up, steps

    def __call__(self, step: Any) -> Any:
        now = keras.ops.cast(step, "float32")
        rise = (now + 1.0) / (self.warm_up + 1.0)
        share = (now - self.warm_up) / max(self.steps - self.warm_up, 1)
        fall = 0.5 * (1.0 + keras.ops.cos(math.pi * keras.ops.clip(share, 0.0, 1.0)))
        return self.peak * keras.ops.minimum(rise, 1.0) * fall

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warm_up": self.warm_up, "steps": self.steps}


def optimizer_for(model: Any, schedule: Schedule, depths: dict[int, float]) -> Any:
    """The optimiser of a schedule for the trainable variables of a model.

    Args:
        model: with its layers frozen as they shall be.
        schedule: optimiser, rates and steps.
        depths: id of a variable -> its depth in the whole model, in [0, 1].
    """
    rate = WarmUpCosine(schedule.learning_rate, schedule.warm_up, schedule.steps)
    optimizer = (
        LayerwiseAdamW(rate, weight_decay=schedule.weight_decay)
        if schedule.optimizer == "adamw"
        else LayerwiseSGD(rate, momentum=0.9, nesterov=True)
    )
    optimizer.factors = [
        schedule.lowest_rate ** (1.0 - depths.get(id(variable), 1.0)) for variable in model.trainable_variables
    ]
    return optimizer


def depths_of(graph: LayerGraph) -> dict[int, float]:
    """For each variable of a model its depth: the share of the layers with weights that lie at or below it.

    Returns:
        id of the variable -> depth in (0, 1].
    """
    layers = []
    for call in graph.calls:
        operation = call.operation
        if isinstance(operation, keras.Layer) and operation.weights and operation not in layers:
            layers.append(operation)
    return {
        id(variable): place / len(layers) for place, layer in enumerate(layers, start=1) for variable in layer.variables
    }
