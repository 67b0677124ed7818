"""From a strategy to a compiled Keras model."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.backbones import Backbone, load_backbone
from builders.heads import add_head, pixel_layers, set_head
from builders.strategy import Strategy
from builders.surgery import copy_up_to, freeze


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadWeights:
    """Where the prediction layer starts from.

    Attributes:
        kernel: of shape (channels of the cut, classes).
        bias: of shape (classes,).
    """

    kernel: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]


def build_model(strategy: Strategy, head: HeadWeights | None = None, backbone: Backbone | None = None) -> Any:
    """Build what a strategy says.

    Args:
        strategy: cut, freeze, head and input size.
        head: weights for the prediction layer; None leaves them random.
        backbone: the loaded backbone, if it is at hand; it is unchanged.

    Returns:
        A flat, compiled `keras.Model` of standard layers, from pictures of any size, of shape (batch, height, width,
        3) and 0 to 255, to probabilities of shape (batch, classes). It takes integer labels.

    Raises:
        BuildError: the strategy names a backbone, cut or pooling that there is not.
    """
    if backbone is None or (backbone.spec.name, backbone.input_size) != (strategy.backbone, strategy.input_size):
        backbone = load_backbone(strategy.backbone, strategy.input_size)
    inputs = keras.Input((None, None, 3), name="image")
    scaled = pixel_layers(backbone.spec, strategy.input_size, inputs)
    feature_maps = copy_up_to(backbone.network, strategy.head.levels, scaled)
    model = keras.Model(inputs, add_head(strategy.head, feature_maps), name=f"{strategy.backbone}_grafted")
    if head is not None:
        set_head(model, head.kernel, head.bias)
    freeze(model, strategy.freeze, train_batch_norm=strategy.train_batch_norm)
    model.compile(
        optimizer=keras.optimizers.Adam(strategy.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, XLA makes a depthwise network ten times slower
    )
    # Keras builds the optimiser when a file is loaded and would warn that the one saved had no slots yet.
    model.optimizer.build(model.trainable_variables)
    return model


def parameter_counts(strategy: Strategy, backbone: Backbone) -> tuple[int, int]:
    """How many parameters the model of a strategy has, without building it.

    Args:
        strategy: what would be built.
        backbone: the backbone, loaded.

    Returns:
        Numbers of (frozen, trainable) parameters; statistics of BatchNorm count as frozen.
    """
    network = backbone.network
    part = keras.Model(network.input, network.get_layer(strategy.cut).output)
    names = [layer.name for layer in part.layers]
    first = 0 if strategy.freeze is None else names.index(strategy.freeze) + 1
    trainable = sum(
        _size(layer.trainable_variables)
        for layer in part.layers[first:]
        if strategy.train_batch_norm or not isinstance(layer, keras.layers.BatchNormalization)
    )
    channels = sum(network.get_layer(level).output.shape[-1] for level in strategy.head.levels)
    head = (channels + 1) * strategy.head.classes
    return part.count_params() - trainable, trainable + head


def _size(variables: list[Any]) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)
