"""Predict the classes of pictures with a built model, its class names and its detector.

TensorFlow is imported when a .keras file is opened.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.cores import n_cores
from probes.evaluation.out_of_distribution import Detector
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, resize
from probes.images.image_facts import open_picture
from recommender.errors import RecommendError
from recommender.prediction.built_model import predictor_of
from recommender.prediction.detector_file import found_detector
from recommender.prediction.exported_model import check_there, is_exported, open_exported
from recommender.prediction.pictures import PictureStore, ShardOfPictures, Unreadable, places
from recommender.prediction.predictor import Predictor, described_names, notes_on

_BATCH = 16  # as in the pass that measures; no more pictures are held
_ROUNDING = 1e-2  # how far half precision may pull the sum of probabilities from 1

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model predicts of one picture."""

    file: str  # as it was named, or found in a folder that was
    classes: tuple[str, ...] = ()  # names, the most probable one first; empty where there is an error
    probabilities: tuple[float, ...] = ()  # of these classes
    out_of_distribution: bool | None = None  # None without a detector
    distance: float | None = None  # from the training pictures, each about 1; new ones are further; None likewise
    error: str | None = None  # why it could not be read
    features: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)  # None without a detector


Readable = tuple[str, npt.NDArray[np.float32]]  # a file, and its pixels of shape (size, size, channels)


def predict(
    model: Any,
    images: Paths,
    *,
    top: int = 1,
    trust: bool = False,
    class_names: Sequence[str] | None = None,
    detector: Detector | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Prediction]:
    """Predict the classes of pictures, one after the other, in the order in which they are named.

    Args:
        model: the .keras file that `recommend --build` wrote, with its .json and .features.npz in the same folder; a
            .tflite file, an .onnx file or a SavedModel that was exported with it; a `keras.Model` as
            `Recommendation.build` returns it; or what `open_predictor` returned.
        images: paths or URLs of pictures; of folders, which are searched at any depth; of manifests with a column
            "path"; and of WebDataset tars and Parquet files that hold pictures, which need no labels. Paths are read as
            results are taken. A picture is decoded, turned upright and resized as in measuring.
        top: how many classes to report for each picture.
        trust: whether code in the model's file may run.
        class_names: of the outputs of a `keras.Model`; their numbers by default.
        detector: of out-of-distribution pictures, for a `keras.Model`.
        columns: "path" or "image" -> the column of a manifest or of Parquet files that holds it.

    Returns:
        An iterator. A picture that can't be read has an error in place of classes.

    Raises:
        BuildError: the file is no Keras model, or holds code.
        RecommendError: it is no model from one picture to probabilities, or `images` holds no picture; the latter when
            the iterator ends.
    """
    if not (isinstance(top, Integral) and top >= 1):
        raise RecommendError(f"Expected `top` to be at least 1. Received: {top!r}.")
    if not isinstance(images, (str, os.PathLike, Iterable)):
        raise RecommendError(f"Expected paths of pictures or folders. Received: {type(images).__name__}.")
    if isinstance(model, (str, os.PathLike)):
        model = open_predictor(model, trust=trust)
    elif not isinstance(model, Predictor):
        model = predictor_of(model, class_names=class_names, detector=detector)
    return _predictions(model, images, top, columns or {})


def _predictions(predictor: Predictor, images: Paths, top: int, columns: Mapping[str, str]) -> Iterator[Prediction]:
    store, none = PictureStore(columns=columns), True
    for found in predict_listed(predictor, _listed(images, store), store, top):
        none = False
        yield found
    if none:
        raise RecommendError("Expected pictures, or folders that hold some. Received: none. Check the paths.")


def predict_listed(
    predictor: Predictor, items: Iterable[str | Unreadable], store: PictureStore, top: int
) -> Iterator[Prediction]:
    """Predict pictures of a store by their names."""
    items, workers = iter(items), min(8, n_cores())
    while batch := list(islice(items, _BATCH)):
        with quiet_decoders():  # not across a yield: warnings are the whole process's
            read = list(in_order(partial(_read, predictor, store), batch, workers=workers, ahead=_BATCH))
            predicted = _of_batch(predictor, [item for item in read if not isinstance(item, Unreadable)], top)
            found = [
                Prediction(file=item.file, error=item.error) if isinstance(item, Unreadable) else next(predicted)
                for item in read
            ]
        yield from found


def _listed(images: Paths, store: PictureStore) -> Iterator[str | Unreadable]:
    for place in places(_names(images), store.columns):
        if isinstance(place, ShardOfPictures):
            yield from store.names(place.file)
        else:
            yield place


def _names(images: Paths) -> Iterator[str]:
    for path in [images] if isinstance(images, (str, os.PathLike)) else images:
        if not isinstance(path, (str, os.PathLike)):
            raise RecommendError(f"Expected paths of pictures or folders. Received: a {type(path).__name__}.")
        yield os.fsdecode(path)


def _read(predictor: Predictor, store: PictureStore, item: str | Unreadable) -> Readable | Unreadable:
    if isinstance(item, Unreadable):
        return item
    try:
        picture = open_picture(store, item, predictor.channels)
    except UnreadableImage as error:
        return Unreadable(item, str(error))
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
    read = [None] * len(batch) if detector is None else features[0]
    for (file, _), values, distance, own in zip(batch, probabilities, distances, read, strict=True):
        order = np.argsort(-values, kind="stable")[:top]
        yield Prediction(
            file=file,
            classes=tuple(predictor.classes[number] for number in order),
            probabilities=tuple(values[order].tolist()),
            out_of_distribution=None if detector is None else not distance <= detector.threshold,
            distance=distance,
            features=own,
        )


def open_predictor(path: str | os.PathLike[str], *, trust: bool = False) -> Predictor:
    """Load a .keras file with the class names of MODEL.json and the detector of MODEL.features.npz, if they are there.

    Or an export of it: a .tflite or .onnx file, which are run without TensorFlow, or the folder of a SavedModel.
    `trust`: whether code in a .keras file may run.
    """
    file = Path(path)
    check_there(file)
    if is_exported(file):
        return open_exported(file)
    from builders.backbones.keras_model import load_keras_file

    description = file.with_suffix(".json")
    detector, undetected = found_detector(file.with_suffix(".features.npz"))
    names = described_names(description)
    try:
        model = load_keras_file(file, trust=trust)
    except (OSError, ValueError) as error:
        raise RecommendError(f"Expected to read {str(file)!r}. Received: {error}. Check the file.") from error
    notes = notes_on(description, names, undetected)
    return predictor_of(model, class_names=names, detector=detector, title=str(file), notes=notes)
