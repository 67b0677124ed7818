"""The registry of formats that a model can be exported to. Answers without TensorFlow."""

import difflib
import importlib.util
from pathlib import Path

from builders.errors import BuildError
from builders.export.export_format import ExportFormat
from builders.export.litert import LiteRT, LiteRTDynamic, LiteRTInt8
from builders.export.onnx import ONNX
from builders.export.saved_model import SavedModel

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
    """The format of that name, if it can be used here.

    Raises:
        BuildError: there is none, or a package that it needs is missing.
    """
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
