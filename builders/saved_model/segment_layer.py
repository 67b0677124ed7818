"""A segment of a SavedModel's op graph as a Keras layer that trains, freezes and saves like any other."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.message import DecodeError
from keras.src.saving.serialization_lib import in_safe_mode
from tensorflow.core.framework import graph_pb2
from tensorflow.python.eager import context

from builders.errors import BuildError
from builders.graph.cut_search import Kind
from builders.saved_model.op_graph import node_of
from builders.saved_model.safe_ops import require_computing
from builders.saved_model.segment import SEGMENT_SCOPE, Segment

_trusted: set[str] = set()  # digests of graphs that this process trusts


@keras.saving.register_keras_serializable(package="netgraft")
class GraphSegment(keras.layers.Layer):  # type: ignore[misc]
    """Runs a segment of a module's op graph on variables of its own.

    The layer runs the inference graph: moving statistics stay and dropout does nothing. If it is called with
    `training=True` while both `trainable` and `train_batch_norm` are set, its BatchNorms normalise by their batch and
    update their statistics; everything else, dropout included, stays as in inference.

    A saved layer whose ops do more than compute is refused, unless Keras's safe mode is off.
    """

    def __init__(
        self,
        segment: Segment,
        *,
        momentum: float = 0.99,
        train_batch_norm: bool = False,
        whole: str | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("name", segment.name)
        options.setdefault("dtype", "float32")  # the graph's dtypes are its own, whatever the global policy
        super().__init__(**options)
        self._segment = segment
        self._values: dict[str, Any] = {}
        self._runs: dict[str, Any] = {}
        self.input_spec = keras.layers.InputSpec(shape=(None, *segment.input_shape))
        self.supports_jit = False  # the module may hold any op
        self.weighted_layers = segment.weighted_layers
        self.kind = Kind.OTHER if segment.head else Kind.MIXING  # what it does to a map
        self.norms = segment.norms
        self.momentum = momentum
        self.train_batch_norm = train_batch_norm
        self.whole = whole  # why the module could not be split, if this layer is all of it
        self.any_size = False  # whether the module can be opened at another input size; set where it is opened

    @property
    def _graph(self) -> Any:
        return _parsed(self._segment.graph)  # parsed at each use: constants in it may be large

    def build(self, input_shape: Any) -> None:
        """Create the variables; their values are loaded or set afterwards."""
        del input_shape
        for weight in self._segment.weights:
            self._values[weight.node] = self.add_weight(
                name=weight.name,
                shape=weight.shape,
                dtype=weight.dtype,
                initializer="zeros",
                trainable=weight.trainable,
                autocast=False,
            )
        self.built = True

    def assign(self, values: Mapping[str, Any]) -> None:
        """Set the variables to arrays or variables, by their nodes."""
        for node, variable in self._values.items():
            variable.assign(values[node])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], *self._segment.output_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        moving = [norm for norm in self.norms if {norm.mean, norm.variance} <= self._values.keys()]
        if not (training and self.trainable and self.train_batch_norm and moving):
            return self._run(self._infer, inputs)[0]
        output, *moments = self._run(self._train, inputs)
        statistics = [node for norm in moving for node in (norm.mean, norm.variance)]
        for node, batch in zip(statistics, moments, strict=True):
            variable = self._values[node]
            old = tf.convert_to_tensor(variable.value)
            new = tf.cast(tf.reshape(batch, variable.shape), old.dtype)
            variable.assign(old * self.momentum + new * (1 - self.momentum))
        return output

    def call_with_norm(self, inputs: Any) -> tuple[Any, ...]:
        """The output in inference mode, and the output of the last BatchNorm in `norms`."""
        return tuple(self._run(self._infer_norm, tf.convert_to_tensor(inputs, tf.float32)))

    def norm_affine(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Gamma and beta of the last BatchNorm, each of shape (channels,); ones and zeros where it has none."""
        last = self.norms[-1]
        statistics = self._array(last.mean)
        gamma = np.ones_like(statistics) if last.gamma is None else self._array(last.gamma)
        beta = np.zeros_like(statistics) if last.beta is None else self._array(last.beta)
        return gamma, beta

    def _array(self, node: str) -> npt.NDArray[np.float32]:
        if node in self._values:
            values = self._values[node].numpy()
        else:
            (constant,) = (found for found in self._graph.node if found.name == node)
            values = tf.make_ndarray(constant.attr["value"].tensor)
        return np.asarray(values, np.float32).reshape(-1)

    def _run(self, forward: Callable[..., list[Any]], inputs: Any) -> list[Any]:
        values = {node: tf.convert_to_tensor(variable.value) for node, variable in self._values.items()}
        if forward.__name__ not in self._runs:
            # TensorFlow has to know the functions in control flow; otherwise those of a nested function get lost.
            for function in self._graph.library.function:
                if not context.context().has_function(function.signature.name):
                    context.context().add_function_def(function)
            self._runs[forward.__name__] = tf.function(forward, autograph=False, reduce_retracing=True)
        return [tf.cast(tensor, tf.float32) for tensor in self._runs[forward.__name__](inputs, values)]

    def _infer(self, inputs: Any, values: Mapping[str, Any]) -> list[Any]:
        return self._fetch(self._fed(inputs, values), self._segment.target)

    def _infer_norm(self, inputs: Any, values: Mapping[str, Any]) -> list[Any]:
        return self._fetch(self._fed(inputs, values), self._segment.target, self.norms[-1].y)

    def _train(self, inputs: Any, values: Mapping[str, Any]) -> list[Any]:
        """The output, then mean and variance of each BatchNorm's batch, which replace the statistics in the graph."""
        fed, moments = self._fed(inputs, values), []
        for norm in self.norms:
            if {norm.mean, norm.variance} <= values.keys():
                (x,) = self._fetch(fed, norm.x)
                mean, variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
                gamma, beta = (self._channels(node, fed, x.dtype) for node in (norm.gamma, norm.beta))
                fed[norm.y] = tf.nn.batch_normalization(x, mean, variance, beta, gamma, norm.epsilon)
                moments += [mean, variance]
        return [*self._fetch(fed, self._segment.target), *moments]

    def _channels(self, node: str | None, fed: dict[str, Any], dtype: Any) -> Any:
        return None if node is None else tf.cast(tf.reshape(self._fetch(fed, f"{node}:0")[0], [-1]), dtype)

    def _fed(self, inputs: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors that the graph gets from outside, by name."""
        (source,) = (node for node in self._graph.node if node.name == node_of(self._segment.source))
        images = tf.cast(inputs, source.attr["dtype"].type)
        return {self._segment.source: images} | {f"{node}:0": value for node, value in values.items()}

    def _fetch(self, fed: Mapping[str, Any], *wanted: str) -> list[Any]:
        missing = [name for name in wanted if name not in fed]
        found: Sequence[Any] = ()
        if missing:
            found = tf.graph_util.import_graph_def(self._graph, dict(fed), missing, name=SEGMENT_SCOPE)
        computed = {**fed, **dict(zip(missing, found, strict=True))}
        return [computed[name] for name in wanted]

    def get_config(self) -> dict[str, Any]:
        settings = {"momentum": self.momentum, "train_batch_norm": self.train_batch_norm, "whole": self.whole}
        return {**super().get_config(), "segment": msgspec.to_builtins(self._segment), **settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GraphSegment":
        """Create the layer, if its graph only computes or Keras's safe mode is off."""
        segment = msgspec.convert(config["segment"], Segment)
        if in_safe_mode() is False:
            trust_graph(segment.graph)
        elif _digest(segment.graph) not in _trusted:
            require_computing(_parsed(segment.graph), f"the layer {config.get('name')}", "Load it with safe_mode=False")
        return cls(**{**config, "segment": segment})


def trust_graph(graph: bytes) -> None:
    """Let layers that hold this graph be copied in this process, whatever ops are in it."""
    _trusted.add(_digest(graph))


def _digest(graph: bytes) -> str:
    return hashlib.sha256(graph).hexdigest()


def _parsed(graph: bytes) -> Any:
    try:
        return graph_pb2.GraphDef.FromString(zlib.decompress(graph))
    except (DecodeError, zlib.error) as error:
        raise BuildError(
            f"Expected a GraphSegment to hold a graph. Received: {error}. Save the model again, or download it again."
        ) from error
