"""What each kind of Keras layer or operation does to a feature map, by the name of its class."""

from typing import Any

from builders.graph.cut_search import Kind

# Layers and operations that act on each value alone or normalise: a unit of the network ends behind them, not before.
_POINTWISE = {
    *("Activation", "BatchNormalization", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GroupNormalization"),
    *("Identity", "LayerNormalization", "LeakyReLU", "Normalization", "PReLU", "ReLU", "Rescaling", "RMSNormalization"),
    *("SpatialDropout2D", "UnitNormalization", "LayerScale"),
    *("Relu", "Relu6", "Sigmoid", "Silu", "Gelu", "Elu", "Selu", "HardSigmoid", "HardSilu", "HardSwish", "Tanh"),
    *("LeakyRelu", "Softplus", "Swish", "Add", "Subtract", "Divide", "TrueDivide", "Clip", "Maximum", "Minimum"),
}
_GATES = {"Multiply"}
_PADDINGS = {"ZeroPadding1D", "ZeroPadding2D", "Cropping2D", "Pad"}
_GLOBAL_POOLINGS = {"GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"}
_DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}


def kind_of(operation: Any, weighted: bool) -> Kind:
    """The kind of a layer; one of our own says it itself."""
    own = getattr(operation, "kind", None)
    if isinstance(own, Kind):
        return own
    name = type(operation).__name__
    for kind, names in (
        (Kind.POINTWISE, _POINTWISE),
        (Kind.GATE, _GATES),
        (Kind.PADDING, _PADDINGS),
        (Kind.GLOBAL_POOLING, _GLOBAL_POOLINGS),
        (Kind.DEPTHWISE, _DEPTHWISE),
    ):
        if name in names:
            return kind
    if name == "AveragePooling2D":
        return Kind.AVERAGE_POOLING
    return Kind.MIXING if weighted else Kind.OTHER
