"""What is to be built. Keras-free."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """The layers behind the backbone."""

    classes: int  # number of outputs
    # Cut points whose maps it reads, from input to output; the last one is the cut. If empty, the last map alone. The
    # pooled vectors of several levels are concatenated.
    levels: tuple[str, ...] = ()
    # How a map becomes a vector: "average", "max", "both" (concatenated), "attention" (a learned weight per position)
    pooling: str = "average"
    hidden: tuple[int, ...] = ()  # units of each ReLU layer before the last one
    dropout: float = 0.0  # share of values dropped before each dense layer, in [0, 1)
    activation: str = "softmax"  # of the output; or "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way of transfer learning, with all its settings."""

    backbone: str  # its name: in the registry, or of the file that it comes from
    input_size: int  # height and width in px to which the model resizes its input
    cut: str  # the last layer that is kept, a cut point of the backbone
    cut_depth: float  # the share of the backbone's weighted layers that is kept, in (0, 1]
    freeze: str | None  # the last frozen layer, or None if nothing is frozen
    freeze_depth: float  # the share of the backbone's weighted layers that is frozen, in [0, cut_depth]
    train_batch_norm: bool  # whether BatchNorm layers behind `freeze` train and move their statistics
    learning_rate: float  # of the Adam optimiser that the model is compiled with
    head: HeadSpec
