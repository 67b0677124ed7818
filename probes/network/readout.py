"""What is read in a network, as one function of a batch of pixels: by TensorFlow's graph, or as a LiteRT program."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.cores import n_cores
from probes.native_logs import hidden_native_logs

FloatArray = npt.NDArray[np.float32]
# From pixels 0..255 of shape (batch, size, size, channels) to a flat list: for each cut its mean over positions, for
# each norm the mean and the mean square of what is read there, and the network's own output.
Run = Callable[[FloatArray], list[FloatArray]]
# From such pixels as a tensor to tensors: at the cuts, at the norms less their centre, and the network's own output.
Forward = Callable[[Any], Sequence[Any]]
_PART = 2  # pictures that an interpreter takes at once: as fast as more, in less memory
_INTERPRETERS = 4  # at most; with more cores, each has several threads


def read(tensors: Sequence[Any], n_cuts: int) -> list[Any]:
    """What is read of a network's tensors."""
    import tensorflow as tf

    def over_positions(x: Any) -> Any:
        return tf.reduce_mean(x, tuple(range(1, x.shape.rank - 1))) if x.shape.rank > 2 else x

    pooled = [over_positions(x) for x in tensors[:n_cuts]]
    moments = [over_positions(power) for x in tensors[n_cuts:-1] for power in (x, x * x)]
    return [*pooled, *moments, over_positions(tensors[-1])]


def read_with_tensorflow(forward: Forward, n_cuts: int, pixels: FloatArray) -> list[FloatArray]:
    """What is read of one batch, without compiling anything."""
    import tensorflow as tf

    return [np.asarray(output) for output in read(forward(tf.convert_to_tensor(pixels)), n_cuts)]


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
        return [*read(tensors, n_cuts), *(tf.shape(x) for x in tensors[:n_cuts])]

    signature = [tf.TensorSpec((None, size, size, channels), tf.float32)]
    function = tf.function(program, input_signature=signature, jit_compile=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    with hidden_native_logs():
        made: bytes = converter.convert()
    return made


class LiteRT:
    """A program at one input size, on all cores.

    Several interpreters run parts of a batch side by side: faster than one that shares out each operation, and no core
    waits for another that decodes a picture.
    """

    def __init__(self, program: bytes, n_cuts: int, size: int, channels: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._made_of = (program, n_cuts, size, channels)
        cores = n_cores()
        n_interpreters = min(cores, _INTERPRETERS)
        self._pool = ThreadPoolExecutor(n_interpreters, thread_name_prefix="network")
        self._free: SimpleQueue[Any] = SimpleQueue()  # an interpreter has one set of tensors
        self._n_cuts, self._shape = n_cuts, (size, size, channels)
        with hidden_native_logs():
            for _ in range(n_interpreters):
                made = Interpreter(model_content=program, num_threads=max(1, cores // n_interpreters))
                made.resize_tensor_input(made.get_input_details()[0]["index"], (_PART, *self._shape))
                made.allocate_tensors()
                self._free.put(made)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes its own interpreters, with as many threads as it has cores."""
        return LiteRT, self._made_of

    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of the tensor at each cut, without the batch."""
        outputs = self._outputs(np.zeros((_PART, *self._shape), np.float32))
        return [tuple(int(side) for side in shape[1:]) for shape in outputs[len(outputs) - self._n_cuts :]]

    def __call__(self, pixels: FloatArray) -> list[FloatArray]:
        """What is read of a batch of any length."""
        parts = [pixels[start : start + _PART] for start in range(0, len(pixels), _PART)]
        rows = zip(*self._pool.map(self._read, parts), strict=True)
        return [np.concatenate(outputs) for outputs in rows]

    def _read(self, pixels: FloatArray) -> list[FloatArray]:
        n = len(pixels)
        if n < _PART:
            pixels = np.concatenate([pixels, np.zeros((_PART - n, *pixels.shape[1:]), np.float32)])
        outputs = self._outputs(pixels)
        return [output[:n] for output in outputs[: len(outputs) - self._n_cuts]]

    def _outputs(self, pixels: FloatArray) -> list[FloatArray]:
        interpreter = self._free.get()
        try:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.asarray(pixels, np.float32))
            interpreter.invoke()
            return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        finally:
            self._free.put(interpreter)
