"""LiteRT (TensorFlow Lite) files: written by Keras's exporter, run by LiteRT's interpreter."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builders.export.export_format import ExportFormat, Pixels

# "a small subset (around ~100-500 samples)", TensorFlow's guide to post-training quantisation; each costs a slow run
_CALIBRATION_PICTURES = 200


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

        from builders.export.fixed_size import resized

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

        chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), _CALIBRATION_PICTURES)).astype(int)

        def representative() -> Iterator[list[Pixels]]:
            for index in chosen:
                yield [pictures[index : index + 1]]

        return {
            **super()._options(pictures),
            # This set alone: what can't be done in integers fails instead of being computed in floats.
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "representative_dataset": representative,
        }


def _interpreter(path: Path) -> Any:
    """LiteRT's own where it is installed, else TensorFlow's, which is the same and which TensorFlow will drop."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(str(path))
    import tensorflow as tf

    return tf.lite.Interpreter(str(path))
