"""What a format of exported models is, the formats there are, and their registry.

TensorFlow and Keras are imported when a format writes or runs.
"""

import abc
import difflib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from builders.errors import BuildError

if TYPE_CHECKING:  # `recommend --help` lists the formats, and NumPy takes half of its time
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.float32]"


class ExportFormat(abc.ABC):
    """One kind of file. A new one is a subclass, and one line in `FORMATS`."""

    name: str  # as `--export` takes it
    title: str  # for people
    suffix: str  # is added to the stem of the model's name
    packages: tuple[str, ...] = ()  # modules that must be importable besides TensorFlow and Keras
    extra: str = ""  # of netgraft, that brings them; empty where none is needed
    folder: str = ""  # the file that marks an export which is a folder; empty where it is one file
    any_size: bool = False  # whether it holds the model whole; the others hold the network behind its resizing
    one_by_one: bool = False  # whether it takes a single picture at a time
    quantised: bool = False  # whether its probabilities differ from the Keras model's by more than rounding

    @abc.abstractmethod
    def write(self, network: Any, path: Path, pictures: Pixels) -> None:
        """Write a network.

        Args:
            network: a `keras.Model`; of one input size, unless `any_size`.
            path: of the file or folder, where nothing is.
            pictures: of shape (n, height, width, channels), 0 to 255, of the network's size, to calibrate with.
        """

    @abc.abstractmethod
    def run(self, path: Path, pictures: Pixels) -> Pixels:
        """Probabilities of shape (n, classes) of pictures of shape (n, any height, any width, channels), 0 to 255."""


def in_batches(function: Callable[[Pixels], Any], pictures: Pixels) -> Pixels:
    """What a function of batches returns for all pictures."""
    import numpy as np

    batches = (pictures[start : start + 32] for start in range(0, len(pictures), 32))
    return np.concatenate([np.asarray(function(batch), np.float32) for batch in batches])


def resized(pictures: Pixels, height: int, width: int) -> Pixels:
    """Pictures of shape (n, height, width, channels), resized in px as the model does it: bilinear, antialiased."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    import keras

    return in_batches(
        lambda batch: keras.ops.image.resize(batch, (height, width), interpolation="bilinear", antialias=True), pictures
    )


def run_litert(interpreter: Any, pictures: Pixels) -> list[Pixels]:
    """What a LiteRT interpreter of one picture puts out for pictures of its size, a row for each."""
    import numpy as np

    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for picture in pictures:
        interpreter.set_tensor(taken["index"], picture[None])
        interpreter.invoke()
        rows.append([interpreter.get_tensor(part["index"])[0] for part in given])
    return [np.array(column, np.float32) for column in zip(*rows, strict=True)]


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
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        (taken,) = interpreter.get_input_details()
        _, height, width, _ = taken["shape"]
        return run_litert(interpreter, resized(pictures, int(height), int(width)))[0]


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
