"""What each Keras layer or operation does to a feature map, by the name of its class."""

from typing import Any

from builders.graph.cut_search import Kind

_CLASSES = {
    # Layers and operations that act on each value alone or normalise: a unit ends behind them, not in front of them.
    Kind.POINTWISE: (
        "Activation BatchNormalization Dropout ELU GaussianDropout GaussianNoise GroupNormalization Identity "
        "LayerNormalization LeakyReLU Normalization PReLU ReLU Rescaling RMSNormalization SpatialDropout2D "
        "UnitNormalization LayerScale Relu Relu6 Sigmoid Silu Gelu Elu Selu HardSigmoid HardSilu HardSwish Tanh "
        "LeakyRelu Softplus Swish Add Subtract Divide TrueDivide Clip Maximum Minimum"
    ),
    Kind.GATE: "Multiply",
    Kind.PADDING: "ZeroPadding1D ZeroPadding2D Cropping2D Pad",
    Kind.GLOBAL_POOLING: "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D",
    Kind.DEPTHWISE: "DepthwiseConv1D DepthwiseConv2D",
    Kind.AVERAGE_POOLING: "AveragePooling2D",
}
_KINDS = {name: kind for kind, names in _CLASSES.items() for name in names.split()}


def kind_of(operation: Any, *, weighted: bool) -> Kind:
    """The kind of a layer or operation; a layer with an attribute `kind` defines it itself."""
    own = getattr(operation, "kind", None)
    if isinstance(own, Kind):
        return own
    return _KINDS.get(type(operation).__name__, Kind.MIXING if weighted else Kind.OTHER)
