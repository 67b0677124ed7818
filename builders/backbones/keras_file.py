"""A saved Keras model as a backbone, loaded without running code that its file may contain."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.keras_model import opened_model
from builders.backbones.kind import BackboneKind, OpenOptions, as_path
from builders.errors import BuildError, first_line

if TYPE_CHECKING:
    from builders.backbones.backbone import OpenedBackbone

_CODE = {"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TorchModuleWrapper"}


class KerasFile(BackboneKind):
    """A .keras or .h5 file."""

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path is not None and path.suffix.lower() in (".keras", ".h5", ".hdf5") and not path.is_dir()

    def check(self, given: Any) -> None:
        if not Path(given).exists():
            raise BuildError(f"Expected `backbone` to be a file or folder. Received: {str(given)!r}, which is none.")

    def open(self, given: Any, options: OpenOptions) -> "OpenedBackbone":
        path = Path(given)
        return opened_model(load_keras_file(path, trust=options.trust), path.stem, options.scaling)


def load_keras_file(path: Path, *, trust: bool = False) -> Any:
    """Load a `keras.Model` from a .keras or .h5 file, uncompiled. Code in it (Lambda layers) runs only with `trust`."""
    config = _read_config(path)
    found = None if trust else next(_code_in(config, "model"), None)
    if found:
        kind, name = found
        raise BuildError(
            f"Expected {str(path)!r} to hold no code. Received: the layer {name!r} with a {kind}, which would run code "
            "from the file. Load it with --trust (trust=True) if you trust its author."
        )
    import keras

    import builders.saved_model.segment_layer  # noqa: F401  # registers the layer that cut SavedModels are made of

    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises nearly any exception on files that it can't read
        text, expected, action = str(error), "a whole Keras model", "Save it again with model.save(...)."
        if "Could not locate class" in text or "Unknown layer" in text or "could not be deserialized" in text:
            expected = "made of classes that Keras knows"
            action = (
                "Load it yourself, with its classes defined, and pass the model: recommend(folder, backbone=model)."
            )
        raise BuildError(f"Expected {str(path)!r} to be {expected}. Received: {first_line(error)}. {action}") from error


def _read_config(path: Path) -> Any:
    """The model's configuration as plain data."""
    import h5py

    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as stored:
            text = stored.attrs.get("model_config")
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise BuildError(
            f"Expected {str(path)!r} to be a .keras or .h5 file of a whole model. Received: {first_line(error)}. Copy "
            "it or save it again."
        ) from error
    if text is None:
        raise BuildError(
            f"Expected {str(path)!r} to hold a whole model. Received: weights alone. Name their network and give the "
            f"file as weights: --backbone NAME --weights {path.name}."
        )
    return json.loads(text)


def _code_in(part: Any, layer: str) -> Iterator[tuple[str, str]]:
    """Each piece of code in a configuration, with the name of the layer around it."""
    if isinstance(part, dict):
        inner = part.get("config")
        name = str(inner.get("name", part.get("name", layer))) if isinstance(inner, dict) else layer
        if part.get("class_name") in _CODE:
            yield str(part["class_name"]).strip("_"), name
        for value in part.values():
            yield from _code_in(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from _code_in(value, layer)
