"""An exported model with its class names and its detector, ready to predict. Only a SavedModel imports TensorFlow."""

from collections.abc import Callable
from pathlib import Path

from builders.export.formats import FORMATS
from probes.evaluation.out_of_distribution import Detector
from recommender.errors import RecommendError
from recommender.prediction.detector_file import found_detector
from recommender.prediction.exported_networks import Network, open_litert, open_onnx, open_saved_model
from recommender.prediction.predictor import Predictor, checked_names, described_names, described_size, notes_on

_OPENERS: dict[str, Callable[[Path], Network]] = {".tflite": open_litert, ".onnx": open_onnx}


def is_exported(path: Path) -> bool:
    """Whether a path is opened as an export, by its suffix, or as a folder that holds a SavedModel."""
    return path.suffix.lower() in _OPENERS or (path / FORMATS["saved_model"].folder).is_file()


def check_there(path: Path) -> None:
    """Refuse a path without a file, unless it is a folder that holds a SavedModel."""
    if not (path.is_file() or (path / FORMATS["saved_model"].folder).is_file()):
        what = "a folder" if path.is_dir() else "no such file"
        raise RecommendError(
            f"Expected a .keras, .tflite or .onnx file, or a folder with a SavedModel. Received: {str(path)!r}, "
            f"{what}. Check the path."
        )


def needs_tensorflow(path: Path) -> bool:
    """Whether TensorFlow runs the model at a path."""
    check_there(path)
    return path.suffix.lower() not in _OPENERS


def open_exported(path: Path) -> Predictor:
    """Load an export with the class names and the detector of the model that it was exported from."""
    network = _OPENERS.get(path.suffix.lower(), open_saved_model)(path)
    suffixes = (each.suffix for each in FORMATS.values() if path.name.lower().endswith(each.suffix))
    stem = path.name[: -len(max(suffixes, key=len, default=path.suffix)) or None]
    description = path.with_name(f"{stem}.json")
    names, size = described_names(description), network.size
    if size is None:
        size = described_size(description)
    if size is None:
        raise RecommendError(
            f"Expected {description.name} next to {str(path)!r}, which names the size of its pictures. Received: no "
            "such file. Copy it from where the model was built."
        )
    detector, undetected = found_detector(path.with_name(f"{stem}.features.npz"))
    if detector is not None and (undetected := _unfit(network, detector)):
        detector = None
    return Predictor(
        run=network.run if detector is not None else lambda pixels: network.run(pixels)[-1:],
        size=size,
        channels=network.channels,
        classes=checked_names(names, network.n_classes, str(path)),
        detector=detector,
        notes=notes_on(description, names, undetected),
    )


def _unfit(network: Network, detector: Detector) -> str:
    """Why a network can't be used with a detector; empty if it can."""
    if network.n_features is None:
        return "The file computes in 8 bits, or does not end in a dense layer"
    if network.n_features != len(detector.mean):
        return f"The detector is for {len(detector.mean):,} features, and the file has {network.n_features:,}"
    return ""
