"""Load a saved Keras model without running code that its file may hold."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builders.errors import BuildError

_CODE = {"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TorchModuleWrapper"}


def load_keras_file(path: Path, *, trust: bool = False) -> Any:
    """Load a whole model from a .keras or .h5 file, uncompiled.

    Args:
        path: of the file.
        trust: whether code in the file (Lambda layers) may run.

    Returns:
        The `keras.Model`.

    Raises:
        BuildError: there is no such file, it is broken, holds weights alone, holds code or needs classes that are not
            at hand.
    """
    config = _read_config(path)
    if not trust:
        refuse_code(config, path)
    import keras

    import builders.saved_model.segment_layer  # noqa: F401  # registers the layer that cut SavedModels are made of

    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises nearly anything on files that it can't read
        raise BuildError(_explain(path, str(error))) from error


def _explain(path: Path, message: str) -> str:
    first = (message.strip().splitlines() or ["unknown"])[0]
    if "Could not locate class" in message or "Unknown layer" in message or "could not be deserialized" in message:
        return (
            f"Expected {str(path)!r} to be made of classes that Keras knows. Received: {first[:200]} Load it yourself, "
            "with its classes at hand, and pass the model: recommend(folder, backbone=model)."
        )
    return (
        f"Expected {str(path)!r} to be a whole Keras model. Received: {first[:200]} Save it anew with model.save(...)."
    )


def _read_config(path: Path) -> Any:
    """The model's configuration as plain data."""
    if not path.is_file():
        raise BuildError(f"Expected a .keras or .h5 file. Received: {str(path)!r}, which is no file. Check the path.")
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            raise BuildError(
                f"Expected {str(path)!r} to be a .keras file, a zip archive with config.json. Received: "
                f"{_broken(error)}. Copy or save it anew."
            ) from error
    import h5py

    try:
        with h5py.File(path, "r") as stored:
            text = stored.attrs.get("model_config")
    except OSError as error:
        raise BuildError(
            f"Expected {str(path)!r} to be an HDF5 file. Received: {_broken(error)}. Copy or save it anew."
        ) from error
    if text is None:
        raise BuildError(
            f"Expected {str(path)!r} to hold a whole model. Received: weights alone. Name their network and give the "
            f"file as weights: --backbone NAME --weights {path.name}."
        )
    return json.loads(text.decode() if isinstance(text, bytes) else text)


def _broken(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].strip("'\"")
    return text[:120]


def refuse_code(config: Any, path: Path) -> None:
    """Raises `BuildError` if a layer of a configuration would run code from the file."""
    found = next(_code_in(config, "model"), None)
    if found:
        kind, name = found
        raise BuildError(
            f"Expected {str(path)!r} to hold no code. Received: the layer {name!r} with a {kind}, which would run code "
            "from the file. Load it with --trust (trust=True) if you trust its author."
        )


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
