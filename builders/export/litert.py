"""LiteRT (TensorFlow Lite) files: written by Keras's exporter, run by LiteRT's interpreter."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from builders.export.fixed_size import resized

# "a small subset (around ~100-500 samples)", TensorFlow's guide to post-training quantisation; each costs a slow run
_CALIBRATION_PICTURES = 200


def write_litert(network: Any, path: Path, name: str, pictures: npt.NDArray[np.float32]) -> None:
    """Write a LiteRT file that takes one picture at a time, since phones and accelerators want fixed shapes.

    Args:
        network: a `keras.Model` from pictures of one size.
        path: of the file, with the suffix .tflite.
        name: "litert" in 32-bit floats; "litert_dynamic" with 8-bit weights, computing partly in 8 bits with ranges
            taken as it runs; "litert_int8" all in 8-bit integers with fixed ranges. What goes in and comes out is
            float32 in all three.
        pictures: of shape (n, height, width, channels), the network's size: "litert_int8" takes its ranges from (at
            most 200 of) them.
    """
    options: dict[str, Any] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if name != "litert":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if name == "litert_int8":
        chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), _CALIBRATION_PICTURES)).astype(int)

        def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
            for index in chosen:
                yield [pictures[index : index + 1]]

        # This set alone: what can't be done in integers fails instead of being computed in floats.
        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]}
        options["representative_dataset"] = representative
    signature = keras.InputSpec(shape=(1, *network.input_shape[1:]), dtype="float32", name="image")
    network.export(str(path), format="litert", verbose=False, input_signature=[signature], **options)


def run_litert(path: Path, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of shape (n, classes) of pictures of shape (n, height, width, channels), resized where needed."""
    interpreter = _interpreter(path)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = taken["shape"]
    rows = []
    for picture in resized(pictures, int(height), int(width)):
        interpreter.set_tensor(taken["index"], picture[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(given["index"])[0])
    return np.array(rows, np.float32)


def _interpreter(path: Path) -> Any:
    """LiteRT's own where it is installed, else TensorFlow's, which is the same and which it says it will drop."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(str(path))
    return tf.lite.Interpreter(str(path))
