"""What is read in a network, as one function of a batch of pixels: by TensorFlow's graph, or as a LiteRT program."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.native_logs import hidden_native_logs

FloatArray = npt.NDArray[np.float32]
# From pixels 0..255 of shape (batch, size, size, channels) to a flat list: for each cut its mean over positions, for
# each norm the mean and the mean square of what is read there, and the network's own output.
Run = Callable[[FloatArray], list[FloatArray]]
# From such pixels as a tensor to tensors: at the cuts, at the norms less their centre, and the network's own output.
Forward = Callable[[Any], Sequence[Any]]
_BATCH = 8  # of the program: as fast as larger ones, in less memory


def _read(tensors: Sequence[Any], n_cuts: int) -> list[Any]:
    """What is read of a network's tensors."""
    import tensorflow as tf

    def over_positions(x: Any) -> Any:
        return tf.reduce_mean(x, tuple(range(1, x.shape.rank - 1))) if x.shape.rank > 2 else x

    pooled = [over_positions(x) for x in tensors[:n_cuts]]
    moments = [over_positions(power) for x in tensors[n_cuts:-1] for power in (x, x * x)]
    return [*pooled, *moments, over_positions(tensors[-1])]


def with_tensorflow(forward: Forward, n_cuts: int, shape: Sequence[int]) -> Run:
    """Compile a network for pictures of that shape."""
    return with_constant_weights(lambda pixels: _read(forward(pixels), n_cuts), shape)


def read_with_tensorflow(forward: Forward, n_cuts: int, pixels: FloatArray) -> list[FloatArray]:
    """What is read of one batch, without compiling anything."""
    import tensorflow as tf

    return [np.asarray(output) for output in _read(forward(tf.convert_to_tensor(pixels)), n_cuts)]


def with_constant_weights(forward: Callable[[Any], list[Any]], shape: Sequence[int]) -> Run:
    """Compile a function of a batch of inputs of that shape, with the weights that it reads as constants.

    So TensorFlow folds each BatchNorm into its convolution. XLA makes a depthwise network ten times slower on a CPU.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec((None, *shape), tf.float32)]
    function = tf.function(forward, input_signature=signature, jit_compile=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=False)
    return lambda inputs: [np.asarray(output) for output in frozen(tf.convert_to_tensor(inputs, tf.float32))]


def convert(forward: Forward, n_cuts: int, channels: int, size: int | None) -> bytes:
    """Convert a network to a LiteRT program, for pictures of any size if `size` is None.

    Behind what is read, the program puts out the shape of the tensor at each cut. Raises what TensorFlow's converter
    raises for a network that it can't convert.
    """
    import tensorflow as tf

    def program(pixels: Any) -> list[Any]:
        tensors = forward(pixels)
        return [*_read(tensors, n_cuts), *(tf.shape(x) for x in tensors[:n_cuts])]

    signature = [tf.TensorSpec((None, size, size, channels), tf.float32)]
    function = tf.function(program, input_signature=signature, jit_compile=False)
    with hidden_native_logs():
        made: bytes = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()], function
        ).convert()
    return made


class LiteRT:
    """A program at one input size, on all cores."""

    def __init__(self, program: bytes, n_cuts: int, size: int, channels: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._lock = threading.Lock()  # an interpreter has one set of tensors
        with hidden_native_logs():
            self._interpreter = Interpreter(model_content=program, num_threads=os.cpu_count())
            (self._input,) = (detail["index"] for detail in self._interpreter.get_input_details())
            self._interpreter.resize_tensor_input(self._input, (_BATCH, size, size, channels))
            self._interpreter.allocate_tensors()
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self._n_read, self._shape = len(self._outputs) - n_cuts, (size, size, channels)

    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of the tensor at each cut, without the batch."""
        self(np.zeros((1, *self._shape), np.float32))
        found = (self._interpreter.get_tensor(index) for index in self._outputs[self._n_read :])
        return [tuple(int(side) for side in shape[1:]) for shape in found]

    def __call__(self, pixels: FloatArray) -> list[FloatArray]:
        """What is read of a batch of any length."""
        parts = [self._batch(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def _batch(self, pixels: FloatArray) -> list[FloatArray]:
        n = len(pixels)
        if n < _BATCH:
            pixels = np.concatenate([pixels, np.zeros((_BATCH - n, *pixels.shape[1:]), np.float32)])
        with self._lock:
            self._interpreter.set_tensor(self._input, np.asarray(pixels, np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index)[:n] for index in self._outputs[: self._n_read]]
