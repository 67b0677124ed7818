"""From a strategy to a compiled Keras model."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.backbones.backbone import Backbone
from builders.backbones.load import load_backbone
from builders.errors import BuildError
from builders.graph.layer_names import free_name
from builders.strategy import Strategy
from builders.surgery.cut import find_cut
from builders.surgery.freeze import freeze_below, hold_batch_norm
from builders.surgery.graft import add_head


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadWeights:
    """Initial weights of the prediction layer."""

    kernel: npt.NDArray[np.float64]  # of shape (channels of the cut, classes)
    bias: npt.NDArray[np.float64]  # of shape (classes,)


def build_model(strategy: Strategy, head: HeadWeights | None = None, backbone: Backbone | None = None) -> Any:
    """A flat, compiled `keras.Model` of the backbone's own layers and standard ones, which takes integer labels.

    It maps pictures of any size, of shape (batch, height, width, channels) and 0 to 255, to probabilities of shape
    (batch, classes). Without `head` the prediction layer is random. The backbone is loaded by its name if it is not
    given; it is not changed.
    """
    if backbone is None:
        backbone = load_backbone(strategy.backbone, strategy.input_size)
    if backbone.scaling is None:
        raise BuildError(f"Expected the pixel scaling of {backbone.name} to be known. Received: none. Name it.")
    taken, size = backbone.graph.names, strategy.input_size
    inputs = keras.Input((None, None, backbone.channels), name=free_name("image", taken))
    resizing = keras.layers.Resizing(
        size, size, interpolation="bilinear", antialias=True, name=free_name("resizing", taken)
    )
    # By default Keras's image layers pass training=True on to every layer behind them: a plain call of the model would
    # run BatchNorm in training mode. This makes False the default of the whole model.
    resized = resizing(inputs, training=False)
    outputs = add_head(strategy.head, backbone.graph.copy_onto(resized, _places(strategy, backbone)), taken=taken)
    name = "".join(char if char.isalnum() or char in "._-" else "_" for char in f"{strategy.backbone}_grafted")
    model = keras.Model(inputs, outputs, name=name)
    if head is not None:
        expected, received = tuple(model.layers[-1].kernel.shape), head.kernel.shape
        if expected != received or head.bias.shape != expected[1:]:
            raise BuildError(f"Expected a kernel of shape {expected} for the prediction layer. Received: {received}.")
        model.layers[-1].set_weights([head.kernel, head.bias])
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
    # Keras builds the optimiser when it loads a file, and would warn that the saved one had no slots yet.
    model.optimizer.build(model.trainable_variables)


def _places(strategy: Strategy, backbone: Backbone) -> list[int]:
    """Indices of the cut points that the head reads; of the output if the backbone can't be cut."""
    levels = strategy.head.levels or (strategy.cut,)
    if not backbone.graph.cuts and levels == (backbone.points[-1].layer,):
        return [len(backbone.graph.nodes) - 1]
    return [find_cut(backbone.graph, level) for level in levels]
