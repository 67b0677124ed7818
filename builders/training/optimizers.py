"""Optimisers with lower learning rates for lower layers."""

from collections.abc import Sequence
from typing import Any

import keras

from builders.graph.layer_graph import LayerGraph
from builders.training.schedule import Schedule


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
    decay_steps = max(schedule.steps - warm_up, 1)
    if not warm_up:
        return keras.optimizers.schedules.CosineDecay(peak, decay_steps)
    first = peak / (warm_up + 1)
    return keras.optimizers.schedules.CosineDecay(first, decay_steps, warmup_target=peak, warmup_steps=warm_up)


def optimizer_for(model: Any, schedule: Schedule, depths: dict[int, float]) -> Any:
    """The optimiser of a schedule for the trainable variables of a model.

    Args:
        model: with its layers frozen.
        schedule: optimiser, learning rates and steps.
        depths: id of a variable -> its depth in the whole model, in [0, 1].
    """
    rate = learning_rate_of(schedule)
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
    """Depth in (0, 1] of each variable by its id: the share of the layers with weights at or below its own."""
    layers = dict.fromkeys(
        call.operation for call in graph.calls if isinstance(call.operation, keras.Layer) and call.operation.weights
    )
    return {
        id(variable): number / len(layers)
        for number, layer in enumerate(layers, start=1)
        for variable in layer.variables
    }
