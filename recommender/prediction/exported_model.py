"""A .tflite file that was exported with a model, ready to predict without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np

from builders.errors import first_line
from builders.export.formats import FORMATS, run_litert
from probes.native_logs import hidden_native_logs
from recommender.errors import RecommendError
from recommender.prediction.predictor import Predictor, checked_names, described_names


def open_exported(file: Path) -> Predictor:
    """Load a .tflite file with the class names of the model that it was exported from."""
    interpreter = _interpreter(file)
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [tuple(int(side) for side in part["shape"]) for part in (*taken, *given)]
    floats = all(part["dtype"] == np.float32 for part in (*taken, *given))
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][0] != 1 or shapes[0][1] != shapes[0][2] or not floats:
        raise RecommendError(f"{_expected(file)}inputs and outputs of shapes {shapes}. Export the model again.")
    (_, size, _, channels), (_, n_classes) = shapes
    suffixes = (each.suffix for each in FORMATS.values() if file.name.lower().endswith(each.suffix))
    description = file.with_name(file.name[: -len(max(suffixes, key=len))] + ".json")
    names = described_names(description)
    notes = ["A .tflite file has no detector: out-of-distribution pictures are not detected."]
    if names is None:
        notes.append(f"No {description.name} with the model: classes are reported by number.")
    return Predictor(
        run=lambda pixels: [run_litert(interpreter, pixels)],
        size=size,
        channels=channels,
        classes=checked_names(names, n_classes, str(file)),
        detector=None,
        notes=tuple(notes),
    )


def _interpreter(file: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter

        with hidden_native_logs():
            interpreter = Interpreter(model_content=file.read_bytes())
            interpreter.allocate_tensors()
    except ImportError as error:
        raise RecommendError(
            "Expected the package ai-edge-litert to be installed. Received: no such package. Install it with "
            "`pip install ai-edge-litert`."
        ) from error
    except OSError as error:
        raise RecommendError(f"Expected to read {str(file)!r}. Received: {error}. Check the file.") from error
    except (ValueError, RuntimeError) as error:
        raise RecommendError(f"{_expected(file)}{first_line(error)}. Export the model again.") from error
    return interpreter


def _expected(file: Path) -> str:
    return f"Expected {str(file)!r} to be a LiteRT model from a picture to the probabilities of classes. Received: "
