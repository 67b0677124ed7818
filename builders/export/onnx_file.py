"""ONNX files: written by Keras's exporter with tf2onnx, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.export.fixed_size import resized

_BATCH = 32  # pictures at a time


def write_onnx(network: Any, path: Path) -> None:
    """Write an ONNX file that takes batches of any length, its input called "image".

    Args:
        network: a `keras.Model` from pictures of one size.
        path: of the file.
    """
    signature = keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="float32", name="image")
    network.export(str(path), format="onnx", verbose=False, input_signature=[signature])


def run_onnx(path: Path, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of shape (n, classes) of pictures of shape (n, height, width, channels), resized where needed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    _, height, width, _ = taken.shape
    fitting = resized(pictures, height, width)
    rows = [
        session.run(None, {taken.name: fitting[start : start + _BATCH]})[0] for start in range(0, len(fitting), _BATCH)
    ]
    return np.concatenate(rows)
