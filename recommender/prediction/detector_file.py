"""The file of a detector of out-of-distribution pictures."""

import os
from pathlib import Path

import numpy as np

from builders.errors import first_line
from probes.evaluation.out_of_distribution import Detector
from recommender.errors import RecommendError


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
        raise RecommendError(
            f"Expected {str(path)!r} to be a detector of out-of-distribution pictures. Received: "
            f"{first_line(error)}. Build the model again, or remove the file."
        ) from error


def found_detector(path: Path) -> tuple[Detector | None, str]:
    """The detector in a file, or why there is none."""
    if not os.path.lexists(path):
        return None, f"No {path.name} with the model"
    return load_detector(path), ""
