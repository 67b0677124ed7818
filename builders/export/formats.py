"""The formats that a model can be exported to, and their registry. TensorFlow is imported when one writes or runs."""

import difflib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builders.errors import BuildError
from builders.export.export_format import ExportFormat, Pixels, in_batches, resized


class SavedModel(ExportFormat):
    """A folder for TensorFlow Serving: the whole model, which runs without Keras and netgraft."""

    name, title, suffix = "saved_model", "TensorFlow SavedModel", "_saved_model"
    folder = "saved_model.pb"
    any_size = True

    def write(self, network: Any, path: Path, pictures: Pixels) -> None:  # noqa: ARG002
        network.export(str(path), format="tf_saved_model", verbose=False)

    def run(self, path: Path, pictures: Pixels) -> Pixels:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
        return in_batches(lambda batch: loaded.serve(tf.constant(batch)), pictures)


class LiteRT(ExportFormat):
    """A file for phones, in 32-bit floats. It takes one picture at a time: accelerators want fixed shapes."""

    name, title, suffix = "litert", "LiteRT", ".tflite"
    one_by_one = True

    def write(self, network: Any, path: Path, pictures: Pixels) -> None:
        import keras

        signature = keras.InputSpec(shape=(1, *network.input_shape[1:]), dtype="float32", name="image")
        options = self._options(pictures)
        network.export(str(path), format="litert", verbose=False, input_signature=[signature], **options)

    def _options(self, pictures: Pixels) -> dict[str, Any]:  # noqa: ARG002
        """Of TensorFlow's converter."""
        import tensorflow as tf

        return {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}

    def run(self, path: Path, pictures: Pixels) -> Pixels:
        import numpy as np

        if importlib.util.find_spec("ai_edge_litert") is not None:
            from ai_edge_litert.interpreter import Interpreter
        else:  # the same, which TensorFlow will drop
            import tensorflow as tf

            Interpreter = tf.lite.Interpreter  # noqa: N806
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        _, height, width, _ = taken["shape"]
        rows = []
        for picture in resized(pictures, int(height), int(width)):
            interpreter.set_tensor(taken["index"], picture[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(given["index"])[0])
        return np.array(rows, np.float32)


class LiteRTDynamic(LiteRT):
    """The same with 8-bit weights, computing partly in 8 bits with ranges taken as it runs; float32 in and out."""

    name, title, suffix = "litert_dynamic", "LiteRT with 8-bit weights", "_dynamic.tflite"
    quantised = True

    def _options(self, pictures: Pixels) -> dict[str, Any]:
        import tensorflow as tf

        return {**super()._options(pictures), "optimizations": [tf.lite.Optimize.DEFAULT]}


class LiteRTInt8(LiteRTDynamic):
    """The same all in 8-bit integers, whose fixed ranges come from the pictures; float32 in and out."""

    name, title, suffix = "litert_int8", "LiteRT in 8-bit integers", "_int8.tflite"

    def _options(self, pictures: Pixels) -> dict[str, Any]:
        import numpy as np
        import tensorflow as tf

        # "a small subset (around ~100-500 samples)", TensorFlow's guide to post-training quantisation; each is slow
        chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), 200)).astype(int)

        def representative() -> Iterator[list[Pixels]]:
            for index in chosen:
                yield [pictures[index : index + 1]]

        return {
            **super()._options(pictures),
            # This set alone: what can't be done in integers fails instead of being computed in floats.
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "representative_dataset": representative,
        }


class ONNX(ExportFormat):
    """A file that takes batches of any length, its input called "image"; written with tf2onnx."""

    name, title, suffix = "onnx", "ONNX", ".onnx"
    packages, extra = ("onnx", "onnxruntime", "tf2onnx"), "onnx"

    def write(self, network: Any, path: Path, pictures: Pixels) -> None:  # noqa: ARG002
        import keras

        signature = keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="float32", name="image")
        network.export(str(path), format="onnx", verbose=False, input_signature=[signature])

    def run(self, path: Path, pictures: Pixels) -> Pixels:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        _, height, width, _ = taken.shape
        return in_batches(lambda batch: session.run(None, {taken.name: batch})[0], resized(pictures, height, width))


FORMATS: dict[str, ExportFormat] = {
    known.name: known
    for known in (
        SavedModel(),
        LiteRT(),
        LiteRTDynamic(),
        LiteRTInt8(),
        ONNX(),
    )
}


def check_format(name: str) -> ExportFormat:
    """The format of that name; `BuildError` if there is none, or a package that it needs is missing."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.3)
        raise BuildError(
            f"Expected the format of an export to be one of {', '.join(FORMATS)}. Received: {name!r}."
            + (f" Nearest: {near[0]}." if near else "")
        )
    known = FORMATS[name]
    missing = [package for package in known.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise BuildError(
            f"Expected the packages that {known.title} needs. Received: no {', '.join(missing)}. "
            f"Install with: pip install 'netgraft[{known.extra}]'."
        )
    return known


def target_of(stem: Path, name: str) -> Path:
    """Where an export goes: the stem's own name with the format's suffix, whatever dots are in it."""
    return stem.with_name(stem.name + FORMATS[name].suffix)
