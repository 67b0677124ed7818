"""What is to be built. Keras-free."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """The layers behind the backbone.

    Attributes:
        classes: number of outputs.
        levels: cut points whose maps it reads, from input to output; the last one is the cut. If empty, it reads the
            last map alone.
        pooling: how a map becomes a vector: "average", "max", "both" (concatenated) or "attention" (a learned weight
            for each position). The vectors of several levels are concatenated.
        hidden: units of each ReLU layer before the last one.
        dropout: share of values dropped before each dense layer, in [0, 1).
        activation: of the output, "softmax" or "linear".
    """

    classes: int
    levels: tuple[str, ...] = ()
    pooling: str = "average"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    activation: str = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way of transfer learning, with all its settings.

    Attributes:
        backbone: its name: in the registry, or of the file that it comes from.
        input_size: height and width in px to which the model resizes its input.
        cut: the last layer that is kept, a cut point of the backbone.
        cut_depth: the share of the backbone's weighted layers that is kept, in (0, 1].
        freeze: the last frozen layer, or None if nothing is frozen.
        freeze_depth: the share of the backbone's weighted layers that is frozen, in [0, cut_depth].
        train_batch_norm: whether BatchNorm layers behind `freeze` train and move their statistics.
        learning_rate: of the Adam optimiser that the model is compiled with.
        head: the layers behind the backbone.
    """

    backbone: str
    input_size: int
    cut: str
    cut_depth: float
    freeze: str | None
    freeze_depth: float
    train_batch_norm: bool
    learning_rate: float
    head: HeadSpec
