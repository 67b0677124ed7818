"""Predict the classes of pictures with a built model, its class names and its detector.

TensorFlow is imported when a .keras file is opened.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.errors import first_line
from probes.data.sources.folder import FolderStore, files_below
from probes.evaluation.out_of_distribution import Detector
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, resize
from probes.images.image_facts import open_picture
from probes.images.suffixes import is_image
from recommender.errors import RecommendError

_BATCH = 16  # as in the pass that measures; no more pictures are held
_ROUNDING = 1e-2  # how far half precision may pull the sum of probabilities from 1
_AS_BUILT = ("bilinear", True)  # interpolation and antialias of the resizing in a built model

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model predicts of one picture."""

    file: str  # as it was named, or found in a folder that was
    classes: tuple[str, ...] = ()  # names, the most probable one first; empty where there is an error
    probabilities: tuple[float, ...] = ()  # of these classes
    foreign: bool | None = None  # whether the picture is out of distribution; None without a detector
    distance: float | None = None  # from the training pictures, about 1 for one of these; None likewise
    error: str | None = None  # why it could not be read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictor:
    """A model that is ready to predict.

    `run` takes pixels 0..255 of shape (n, size, size, channels) and returns the features that the detector reads, if
    there is one, and probabilities of shape (n, classes).
    """

    run: Callable[[Any], Sequence[Any]]
    size: int
    channels: int
    classes: tuple[str, ...]
    detector: Detector | None
    notes: tuple[str, ...] = ()  # what a user should know, a line each


Readable = tuple[str, npt.NDArray[np.float32]]  # a file, and its pixels of shape (size, size, channels)


def predict(
    model: Any,
    images: Paths,
    *,
    top: int = 1,
    trust: bool = False,
    class_names: Sequence[str] | None = None,
    detector: Detector | None = None,
) -> Iterator[Prediction]:
    """Predict the classes of pictures, one after the other, in the order in which they are named.

    Args:
        model: the .keras file that `recommend --build` wrote, with its .json and .features.npz in the same folder; a
            .tflite file that was exported with it; a `keras.Model` as `Recommendation.build` returns it; or what
            `open_predictor` returned.
        images: paths of pictures and of folders, which are searched at any depth. Paths are read as results are
            taken. A picture is decoded, turned upright and resized as in measuring.
        top: how many classes to report for each picture.
        trust: whether code in the model's file may run.
        class_names: of the outputs of a `keras.Model`; their numbers by default.
        detector: of out-of-distribution pictures, for a `keras.Model`.

    Returns:
        An iterator. A picture that can't be read has an error in place of classes.

    Raises:
        BuildError: the file is no Keras model, or holds code.
        RecommendError: it is no model from one picture to probabilities, or `images` holds no picture; the latter when
            the iterator ends.
    """
    if top < 1:
        raise RecommendError(f"Expected `top` to be at least 1. Received: {top}.")
    if isinstance(model, (str, os.PathLike)):
        model = open_predictor(model, trust=trust)
    elif not isinstance(model, Predictor):
        model = predictor_of(model, class_names=class_names, detector=detector)
    return _predictions(model, images, top)


def _predictions(predictor: Predictor, images: Paths, top: int) -> Iterator[Prediction]:
    listed, none = _listed(images), True
    workers = min(8, os.cpu_count() or 1)
    while batch := list(islice(listed, _BATCH)):
        none = False
        with quiet_decoders():  # not across a yield: warnings are the whole process's
            items = list(in_order(partial(_read, predictor), batch, workers=workers, ahead=_BATCH))
            predicted = _of_batch(predictor, [item for item in items if not isinstance(item, Prediction)], top)
            found = [item if isinstance(item, Prediction) else next(predicted) for item in items]
        yield from found
    if none:
        raise RecommendError("Expected pictures, or folders that hold some. Received: none. Check the paths.")


def _listed(images: Paths) -> Iterator[str | Prediction]:
    """Names of files; a folder that can't be listed comes with its error."""
    for path in [images] if isinstance(images, (str, os.PathLike)) else images:
        if not isinstance(path, (str, os.PathLike)):
            raise RecommendError(f"Expected paths of pictures or folders. Received: a {type(path).__name__}.")
        name = os.fsdecode(path)
        if not os.path.isdir(name):
            yield name
            continue
        try:
            yield from (os.path.join(name, inner) for inner in files_below(name) if is_image(inner))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            yield Prediction(file=os.fsdecode(error.filename or name), error=f"the folder can't be listed: {reason}")


def _read(predictor: Predictor, item: str | Prediction) -> Readable | Prediction:
    if isinstance(item, Prediction):
        return item
    try:
        picture = open_picture(FolderStore(Path()), item, predictor.channels)
    except UnreadableImage as error:
        return Prediction(file=item, error=str(error))
    return item, resize(picture.pixels, predictor.size)


def _of_batch(predictor: Predictor, batch: Sequence[Readable], top: int) -> Iterator[Prediction]:
    *features, output = predictor.run(np.stack([pixels for _, pixels in batch]))
    probabilities = np.asarray(output, np.float64)
    if not (np.abs(probabilities.sum(1) - 1) < _ROUNDING).all() or (probabilities < 0).any():
        raise RecommendError(
            "Expected a model that puts out probabilities, which sum up to 1. Received: one that puts out other "
            "numbers. Put a softmax behind it."
        )
    detector = predictor.detector
    distances = [None] * len(batch) if detector is None else detector.distance(features[0]).tolist()
    for (file, _), values, distance in zip(batch, probabilities, distances, strict=True):
        order = np.argsort(-values, kind="stable")[:top]
        yield Prediction(
            file=file,
            classes=tuple(predictor.classes[number] for number in order),
            probabilities=tuple(values[order].tolist()),
            foreign=None if detector is None else not distance <= detector.threshold,
            distance=distance,
        )


def open_predictor(path: str | os.PathLike[str], *, trust: bool = False) -> Predictor:
    """Load a .keras file with the class names of MODEL.json and the detector of MODEL.features.npz, if they are there.

    Or a .tflite file that was exported with it, which is run without TensorFlow and has no detector. `trust`: whether
    code in the file may run.
    """
    file = Path(path)
    if not file.name:
        raise RecommendError(f"Expected a .keras file. Received: {str(file)!r}, a folder. Name the file.")
    if file.suffix.lower() == ".tflite":
        return _exported(file)
    from builders.backbones.keras_model import load_keras_file

    description, detector_file = file.with_suffix(".json"), file.with_suffix(".features.npz")
    detector = load_detector(detector_file) if os.path.lexists(detector_file) else None
    names = _class_names(description)
    try:
        model = load_keras_file(file, trust=trust)
    except (OSError, ValueError) as error:
        raise RecommendError(f"Expected to read {str(file)!r}. Received: {error}. Check the file.") from error
    notes = []
    if names is None:
        notes.append(f"No {description.name} with the model: classes are reported by number.")
    if detector is None:
        notes.append(f"No {detector_file.name} with the model: out-of-distribution pictures are not detected.")
    return predictor_of(model, class_names=names, detector=detector, title=str(file), notes=notes)


def _exported(file: Path) -> Predictor:
    """Load a .tflite file with the class names of the model that it was exported from."""
    from builders.export.formats import FORMATS
    from probes.native_logs import hidden_native_logs

    suffixes = (each.suffix for each in FORMATS.values() if file.name.lower().endswith(each.suffix))
    description = file.with_name(file.name[: -len(max(suffixes, key=len))] + ".json")
    expected = f"Expected {str(file)!r} to be a LiteRT model from a picture to the probabilities of classes. Received: "
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
        raise RecommendError(f"{expected}{first_line(error)}. Export the model again.") from error
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [tuple(int(side) for side in part["shape"]) for part in (*taken, *given)]
    floats = all(part["dtype"] == np.float32 for part in (*taken, *given))
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][0] != 1 or shapes[0][1] != shapes[0][2] or not floats:
        raise RecommendError(f"{expected}inputs and outputs of shapes {shapes}. Export the model again.")
    (_, size, _, channels), (_, n_classes) = shapes

    def run(pixels: npt.NDArray[np.float32]) -> Sequence[Any]:
        rows = []
        for picture in pixels:
            interpreter.set_tensor(taken[0]["index"], picture[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(given[0]["index"])[0])
        return [np.array(rows)]

    names = _class_names(description)
    notes = ["A .tflite file has no detector: out-of-distribution pictures are not detected."]
    if names is None:
        notes.append(f"No {description.name} with the model: classes are reported by number.")
    return Predictor(
        run=run,
        size=size,
        channels=channels,
        classes=_checked_names(names, n_classes, str(file)),
        detector=None,
        notes=tuple(notes),
    )


def predictor_of(
    model: Any,
    *,
    class_names: Sequence[str] | None = None,
    detector: Detector | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Predictor:
    """Make a `keras.Model` ready to predict; classes are numbered by default. `title` names it in messages."""
    title = title or str(getattr(model, "name", "the model"))
    size, channels, n_classes = _shape(model, title)
    names = _checked_names(class_names, n_classes, title)
    run = _compiled(model, detector, title, (size, size, channels))
    return Predictor(run=run, size=size, channels=channels, classes=names, detector=detector, notes=tuple(notes))


def _checked_names(class_names: Sequence[str] | None, n_classes: int, title: str) -> tuple[str, ...]:
    """The names of a model's classes; their numbers if they have none."""
    names = tuple(str(number) for number in range(n_classes)) if class_names is None else tuple(class_names)
    if len(names) != n_classes:
        raise RecommendError(
            f"Expected the names of {n_classes} classes for {title!r}. Received: {len(names)}. The .json file must be "
            "the one that was written with the model."
        )
    return names


def _shape(model: Any, title: str) -> tuple[int, int, int]:
    """Side in px and channels of the pictures that a model takes, and its number of classes."""
    import keras

    inputs, outputs = (list(getattr(model, part, None) or ()) for part in ("inputs", "outputs"))
    shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
    if (len(inputs), [len(shape) for shape in shapes]) == (1, [4, 2]):
        (_, height, width, channels), (_, n_classes) = shapes
        resizing = next((layer for layer in model.layers if isinstance(layer, keras.layers.Resizing)), None)
        if height is None and resizing is not None and (resizing.interpolation, resizing.antialias) == _AS_BUILT:
            height, width = resizing.height, resizing.width
        if channels in (1, 3, 4) and (n_classes or 0) > 1 and height is not None and height == width:
            return int(height), int(channels), int(n_classes)
    raise RecommendError(
        f"Expected {title!r} to take one picture, to resize it to a square unless its input is one, and to put out the "
        f"probabilities of classes. Received: inputs and outputs of shapes {shapes}. Name a built model."
    )


def _compiled(
    model: Any, detector: Detector | None, title: str, shape: tuple[int, int, int]
) -> Callable[[Any], Sequence[Any]]:
    """One function for the input of the prediction layer, if there is a detector, and for probabilities."""
    import keras

    from probes.network.readout import with_constant_weights

    outputs, last = list(model.outputs), model.layers[-1]
    if detector is not None:
        ends_in_dense = isinstance(last, keras.layers.Dense) and last.output is outputs[0]
        if not ends_in_dense or tuple(last.input.shape) != (None, len(detector.mean)):
            raise RecommendError(
                f"Expected a detector for the features of {title!r}. Received: one of {len(detector.mean)} features. "
                "The .features.npz file must be the one that was written with the model."
            )
        outputs = [last.input, *outputs]
    network = keras.Model(model.inputs, outputs)
    return with_constant_weights(lambda pixels: network(pixels, training=False), shape)


def _class_names(path: Path) -> tuple[str, ...] | None:
    """From the description of a model; None where there is none."""
    try:
        dataset = json.loads(path.read_text(encoding="utf-8"))["dataset"]
        return tuple(str(name) for name in dataset.get("classes") or dataset["class_counts"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecommendError(
            f"Expected {str(path)!r} to describe the model and name its classes. Received: one that does not "
            f"({type(error).__name__}). Build the model again, or remove the file."
        ) from error


def write_detector(path: Path, detector: Detector) -> None:
    """Write the detector of out-of-distribution pictures, as MODEL.features.npz."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **detector.to_arrays())


def load_detector(path: Path) -> Detector:
    """Read what `write_detector` wrote; no code in it runs."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Detector.from_arrays({name: stored[name] for name in stored.files})
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecommendError(
            f"Expected {str(path)!r} to be a detector of out-of-distribution pictures. Received: {reason[:200]} Build "
            "the model again, or remove the file."
        ) from error
