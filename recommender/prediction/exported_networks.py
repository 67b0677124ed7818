"""Exported networks that return the features in front of their last dense layer besides the probabilities.

An export itself puts out probabilities alone. Here the graph is changed in memory as it is loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builders.errors import BuildError, first_line
from builders.export.formats import check_format, run_litert
from probes.native_logs import hidden_native_logs
from recommender.errors import RecommendError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """`run` takes pixels 0..255 of shape (n, size, size, channels); it returns features, if any, and probabilities."""

    run: Callable[[Any], Sequence[Any]]
    size: int | None  # None if the network takes pictures of any size
    channels: int
    n_classes: int
    n_features: int | None  # None where there are none


def open_litert(path: Path) -> Network:
    """A .tflite file, run without TensorFlow."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise RecommendError(
            "Expected the package ai-edge-litert to be installed. Received: no such package. Install it with "
            "`pip install ai-edge-litert`."
        ) from error
    content = _bytes_of(path)
    try:
        with hidden_native_logs():
            Interpreter(model_content=content)  # refuses what is no model
            interpreter = Interpreter(model_content=_litert_with_features(content))
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _unsound(path, "LiteRT model", first_line(error)) from error
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [tuple(int(side) for side in part["shape"]) for part in (*taken, *given)]
    if any(part["dtype"] != np.float32 for part in (*taken, *given)) or shapes[0][:1] != (1,):
        raise _unsound(path, "LiteRT model", f"inputs and outputs of shapes {shapes}")
    return _network(path, "LiteRT model", lambda pixels: run_litert(interpreter, pixels)[::-1], shapes[:1], shapes[1:])


def _litert_with_features(content: bytes) -> bytes:
    """The program with the input of its last dense layer as a second output; unchanged if that is in 8 bits."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    dense = [
        operator
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    ]
    if not dense or len(graph.outputs) != 1 or any(part.type == schema.TensorType.INT8 for part in graph.tensors):
        return content
    graph.outputs = [*graph.outputs, dense[-1].inputs[0]]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def open_onnx(path: Path) -> Network:
    """An .onnx file, run by ONNX Runtime."""
    try:
        check_format("onnx")
    except BuildError as error:
        raise RecommendError(str(error)) from error
    import onnx
    import onnxruntime

    content = _bytes_of(path)
    try:
        model = onnx.load_from_string(content)
        dense = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
        if dense and len(model.graph.output) == 1:
            features = onnx.helper.make_tensor_value_info(dense[-1].input[0], onnx.TensorProto.FLOAT, None)
            model.graph.output.insert(0, features)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # of protobuf, ONNX and its runtime, which share no base
        raise _unsound(path, "ONNX model", first_line(error)) from error
    taken = session.get_inputs()

    def run(pixels: Any) -> list[Any]:
        return list(session.run(None, {taken[0].name: np.ascontiguousarray(pixels, np.float32)}))

    shapes = [_fixed(part.shape) for part in taken], [_fixed(part.shape) for part in reversed(session.get_outputs())]
    return _network(path, "ONNX model", run, *shapes)


def open_saved_model(path: Path) -> Network:
    """The folder of a SavedModel, run by TensorFlow."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        with hidden_native_logs():
            loaded = tf.saved_model.load(str(path))
            frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    except Exception as error:  # TensorFlow's own, ValueError, KeyError, OSError, errors of protobuf
        raise _unsound(path, "SavedModel", first_line(error)) from error
    dense = [operation for operation in frozen.graph.get_operations() if operation.type == "MatMul"]
    inputs, outputs = frozen.inputs[:1], [*(operation.inputs[0] for operation in dense[-1:]), *frozen.outputs]
    function = frozen.prune(inputs, outputs)

    def run(pixels: Any) -> list[Any]:
        return [np.asarray(part) for part in function(tf.constant(pixels, tf.float32))]

    shapes = [_fixed(part.shape) for part in inputs], [_fixed(part.shape) for part in reversed(outputs)]
    return _network(path, "SavedModel", run, *shapes)


def _network(
    path: Path, title: str, run: Callable[[Any], Sequence[Any]], taken: list[Any], given: list[Any]
) -> Network:
    """Check shapes of inputs and outputs, probabilities first; a size of None is open."""
    if [len(shape) for shape in taken] == [4] and [len(shape) for shape in given] in ([2], [2, 2]):
        (_, height, width, channels), (_, n_classes) = taken[0], given[0]
        if height == width and channels in (1, 3, 4) and (n_classes or 0) > 1:
            n_features = given[1][1] if len(given) > 1 else None
            return Network(run=run, size=height, channels=channels, n_classes=n_classes, n_features=n_features)
    raise _unsound(path, title, f"inputs of shapes {taken} and outputs of shapes {given}")


def _fixed(shape: Any) -> tuple[int | None, ...]:
    """A shape in which an open size is None; empty where nothing is known."""
    if shape is None or getattr(shape, "rank", 0) is None:
        return ()
    return tuple(side if isinstance(side, int) else None for side in shape)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecommendError(f"Expected to read {str(path)!r}. Received: {error}. Check the file.") from error


def _unsound(path: Path, title: str, received: str) -> RecommendError:
    return RecommendError(
        f"Expected {str(path)!r} to be a {title} from a picture to the probabilities of classes. Received: {received}. "
        "Export the model again."
    )
