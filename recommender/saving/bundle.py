"""What lies beside a model: description, class names, model card, detector of foreign pictures, exports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from builders.export.formats import FORMATS, target_of
from probes.evaluation.out_of_distribution import Detector
from probes.images.decode import in_order, quiet_decoders
from recommender import atomic_files as files
from recommender.errors import RecommendError
from recommender.explanation.text import printable
from recommender.fit.finish import fitted_detector
from recommender.pipeline.reread_images import read_prepared
from recommender.saving.model_card import labels_text, model_card

if TYPE_CHECKING:
    from recommender.fit.result import FitResult
    from recommender.pipeline.decision import Decision

_SHOWN_TO_EXPORTS = 100  # pictures that an export is run on, and that calibrate integers
_JUDGED_BY = 500  # held-out images that tell an export's accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Paths that were written, the model first, and a line on each export for a reader."""

    paths: tuple[Path, ...]
    lines: tuple[str, ...]


def detector_of(found: "Decision") -> Detector | None:
    """The detector of foreign pictures for a model whose backbone is as it was; None where there are too few images."""
    levels = found.strategy.head.levels
    features = np.concatenate([found.features.pooled[level] for level in levels], axis=1)[found.rows.training]
    return fitted_detector(features, None, found.rows.groups[found.rows.training], found.seed)


def write_bundle(
    found: "Decision",
    model: Any,
    path: Path,
    description: dict[str, Any],
    *,
    detector: Detector | None,
    result: "FitResult | None" = None,
    exports: Sequence[str] = (),
    command: str | None = None,
) -> Written:
    """Write a model with all that lies beside it, and its exports.

    Args:
        found: the recommendation that it comes from.
        model: what to write.
        path: of the .keras file.
        description: plain data for the .json file; gains "exports".
        detector: of foreign pictures, for this model.
        result: of the training, where there was one.
        exports: formats to export to.
        command: that repeats it.

    Returns:
        What was written; the lines name exports beside it that are of an older model, too.

    Raises:
        RecommendError: the disk refused.
        BuildError: an export failed; the model is written all the same, and the message says so.
    """
    beside = _beside(found.measurements.size.class_names, description, path.name, detector, command)
    paths = files.write_model(model, description, path, beside)
    if detector is None:
        path.with_suffix(".features.npz").unlink(missing_ok=True)  # an older model's
    if not exports:
        return Written(paths=paths, lines=_older(path, exports))
    try:
        made, lines = _export(found, model, path, result, exports)
    except BuildError as error:
        raise BuildError(f"{error} The model itself was written to {str(path)!r}.") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {path} is written, its exports are not all.") from None
    description["exports"] = made
    try:
        files.write_model(model, description, path, beside)
    except RecommendError as error:
        told = "The model and its exports are in place, but their description does not name the exports."
        raise RecommendError(str(error).replace("Nothing was written.", told)) from error
    exported = (path.parent / entry["file"] for entry in made)
    return Written(paths=(*paths, *exported), lines=(*lines, *_older(path, exports)))


def _older(path: Path, exports: Sequence[str]) -> tuple[str, ...]:
    """A line on each export that lies there but is not of the model that was written now."""
    targets = [target_of(path.with_suffix(""), name) for name in FORMATS if name not in exports]
    return tuple(
        f"{target.name} is of an older model: export it anew, or remove it." for target in targets if target.exists()
    )


def _beside(
    names: Sequence[str], description: dict[str, Any], model_name: str, detector: Detector | None, command: str | None
) -> dict[str, Callable[[Path], object]]:
    """What is written beside the model and its description: suffix -> function that writes such a file."""
    from recommender.prediction.predict import save_detector

    repeated = None if command is None else printable(command)
    labels = labels_text([printable(name) for name in names])
    writers: dict[str, Callable[[Path], object]] = {
        ".labels.txt": lambda target: target.write_text(labels, encoding="utf-8"),
        ".md": lambda target: target.write_text(
            model_card(description, model_name=printable(model_name), command=repeated), encoding="utf-8"
        ),
    }
    if detector is not None:
        writers[".features.npz"] = lambda target: save_detector(target, detector)
    return writers


def _export(
    found: "Decision", model: Any, path: Path, result: "FitResult | None", exports: Sequence[str]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Export, and tell each one's accuracy on the held-out images beside the model's own."""
    from builders.export.export import export_model, run_exported

    measured = found.features.files
    shown = _read(found, measured[:: max(1, len(measured) // _SHOWN_TO_EXPORTS)][:_SHOWN_TO_EXPORTS])
    held_out = () if result is None else result.held_out[:_JUDGED_BY]
    pictures = _read(found, [name for name, _ in held_out]) if held_out else None
    labels = np.array([label for _, label in held_out], np.int64)
    made, lines = [], []
    own = None if pictures is None else _accuracy(model.predict(pictures, verbose=0), labels)
    for name in exports:
        exported = export_model(model, path.with_suffix(""), name, shown)
        accuracy = None if pictures is None else _accuracy(run_exported(exported.path, name, pictures), labels)
        made.append(
            {
                "format": name,
                "file": exported.path.name,
                "size_bytes": exported.size_bytes,
                "takes": exported.takes,
                "largest_difference": exported.largest_difference,
                "same_class": exported.same_class,
                "accuracy": accuracy,
                "model_accuracy": own,
            }
        )
        lines.append(_line(made[-1], len(shown), len(labels)))
    return made, tuple(lines)


def _line(entry: dict[str, Any], n_shown: int, n_judged: int) -> str:
    judged = ""
    if entry["accuracy"] is not None:
        judged = (
            f"; accuracy {entry['accuracy']:.1%} on {n_judged:,} held-out images, the Keras model's "
            f"{entry['model_accuracy']:.1%}"
        )
    return (
        f"{entry['file']}: {entry['size_bytes'] / 1e6:.1f} MB, takes {entry['takes']}; on {n_shown} pictures the same "
        f"class in {entry['same_class']:.0%}, probabilities differ by {entry['largest_difference']:.1g} at most{judged}"
    )


def _accuracy(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    return float((np.asarray(probabilities).argmax(1) == labels).mean())


def _read(found: "Decision", names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Pictures as the network sees them, of shape (n, size, size, channels)."""
    size, channels = found.strategy.input_size, found.backbone.channels

    def read(name: str) -> npt.NDArray[np.float32]:
        return read_prepared(found.index, name, size, channels)[1]

    with quiet_decoders():
        return np.stack(list(in_order(read, names, workers=4, ahead=32)))
