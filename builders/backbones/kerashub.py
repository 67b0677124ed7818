"""Presets of KerasHub, `kerashub:PRESET`, and its models in memory. Keras-free until one is loaded."""

import difflib
import importlib
import importlib.util
import inspect
import os
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from builders.backbones.applications import downloads_off_stdout
from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.keras_model import opened_model
from builders.backbones.kind import BackboneKind, OpenOptions, digest
from builders.backbones.pixel_scaling import SCALINGS, PixelScaling
from builders.errors import BuildError, first_line

_PREFIX = "kerashub:"
_INSTALL = 'pip install "netgraft[kerashub]"'
_PRESETS = "https://keras.io/keras_hub/presets"
_SAME = 1e-4  # relative difference of two equal pixel scalings
_IMAGES = {"image_shape", "input_shape", "vision_encoder", "image_encoder"}  # arguments of networks that take pictures


class KerasHub(BackboneKind):
    """A preset of KerasHub, by its name, handle or folder, or a model of KerasHub in memory."""

    @property
    def listing(self) -> str:
        return f"{_PREFIX + 'PRESET':22} an image network of {_PRESETS}  {'installed' if _installed() else _INSTALL}"

    def recognises(self, given: Any) -> bool:
        made_by = (base.__module__.partition(".")[0] for base in type(given).__mro__)
        return _preset_in(given) is not None or "keras_hub" in made_by

    def check(self, given: Any) -> None:
        preset = _preset_in(given)
        if preset is None:
            return
        if not preset:
            raise BuildError(
                f"Expected a preset behind {_PREFIX!r}. Received: none. Name one of {_PRESETS}, or a folder with one: "
                f"{_PREFIX}resnet_50_imagenet."
            )
        if not _installed():
            raise BuildError(
                f"Expected the package keras-hub to be installed, for {given}. Received: no such package. Install it "
                f"with `{_INSTALL}`."
            )
        if _is_path(preset) and not Path(preset, "config.json").is_file():
            raise BuildError(
                f"Expected {preset!r} to be a folder with a preset of KerasHub. Received: no config.json there. Write "
                "one with save_to_preset."
            )

    def identity(self, given: Any, options: OpenOptions) -> str | None:
        del options
        preset = _preset_in(given)
        if not preset or not _installed():
            return None
        content: str | None = ""  # a version of KerasHub names the version of each of its presets
        if Path(preset).is_dir():
            files = (file for suffix in ("json", "h5", "safetensors") for file in Path(preset).glob(f"*.{suffix}"))
            content = digest(*sorted(files))
        elif "://" in preset and not re.fullmatch(r"kaggle://(?:[^/]+/){4}\d+", preset):
            return None  # what it names may change
        try:
            return None if content is None else f"{_PREFIX}{preset} {metadata.version('keras-hub')} {content}"
        except metadata.PackageNotFoundError:  # a nightly version
            return None

    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        preset = _preset_in(given)
        if preset is None:
            converter = getattr(getattr(given, "preprocessor", None), "image_converter", None)
            return _opened(given, str(given.name), converter, options)
        self.check(given)
        _require_images(preset)
        converter = _converter(preset)
        name = Path(preset).name if _is_path(preset) else f"{_PREFIX}{preset}"
        opened = _opened(_loaded(preset), name, converter, options)

        def at(size: int) -> Backbone:
            if not opened.fixed or size == opened.native_size:
                return opened.at(size)
            try:
                other = _loaded(preset, image_shape=(size, size, 3))  # position embeddings may be interpolated
            except BuildError as error:
                raise BuildError(
                    f"Expected {name} to take pictures of {size} px. Received: a network for {opened.native_size} px "
                    f"alone. Keep its own input size."
                ) from error
            return replace(_opened(other, name, converter, options).at(size), native_size=opened.native_size)

        return replace(opened, at=at)


def _preset_in(given: Any) -> str | None:
    """What stands behind `kerashub:`; None for all else."""
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else ""
    return text.removeprefix(_PREFIX).strip() if isinstance(text, str) and text.startswith(_PREFIX) else None


def _installed() -> bool:
    return importlib.util.find_spec("keras_hub") is not None


def _is_path(preset: str) -> bool:
    return "://" not in preset and (os.sep in preset or preset.startswith("."))


def _hub() -> Any:
    try:
        return importlib.import_module("keras_hub")
    except Exception as error:  # of what it needs, a part is missing or does not fit
        raise BuildError(
            f"Expected the package keras-hub to be whole. Received: {first_line(error)}. Install it again with "
            f"`{_INSTALL}`."
        ) from error


def _require_images(preset: str) -> None:
    """Refuse a preset that is unknown or not of an image network, before its weights are fetched."""
    hub = _hub()
    from keras_hub.src.utils.preset_utils import get_preset_loader

    known = hub.models.Backbone.presets
    if preset not in known and "://" not in preset and not Path(preset).exists():
        near = ", ".join(difflib.get_close_matches(preset, known, n=3, cutoff=0.4)) or "resnet_50_imagenet"
        raise BuildError(
            f"Expected a preset of KerasHub {hub.__version__}, or a folder with one. Received: {preset!r}. "
            f"Nearest: {near}. {_PRESETS} lists them."
        )
    made_by = _fetched(preset, lambda: get_preset_loader(preset).check_backbone_class())
    arguments = set(inspect.signature(made_by).parameters)
    if not arguments & _IMAGES or "vocabulary_size" in arguments:
        raise BuildError(
            f"Expected a preset of an image network. Received: {preset!r}, a {made_by.__name__}. Choose another one: "
            f"{_PRESETS} lists them."
        )


def _converter(preset: str) -> Any:
    """The layer that prepares pictures for a preset; None if it has none."""

    def load() -> Any:
        try:
            return _hub().layers.ImageConverter.from_preset(preset)
        except (FileNotFoundError, ValueError) as error:
            if isinstance(error, FileNotFoundError) or "Unable to find a subclass" in str(error):
                return None
            raise

    return _fetched(preset, load)


def _loaded(preset: str, **shape: Any) -> Any:
    return _fetched(preset, lambda: _hub().models.Backbone.from_preset(preset, dtype="float32", **shape))


def _fetched(preset: str, load: Any) -> Any:
    """What `load` returns; what it raises becomes an error of one line."""
    try:
        with downloads_off_stdout():
            return load()
    except BuildError:
        raise
    except Exception as error:  # KerasHub, Kaggle and Hugging Face raise nearly any exception
        if Path(preset).is_dir():
            expected, action = f"{preset!r} to hold a whole preset of KerasHub", "Write it again with save_to_preset."
        else:
            expected = f"the preset {preset!r} to be fetched"
            action = f"Check the connection, or give a folder that holds it: {_PREFIX}path/to/preset."
        raise BuildError(f"Expected {expected}. Received: {first_line(error)}. {action}") from error


def _opened(model: Any, name: str, converter: Any, options: OpenOptions) -> OpenedBackbone:
    size = getattr(converter, "image_size", None) or (None, None)
    native_size = size[0] if size[0] == size[1] else None
    return opened_model(_image_part(model), name, options.scaling or _scaling_of(converter), native_size)


def _image_part(model: Any) -> Any:
    """The encoder of pictures in a network of pictures and text; the last map of a network with several."""
    import keras

    if len(model.inputs) > 1:
        encoders = (getattr(model, name, None) for name in ("vision_encoder", "image_encoder"))
        model = next((encoder for encoder in encoders if encoder is not None), model)
    maps = [tensor for tensor in model.outputs if len(tensor.shape) == 4]
    if len(model.inputs) == 1 and len(maps) == len(model.outputs) > 1:  # a pyramid
        return keras.Model(model.inputs, max(maps, key=lambda tensor: tensor.shape[-1] or 0), name=model.name)
    return model


def _scaling_of(converter: Any) -> PixelScaling | None:
    """How a converter scales pixels of 0 to 255; None without a converter."""
    if converter is None:
        return None
    scale, offset = (
        tuple(float(value) for value in np.broadcast_to(default if given is None else given, 3))
        for given, default in ((converter.scale, 1.0), (converter.offset, 0.0))
    )
    for known in SCALINGS.values():
        pairs = ((scale, known.scale), (offset, known.offset))
        if not known.reverse and all(np.allclose(*pair, rtol=_SAME, atol=_SAME / 255) for pair in pairs):
            return known
    return PixelScaling(name="as KerasHub does", scale=scale, offset=offset)
