"""The detector of out-of-distribution pictures as a file, MODEL.features.npz."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from probes.errors import ProbeError
from probes.evaluation.out_of_distribution import Detector
from recommender.errors import RecommendError

_DAMAGE = (  # what NumPy, zipfile and zlib raise on damaged files
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_detector(path: Path, detector: Detector) -> None:
    """Write a detector."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **detector.to_arrays())


def load_detector(path: Path) -> Detector:
    """Read what `write_detector` wrote; no code in it runs.

    Raises:
        RecommendError: it can't be read, or is no detector.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Detector.from_arrays({name: stored[name] for name in stored.files})
    except (*_DAMAGE, ProbeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecommendError(
            f"Expected {str(path)!r} to be a detector of out-of-distribution pictures. Received: {reason[:200]} Build "
            "the model again, or remove the file."
        ) from error
