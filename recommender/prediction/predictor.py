"""A built model, opened with what lies beside it. TensorFlow is imported when a model is opened."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probes.errors import ProbeError
from probes.evaluation.out_of_distribution import Detector
from recommender import atomic_files as files
from recommender.errors import RecommendError

Run = Callable[[Any], Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictor:
    """A model that is ready to predict.

    Attributes:
        run: from pixels 0..255 of shape (n, size, size, channels) to features, if there is a detector, and
            probabilities of shape (n, classes).
        size: height and width in px of the pictures that it takes.
        channels: of these.
        classes: names of the outputs.
        detector: of pictures unlike the training pictures.
        notes: what a user should know, a line each.
    """

    run: Run
    size: int
    channels: int
    classes: tuple[str, ...]
    detector: Detector | None
    notes: tuple[str, ...] = ()


def save_detector(path: Path, detector: Detector) -> None:
    """Write a detector beside its model, as MODEL.features.npz.

    Raises:
        RecommendError: the disk refused.
    """

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **detector.to_arrays())

    files.write_together({path: write})


def load_detector(path: Path) -> Detector:
    """Read what `save_detector` wrote; no code in it runs.

    Raises:
        RecommendError: it can't be read, or is no detector.
    """
    broken = (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError, RuntimeError)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Detector.from_arrays({name: stored[name] for name in stored.files})
    except (*broken, AttributeError, SyntaxError, TypeError, zipfile.BadZipFile, zlib.error, ProbeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecommendError(
            f"Expected {str(path)!r} to be a detector of foreign pictures. Received: {first[:200]} Build the model "
            "anew, or remove the file."
        ) from error


def open_predictor(path: str | os.PathLike[str], *, trust: bool = False) -> Predictor:
    """Load a built model with its class names and detector.

    Args:
        path: the .keras file. MODEL.json beside it names the classes; MODEL.features.npz, if it is there, tells
            foreign pictures.
        trust: whether code in the file may run.

    Raises:
        BuildError: the file is no Keras model, or holds code.
        RecommendError: it is no model from one picture to probabilities, or what lies beside it does not fit.
    """
    from builders.backbones.keras_file import load_keras_file

    file = Path(path)
    if not file.name:
        raise RecommendError(f"Expected a .keras file. Received: {str(file)!r}, a folder. Name the file.")
    detector_file = file.with_suffix(".features.npz")
    detector = load_detector(detector_file) if os.path.lexists(detector_file) else None
    names = _class_names(file.with_suffix(".json"))
    try:
        model = load_keras_file(file, trust=trust)
    except (OSError, ValueError) as error:
        raise RecommendError(f"Expected to read {str(file)!r}. Received: {error}. Check the file.") from error
    notes = []
    if names is None:
        notes.append(f"No {file.with_suffix('.json').name} beside the model: classes go by their numbers.")
    if detector is None:
        notes.append(f"No {detector_file.name} beside the model: it can't be told which pictures are unlike the rest.")
    return predictor_of(model, class_names=names, detector=detector, title=str(file), notes=notes)


def predictor_of(
    model: Any,
    *,
    class_names: Sequence[str] | None = None,
    detector: Detector | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Predictor:
    """Make a model ready to predict.

    Args:
        model: a `keras.Model` as `Recommendation.build` returns it.
        class_names: of its outputs; their numbers by default.
        detector: of pictures unlike the training pictures.
        title: of the model, for messages.
        notes: what a user should know.

    Raises:
        RecommendError: it is no model from one picture to probabilities, or names or detector do not fit.
    """
    title = title or str(getattr(model, "name", "the model"))
    size, channels, n_classes = _shape(model, title)
    names = tuple(class_names) if class_names is not None else tuple(str(number) for number in range(n_classes))
    if len(names) != n_classes:
        raise RecommendError(
            f"Expected the names of {n_classes} classes for {title!r}. Received: {len(names)}. The .json file beside a "
            "model must be the one that was written with it."
        )
    features = _features(model)
    if detector is not None and (features is None or tuple(features.shape) != (None, len(detector.mean))):
        raise RecommendError(
            f"Expected a detector for the features of {title!r}. Received: one of {len(detector.mean)} features. The "
            ".features.npz file beside a model must be the one that was written with it."
        )
    run = _compiled(model, None if detector is None else features, size, channels)
    return Predictor(run=run, size=size, channels=channels, classes=names, detector=detector, notes=tuple(notes))


def _shape(model: Any, title: str) -> tuple[int, int, int]:
    """Side in px and channels of the pictures that a model takes, and its number of classes."""
    import keras

    expected = f"Expected {title!r} to take one picture and put out the probabilities of classes."
    inputs, outputs = (list(getattr(model, part, None) or ()) for part in ("inputs", "outputs"))
    shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
    if len(inputs) != 1 or len(outputs) != 1 or len(shapes[0]) != 4 or len(shapes[1]) != 2:
        raise RecommendError(f"{expected} Received: inputs and outputs of shapes {shapes}.")
    (_, height, width, channels), (_, n_classes) = shapes
    if channels not in (1, 3, 4) or n_classes is None or n_classes < 2:
        raise RecommendError(f"{expected} Received: {channels} channels and {n_classes} outputs.")
    if height is None:
        resizing = next((layer for layer in model.layers if isinstance(layer, keras.layers.Resizing)), None)
        if resizing is not None and (resizing.interpolation, resizing.antialias) == ("bilinear", True):
            height, width = resizing.height, resizing.width
    if height is None or height != width:
        raise RecommendError(
            f"Expected {title!r} to resize pictures to a square, as built models do. Received: a model that does not."
        )
    return int(height), int(channels), int(n_classes)


def _features(model: Any) -> Any:
    """What the prediction layer reads; None where the model ends in no Dense layer."""
    import keras

    last = model.layers[-1]
    return last.input if isinstance(last, keras.layers.Dense) and last.output is model.outputs[0] else None


def _compiled(model: Any, features: Any, size: int, channels: int) -> Run:
    """One function for features, if they are wanted, and probabilities."""
    import keras

    from probes.network.features import Network, tapped

    taps = [] if features is None else [features]
    tapping = keras.Model(model.inputs, [*taps, model.outputs[0]])
    network = Network(
        forward=lambda pixels: _in_list(tapping(pixels, training=False)),
        input_size=size,
        channels=channels,
        cuts=("features",) * len(taps),
        norms=(),
    )
    return tapped(network)


def _in_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _class_names(path: Path) -> tuple[str, ...] | None:
    """From the description beside a model; None where there is none."""
    try:
        dataset = json.loads(path.read_text(encoding="utf-8"))["dataset"]
        return tuple(str(name) for name in dataset.get("classes") or dataset["class_counts"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecommendError(
            f"Expected {str(path)!r} to describe the model and name its classes. Received: one that does not "
            f"({type(error).__name__}). Build the model anew, or remove the file."
        ) from error
