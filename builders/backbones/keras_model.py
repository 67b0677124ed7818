"""A `keras.Model` as a backbone, or a Keras file or SavedModel, which becomes one."""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.kind import BackboneKind, OpenOptions, as_path, digest
from builders.backbones.pixel_scaling import SCALINGS, PixelScaling
from builders.errors import BuildError, first_line

if TYPE_CHECKING:
    from builders.graph.layer_graph import LayerGraph

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_OPEN_SIZE = 224  # px: input of a network that takes any size
_LARGEST_SCALED = 20.0  # scaled pixels are smaller than this in every usual scaling
_CODE = {"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TorchModuleWrapper"}


class KerasModel(BackboneKind):
    """A `keras.Model` in memory."""

    def recognises(self, given: Any) -> bool:
        return not isinstance(given, (str, os.PathLike))

    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        import keras

        if not isinstance(given, keras.Model):
            raise BuildError(
                f"Expected `backbone` to be a name, a path or a keras.Model. Received: {type(given).__name__}."
            )
        return opened_model(given, str(given.name), options.scaling)


class KerasFile(BackboneKind):
    """A .keras or .h5 file."""

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path is not None and path.suffix.lower() in KERAS_SUFFIXES and path.exists() and not path.is_dir()

    def identity(self, given: Any, options: OpenOptions) -> str | None:
        content = digest(given)
        return content and f"{Path(given).stem} {content} {options.trust}"

    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        path = Path(given)
        return opened_model(load_keras_file(path, trust=options.trust), path.stem, options.scaling)


class SavedModel(BackboneKind):
    """A SavedModel's folder, or the handle of a TensorFlow Hub module."""

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path.is_dir() if path else isinstance(given, str)

    def identity(self, given: Any, options: OpenOptions) -> str | None:
        path = as_path(given)
        if path is None or not (path / "saved_model.pb").is_file():
            return None
        parts = (path / "saved_model.pb", *(path / "variables").rglob("*"), *(path / "assets").rglob("*"))
        content = digest(*sorted(part for part in parts if part.is_file()))
        return content and f"{path.name} {content} {options.trust}"

    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        from builders.saved_model.load import load_saved_model

        handle = os.fspath(given)
        first = load_saved_model(handle, trust=options.trust)
        name = Path(handle.rstrip("/")).name or "module"
        opened = opened_model(first, name, options.scaling)
        if not first.layers[1].any_size:
            return opened

        def at(size: int) -> Backbone:
            if size == opened.native_size:
                return opened.at(size)
            other = load_saved_model(handle, input_size=size, trust=options.trust)
            return opened_model(other, name, options.scaling).at(size)

        return replace(opened, at=at, fixed=False)


def opened_model(model: Any, name: str, scaling: PixelScaling | None, native_size: int | None = None) -> OpenedBackbone:
    """A model as a backbone. Without a scaling, that of its first layers is found; else it stays unknown.

    `native_size` in px is that of a model that takes any size, if it is known.
    """
    import keras

    from builders.backbones.loaded import bare_backbone, scaled
    from builders.graph.layer_graph import LayerGraph

    graph = LayerGraph(model)
    is_module = any(type(layer).__name__ == "GraphSegment" for layer in model.layers)  # can hide its feature maps
    _require_images(graph, feature_maps=not is_module)
    height, width, _ = graph.input_shape

    def at(size: int) -> Backbone:
        network = model if (height, width) == (size, size) else _resized(graph, size)
        bare = replace(bare_backbone(network, name, size), native_size=native)
        chosen = scaling or (SCALINGS["0..255"] if _scales_itself(graph) else None)
        return bare if chosen is None else scaled(bare, chosen)

    first = graph.calls[0].operation
    if isinstance(first, keras.layers.Resizing) and first.height == first.width:  # as models of `build` do
        native, fixed = first.height, True
    elif height is None or width is None:
        native, fixed = native_size or _OPEN_SIZE, False
    else:
        native = height if height == width else max(32, round((height * width) ** 0.5 / 32) * 32)
        fixed = True
    return OpenedBackbone(native_size=native, fixed=fixed, at=at)


def _require_images(graph: "LayerGraph", *, feature_maps: bool) -> None:
    shape = graph.input_shape
    if len(shape) != 3 or shape[-1] not in (1, 3, 4):
        raise BuildError(
            f"Expected {graph.title} to take pictures of shape (height, width, channels), with 1, 3 or 4 channels. "
            f"Received: a network that takes {shape}. Choose another backbone."
        )
    first = [call.name for call in graph.calls if getattr(call.operation, "data_format", None) == "channels_first"]
    if first:
        raise BuildError(
            f"Expected {graph.title} to have its channels last. Received: the layer {first[0]!r}, which has them "
            "first. Build it with data_format='channels_last'."
        )
    if feature_maps and not graph.cuts:
        raise BuildError(
            f"Expected {graph.title} to have feature maps. Received: a network from {shape} without any. Choose "
            "another backbone."
        )


def _scales_itself(graph: "LayerGraph") -> bool:
    """Whether the layers in front of the first convolution scale pixels from 0..255 to a usual range."""
    import keras
    import numpy as np

    ends, found = np.array([0.0, 255.0]), False
    for step, node in zip(graph.calls, graph.nodes[1:], strict=True):
        layer = step.operation
        if node.kind.mixes:
            break
        if isinstance(layer, keras.layers.Rescaling):
            ends, found = ends * np.mean(layer.scale) + np.mean(layer.offset), True
        elif isinstance(layer, keras.layers.Normalization):
            mean, variance = (np.mean(keras.ops.convert_to_numpy(part)) for part in (layer.mean, layer.variance))
            ends, found = (ends - mean) / np.sqrt(max(float(variance), 1e-12)), True
    return found and bool(np.abs(ends).max() <= _LARGEST_SCALED)


def _resized(graph: "LayerGraph", size: int) -> Any:
    """The network for another input size: whole if possible, else without its head."""
    import keras

    failure: Exception = ValueError()
    for wanted in dict.fromkeys([len(graph.nodes) - 1, *graph.cuts[-1:]]):
        inputs = graph.input_layer((size, size, graph.input_shape[-1]))
        try:
            (output,) = graph.copy_onto(inputs, [wanted])
            if output.shape[-1] != graph.nodes[wanted].width:  # a fixed Reshape moved positions into channels
                raise ValueError(f"{output.shape[-1]} channels at the end in place of {graph.nodes[wanted].width}")
        except Exception as error:  # noqa: BLE001  # layers raise many kinds of exception for a wrong shape
            failure = error
        else:
            return keras.Model(inputs, output, name=graph.title)
    raise BuildError(
        f"Expected {graph.title} to take pictures of {size} px. Received: a network for {graph.input_shape} alone "
        f"({first_line(failure)}). Keep its own input size, which has to be square."
    ) from failure


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
