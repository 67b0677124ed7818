"""What a model can be exported to. Pure data; answers without TensorFlow."""

import difflib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from builders.errors import BuildError

_KERAS_WITH_LITERT = (3, 13)  # the first release whose `Model.export` knows the format


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """One kind of file.

    Attributes:
        name: as `--export` takes it.
        title: for people.
        suffix: what is added to the stem of the model's name.
        packages: modules that must be importable besides TensorFlow and Keras.
        extra: of netgraft, that brings them; None where none is needed.
        any_size: whether the resizing of the pictures is inside, so that they may have any size.
        quantised: whether its probabilities differ from the Keras model's by more than rounding.
    """

    name: str
    title: str
    suffix: str
    packages: tuple[str, ...] = ()
    extra: str | None = None
    any_size: bool = False
    quantised: bool = False


FORMATS: dict[str, ExportFormat] = {
    known.name: known
    for known in (
        ExportFormat(name="saved_model", title="TensorFlow SavedModel", suffix="_saved_model", any_size=True),
        ExportFormat(name="litert", title="LiteRT", suffix=".tflite"),
        ExportFormat(
            name="litert_dynamic", title="LiteRT with 8-bit weights", suffix="_dynamic.tflite", quantised=True
        ),
        ExportFormat(name="litert_int8", title="LiteRT in 8-bit integers", suffix="_int8.tflite", quantised=True),
        ExportFormat(
            name="onnx",
            title="ONNX",
            suffix=".onnx",
            packages=("onnx", "onnxruntime", "tf2onnx"),
            extra="onnx",
        ),
    )
}


def find_format(name: str) -> ExportFormat:
    """The format of that name.

    Raises:
        BuildError: there is none.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.3)
    raise BuildError(
        f"Expected the format of an export to be one of {', '.join(FORMATS)}. Received: {name!r}."
        + (f" Nearest: {near[0]}." if near else "")
    )


def check_format(name: str) -> None:
    """Raises `BuildError`, without importing TensorFlow, where a format is unknown or a package for it is missing."""
    known = find_format(name)
    missing = [package for package in known.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise BuildError(
            f"Expected the packages that {known.title} needs. Received: no {', '.join(missing)}. "
            f"Install with: pip install 'netgraft[{known.extra}]'."
        )
    if name.startswith("litert"):
        _check_litert(known)


def _check_litert(known: ExportFormat) -> None:
    version = metadata.version("keras")
    if tuple(int(part) for part in version.split(".")[:2]) < _KERAS_WITH_LITERT:
        raise BuildError(
            f"Expected Keras 3.13 or later for {known.title}. Received: {version}. "
            "Install with: pip install --upgrade keras."
        )
    if importlib.util.find_spec("ai_edge_litert") is None and not _tensorflow_interprets():
        raise BuildError(
            f"Expected an interpreter for {known.title}. Received: a TensorFlow without one. "
            "Install with: pip install ai-edge-litert."
        )


def _tensorflow_interprets() -> bool:
    """Whether TensorFlow still brings its own interpreter, which it says it will drop."""
    found = importlib.util.find_spec("tensorflow")
    folders = () if found is None else found.submodule_search_locations or ()
    return any(Path(folder, "lite", "python", "interpreter.py").is_file() for folder in folders)


def target_of(stem: Path, name: str) -> Path:
    """Where an export goes: the stem's own name with the format's suffix, whatever dots are in it."""
    return stem.with_name(stem.name + find_format(name).suffix)
