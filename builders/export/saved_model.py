"""TensorFlow SavedModels: the whole model, which runs without Keras and netgraft."""

from pathlib import Path
from typing import Any

from builders.export.export_format import ExportFormat, Pixels, in_batches


class SavedModel(ExportFormat):
    """A folder for TensorFlow Serving."""

    name, title, suffix = "saved_model", "TensorFlow SavedModel", "_saved_model"
    folder = "saved_model.pb"
    any_size = True

    def write(self, network: Any, path: Path, pictures: Pixels) -> None:  # noqa: ARG002
        network.export(str(path), format="tf_saved_model", verbose=False)

    def run(self, path: Path, pictures: Pixels) -> Pixels:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
        return in_batches(lambda batch: loaded.serve(tf.constant(batch)), pictures)
