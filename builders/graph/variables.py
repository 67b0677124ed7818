"""Counts of the variables of layers."""

import math
from collections.abc import Iterable
from typing import Any

import keras


def trainable_variables(layer: Any, *, batch_norm: bool = True) -> list[Any]:
    """The variables that train if nothing is frozen: no moving statistics, no state of a random generator."""
    return [
        variable
        for part in layer._flatten_layers()
        if batch_norm or not isinstance(part, keras.layers.BatchNormalization)
        for variable in part._trainable_variables
    ]


def size_of(variables: Iterable[Any]) -> int:
    """Number of values in variables."""
    return sum(math.prod(variable.shape) for variable in variables)
