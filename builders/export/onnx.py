"""ONNX files: written by Keras's exporter with tf2onnx, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

from builders.export.export_format import ExportFormat, Pixels, in_batches


class ONNX(ExportFormat):
    """A file that takes batches of any length, its input called "image"."""

    name, title, suffix = "onnx", "ONNX", ".onnx"
    packages, extra = ("onnx", "onnxruntime", "tf2onnx"), "onnx"

    def write(self, network: Any, path: Path, pictures: Pixels) -> None:  # noqa: ARG002
        import keras

        signature = keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="float32", name="image")
        network.export(str(path), format="onnx", verbose=False, input_signature=[signature])

    def run(self, path: Path, pictures: Pixels) -> Pixels:
        import onnxruntime

        from builders.export.fixed_size import resized

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        _, height, width, _ = taken.shape
        return in_batches(lambda batch: session.run(None, {taken.name: batch})[0], resized(pictures, height, width))
