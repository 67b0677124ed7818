"""From a strategy to a compiled Keras model."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.backbones.backbone import Backbone
from builders.backbones.load import load_backbone
from builders.backbones.preprocessing import resizing_layer
from builders.errors import BuildError
from builders.graph.layer_names import free_name
from builders.strategy import Strategy
from builders.surgery.cut import find_cut
from builders.surgery.freeze import can_train, freeze_below, hold_batch_norm, size_of
from builders.surgery.heads import add_head, set_head


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
        A flat, compiled `keras.Model` from pictures of any size, of shape (batch, height, width, channels) and 0 to
        255, to probabilities of shape (batch, classes). It takes integer labels. Its layers are the backbone's own and
        standard ones.

    Raises:
        BuildError: the strategy names a backbone, cut or pooling that there is not.
    """
    if backbone is None:
        backbone = load_backbone(strategy.backbone, strategy.input_size)
    if backbone.scaling is None:
        raise BuildError(f"Expected the pixel scaling of {backbone.name} to be known. Received: none. Name it.")
    taken = backbone.graph.names
    inputs = keras.Input((None, None, backbone.channels), name=free_name("image", taken))
    resized = resizing_layer(strategy.input_size, inputs, name=free_name("resizing", taken))
    places = _places(backbone, strategy.head.levels or (strategy.cut,))
    model = keras.Model(
        inputs,
        add_head(strategy.head, backbone.graph.lay(resized, places), taken=taken),
        name=_valid_name(f"{strategy.backbone}_grafted"),
    )
    if head is not None:
        set_head(model, head.kernel, head.bias)
    freeze_below(model, strategy.freeze)
    hold_batch_norm(model, train_batch_norm=strategy.train_batch_norm)
    compile_model(model, strategy.learning_rate)
    return model


def compile_model(model: Any, learning_rate: float) -> None:
    """Compile a model for integer labels, with a plain Adam."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU, XLA makes a depthwise network ten times slower
    )
    # Keras builds the optimiser when a file is loaded and would warn that the one saved had no slots yet.
    model.optimizer.build(model.trainable_variables)


def _valid_name(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name)


def _places(backbone: Backbone, levels: tuple[str, ...]) -> list[int]:
    """Indices of cut points; of its one output for a module that can't be cut."""
    if not backbone.graph.cuts and levels == (backbone.points[-1].layer,):
        return [len(backbone.graph.nodes) - 1]
    return [find_cut(backbone.graph, level) for level in levels]


def parameter_counts(strategy: Strategy, backbone: Backbone) -> tuple[int, int]:
    """How many parameters the model of a strategy has, without building it.

    Args:
        strategy: what would be built, without hidden layers.
        backbone: the backbone, loaded.

    Returns:
        Numbers of (frozen, trainable) parameters; statistics of BatchNorm count as frozen.
    """
    graph = backbone.graph
    places = _places(backbone, strategy.head.levels or (strategy.cut,))
    frozen = graph.index(strategy.freeze) if strategy.freeze is not None else None
    below = set() if frozen is None else graph.ancestors([frozen])
    total = trainable = 0
    for index in graph.ancestors(places) - {0}:
        layer = graph.calls[index - 1].operation
        if not isinstance(layer, keras.Layer) or "@" in graph.calls[index - 1].name:
            continue
        total += size_of(layer.weights)
        if index not in below:
            trainable += size_of(can_train(layer, batch_norm=strategy.train_batch_norm))
    channels = sum((graph.nodes[place].shape or (0,))[-1] or 0 for place in places)
    return total - trainable, trainable + (channels + 1) * strategy.head.classes
