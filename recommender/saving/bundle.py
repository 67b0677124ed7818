"""Write a model with its description, class names, model card, detector and exports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from builders.export.export import export_model, run_exported
from builders.export.formats import FORMATS, target_of
from probes.evaluation.out_of_distribution import Detector
from probes.images.decode import quiet_decoders
from recommender import atomic_files as files
from recommender import json_records
from recommender.errors import RecommendError
from recommender.explanation.text import printable
from recommender.fit.finish import fitted_detector
from recommender.fit.inputs import StoredPictures
from recommender.fit.result import FitResult
from recommender.pipeline.decision import Decision
from recommender.prediction.detector_file import write_detector
from recommender.saving.model_card import labels_text, model_card

_COMPARED_ON = 100  # pictures that an export is run on, and that calibrate integers
_JUDGED_BY = 500  # held-out images that measure an export's accuracy


class Written(NamedTuple):
    """Paths that were written, the model first, and a line on each export for a reader."""

    paths: tuple[Path, ...]
    lines: tuple[str, ...]


def detector_of(found: Decision) -> Detector | None:
    """The detector for a model whose backbone is unchanged; None where there are too few images."""
    blocks = [block[found.rows.training] for block in found.pooled_for_head()]
    return fitted_detector(blocks, None, found.rows.groups[found.rows.training], found.seed)


def write_bundle(
    found: Decision,
    model: Any,
    path: Path,
    description: dict[str, Any],
    *,
    detector: Detector | None,
    result: FitResult | None = None,
    exports: Sequence[str] = (),
    command: str | None = None,
) -> Written:
    """Write a model to a .keras file with all the files that go with it, and its exports.

    `description`, the data of the .json file, gains "exports". If an export fails, the model is written all the same,
    and the error says so. `result` of a training has the images that measure exports; `command` repeats everything.
    """
    further = _further(found.measurements.size.class_names, description, path.name, detector, command)
    paths = files.write_model(model, description, path, further)
    if detector is None:
        path.with_suffix(".features.npz").unlink(missing_ok=True)  # an older model's
    lines = [
        f"{target.name} is of an older model: export it again, or remove it."
        for target in (target_of(path.with_suffix(""), name) for name in FORMATS if name not in exports)
        if target.exists()
    ]
    if not exports:
        return Written(paths=paths, lines=tuple(lines))
    try:
        made, reported = _export(found, model, path, result, exports)
    except BuildError as error:
        raise BuildError(f"{error} The model itself was written to {str(path)!r}.") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {path} is written, its exports are not all.") from None
    description["exports"] = [export.to_dict() for export in made]
    try:
        files.write_model(model, description, path, further)
    except RecommendError as error:
        written = "The model and its exports are in place, but their description does not name the exports."
        raise RecommendError(str(error).replace("Nothing was written.", written)) from error
    paths = (*paths, *(path.parent / export.file for export in made))
    return Written(paths=paths, lines=(*reported, *lines))


def _further(
    names: Sequence[str], description: dict[str, Any], model_name: str, detector: Detector | None, command: str | None
) -> dict[str, Callable[[Path], object]]:
    """The files that go with a model and its description: suffix -> function that writes such a file."""
    labels = labels_text([printable(name) for name in names])
    repeated = None if command is None else printable(command)

    def card() -> str:  # when it is written, `description` may have gained the exports
        return model_card(description, model_name=printable(model_name), command=repeated)

    writers: dict[str, Callable[[Path], object]] = {
        ".labels.txt": lambda target: target.write_text(labels, encoding="utf-8"),
        ".md": lambda target: target.write_text(card(), encoding="utf-8"),
    }
    if detector is not None:
        writers[".features.npz"] = lambda target: write_detector(target, detector)
    return writers


def _export(
    found: Decision, model: Any, path: Path, result: FitResult | None, exports: Sequence[str]
) -> tuple[list[json_records.Export], list[str]]:
    """Export, and measure the accuracy of each export and of the model on the held-out images."""
    measured = found.features.files
    compared = _read(found, measured[:: max(1, len(measured) // _COMPARED_ON)][:_COMPARED_ON])
    held_out = () if result is None else result.held_out[:_JUDGED_BY]
    judged = _read(found, [name for name, _ in held_out]) if held_out else None
    labels = np.array([label for _, label in held_out], np.int64)
    own = None if judged is None else _accuracy(model.predict(judged, verbose=0), labels)
    made, lines = [], []
    for name in exports:
        exported = export_model(model, path.with_suffix(""), name, compared)
        accuracy = None if judged is None else _accuracy(run_exported(exported.path, name, judged), labels)
        made.append(json_records.Export.of(exported, file=exported.path.name, accuracy=accuracy, model_accuracy=own))
        line = (
            f"{exported.path.name}: {exported.size_bytes / 1e6:.1f} MB, takes {exported.takes}; on {len(compared)} "
            f"pictures the same class in {exported.same_class:.0%}, probabilities differ by "
            f"{exported.largest_difference:.1g} at most"
        )
        if accuracy is not None:
            line += f"; accuracy {accuracy:.1%} on {len(labels):,} held-out images, the Keras model's {own:.1%}"
        lines.append(line)
    return made, lines


def _accuracy(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    return float((probabilities.argmax(1) == labels).mean())


def _read(found: Decision, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Pictures as the network sees them, of shape (n, size, size, channels)."""
    size, channels = found.strategy.input_size, found.backbone.channels
    with quiet_decoders():
        return StoredPictures(found.index, names, size, channels, rounded=False)[np.arange(len(names))]
