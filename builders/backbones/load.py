"""Open a backbone of any kind: by name, from a Keras file, a SavedModel or a model in memory."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from builders.backbones import efficientnet_lite
from builders.backbones.backbone import Backbone, bare_backbone
from builders.backbones.image_checks import require_channels_last, require_pictures, scales_itself
from builders.backbones.keras_file import load_keras_file
from builders.backbones.pixel_scaling import SCALINGS, PixelScaling
from builders.backbones.registry import (
    FILE_SUFFIXES,
    ApplicationSpec,
    BackboneSpec,
    PackagedSpec,
    find_backbone,
    weights_path,
)
from builders.backbones.torch_file import read_state_dict
from builders.errors import BuildError
from builders.graph.functional import first_line
from builders.graph.layer_graph import LayerGraph
from builders.graph.layer_names import free_name

_OPEN_SIZE = 224  # px: the input of a network that takes any, where nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedBackbone:
    """A backbone whose input size is still to be chosen.

    Attributes:
        native_size: px: what it was trained at, as far as is known.
        smallest_size: px: the smallest input it takes.
        fixed: whether its input size is given and had better be kept.
        at: loads it at an input size in px.
    """

    native_size: int
    smallest_size: int
    fixed: bool
    at: Callable[[int], Backbone]


def open_backbone(
    backbone: Any, *, weights: str | os.PathLike[str] | None = None, scaling: str | None = None, trust: bool = False
) -> OpenedBackbone:
    """Open a backbone.

    Args:
        backbone: a name of the registry; a .keras or .h5 file; a SavedModel's folder or a TensorFlow Hub handle; or a
            `keras.Model`.
        weights: a file with the weights of a `keras.applications` network; by default Keras fetches ImageNet's.
        scaling: how its pixels are scaled, a key of `SCALINGS`; by default as the registry says, else
            left open.
        trust: whether code and any operation in the file may run.

    Raises:
        BuildError: there is no such backbone, it can't be read, or it is no image network.
    """
    chosen = _scaling(scaling)
    if isinstance(backbone, keras.Model):
        return _opened_model(backbone, str(backbone.name), chosen)
    text = os.fspath(backbone)
    path = Path(text)
    saved = "://" in text or path.is_dir() or path.suffix.lower() in FILE_SUFFIXES
    if saved and weights is not None:
        raise BuildError(
            f"Expected `weights` beside the name of a network. Received: {text!r}, which holds weights of its own. "
            "Restore others into the loaded model with builders.warm_start."
        )
    if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir():
        return _opened_model(load_keras_file(path, trust=trust), path.stem, chosen)
    if saved:
        return _opened_saved_model(text, chosen, trust=trust)
    spec = find_backbone(text)
    if chosen is not None and chosen != spec.scaling:
        raise BuildError(
            f"Expected the pixels of {spec.name} to be scaled as {spec.scaling.name}. Received: {scaling!r}."
        )
    if isinstance(spec, PackagedSpec):
        if weights is not None:
            raise BuildError(f"Expected no `weights` for {spec.name}, whose own are installed. Received: {weights!r}.")
        weights_path(spec)
        return _opened_spec(spec, lambda size: _load_packaged(spec, size), "ImageNet")
    if not isinstance(spec, ApplicationSpec):
        raise TypeError(f"unknown kind of spec: {spec!r}")
    application = spec
    source = "ImageNet" if weights is None else None
    return _opened_spec(spec, lambda size: _load_application(application, size, weights), source)


def structure(backbone: Any, *, trust: bool = False) -> Any:
    """The network of a backbone as a `keras.Model`; of one that Keras would have to fetch, without its weights."""
    text = os.fspath(backbone) if isinstance(backbone, (str, os.PathLike)) else ""
    path = Path(text)
    if text and "://" not in text and not path.is_dir() and path.suffix.lower() not in FILE_SUFFIXES:
        spec = find_backbone(text)
        if isinstance(spec, ApplicationSpec):
            return _application(spec, spec.native_size, weights=None)
    opened = open_backbone(backbone, trust=trust)
    return opened.at(opened.native_size).network


def _application(spec: ApplicationSpec, size: int, weights: str | None) -> Any:
    """A network of `keras.applications` without its head."""
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (size, size, 3), "weights": weights}
    if spec.alpha is not None:
        arguments["alpha"] = spec.alpha
    return getattr(keras.applications, spec.constructor)(**arguments)


def _scaling(name: str | None) -> PixelScaling | None:
    if name is not None and name not in SCALINGS:
        raise BuildError(f"Expected `scaling` to be one of {', '.join(SCALINGS)}. Received: {name!r}.")
    return None if name is None else SCALINGS[name]


def _opened_spec(spec: BackboneSpec, load: Callable[[int], Any], source: str | None) -> OpenedBackbone:
    def at(size: int) -> Backbone:
        if size < spec.smallest_size:
            raise BuildError(
                f"Expected an input of at least {spec.smallest_size} px for {spec.name}. Received: {size}."
            )
        bare = bare_backbone(load(size), spec.name, size)
        known = replace(bare, title=spec.title, source=source, native_size=spec.native_size)
        return known.scaled(spec.scaling)

    return OpenedBackbone(native_size=spec.native_size, smallest_size=spec.smallest_size, fixed=False, at=at)


def _load_packaged(spec: PackagedSpec, size: int) -> Any:
    state = read_state_dict(weights_path(spec), sha256=spec.sha256)
    network = efficientnet_lite.efficientnet_lite(
        name=spec.name, input_size=size, width=spec.width, depth=spec.depth, classes=state["_fc.bias"].shape[0]
    )
    efficientnet_lite.load_torch_weights(network, state, efficientnet_lite.torch_names(spec.width, spec.depth))
    return network


def _load_application(spec: ApplicationSpec, size: int, weights: str | os.PathLike[str] | None) -> Any:
    if weights is None:
        with _quiet_download():
            try:
                return _application(spec, size, "imagenet")
            except Exception as error:  # Keras raises a bare Exception when it can't fetch a file
                if "URL fetch failure" not in str(error):
                    raise
                raise BuildError(_what_to_fetch(spec, str(error))) from error
    from builders.checkpoints.warm_start import plan_warm_start

    network = _application(spec, size, None)
    planned = plan_warm_start(network, weights)
    report = planned.report
    lacking = [*report.missing, *(mismatch.name for mismatch in report.other_shape)]
    if lacking:
        raise BuildError(
            f"Expected {os.fspath(weights)!r} to hold all weights of {spec.name}. Received: "
            f"{len(report.restored)} of {len(report.restored) + len(lacking)}; {lacking[0]!r} is missing or has "
            "another shape. Check that the file belongs to this network, width and all."
        )
    planned.apply()
    return network


@contextlib.contextmanager
def _quiet_download() -> Iterator[None]:
    """Keras tells of a download on standard output, which belongs to the answer."""
    out = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        yield


def _what_to_fetch(spec: ApplicationSpec, message: str) -> str:
    address = message.partition("failure on ")[2].partition(": ")[0]
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models" / address.rpartition("/")[2]
    return (
        f"Expected the ImageNet weights of {spec.name}. Received: no file, and no connection to fetch it. Fetch "
        f"{address} and put it at {home}, or name a file with --weights; efficientnet_lite0 works at once."
    )


def _opened_model(model: Any, name: str, scaling: PixelScaling | None) -> OpenedBackbone:
    graph = LayerGraph(model)
    require_pictures(graph)
    require_channels_last(graph)
    height, width, _ = graph.input_shape
    if not graph.cuts and not _is_module(model):
        raise BuildError(
            f"Expected {name} to hold feature maps. Received: a network from {graph.input_shape} that has none. Take "
            "another backbone."
        )

    def at(size: int) -> Backbone:
        bare = bare_backbone(model if (height, width) == (size, size) else _resized(graph, size), name, size)
        chosen = scaling or (SCALINGS["0..255"] if scales_itself(graph) else None)
        return bare if chosen is None else bare.scaled(chosen)

    first = graph.calls[0].operation
    if isinstance(first, keras.layers.Resizing) and first.height == first.width:  # resizes by itself, as ours do
        return OpenedBackbone(native_size=first.height, smallest_size=1, fixed=True, at=at)
    if height is None or width is None:
        return OpenedBackbone(native_size=_OPEN_SIZE, smallest_size=1, fixed=False, at=at)
    side = height if height == width else max(32, round((height * width) ** 0.5 / 32) * 32)
    return OpenedBackbone(native_size=side, smallest_size=1, fixed=True, at=at)


def _opened_saved_model(handle: str, scaling: PixelScaling | None, *, trust: bool) -> OpenedBackbone:
    from builders.saved_model.load import load_saved_model

    first = load_saved_model(handle, trust=trust)
    name = Path(handle.rstrip("/")).name or "module"
    opened = _opened_model(first, name, scaling)
    any_size = bool(first.layers[1].any_size)

    def at(size: int) -> Backbone:
        if size == opened.native_size or not any_size:
            return opened.at(size)
        return _opened_model(load_saved_model(handle, input_size=size, trust=trust), name, scaling).at(size)

    return replace(opened, at=at, fixed=not any_size)


def _is_module(model: Any) -> bool:
    """Whether the model is a SavedModel's, which may show nothing of its inside."""
    return any(type(layer).__name__ == "GraphSegment" for layer in model.layers)


def _resized(graph: LayerGraph, size: int) -> Any:
    """The network on another input size: whole where that goes, else without its head."""
    shape = (size, size, graph.input_shape[-1])
    last = len(graph.nodes) - 1
    failure: Exception | None = None
    for wanted in dict.fromkeys([last, *graph.cuts[-1:]]):
        inputs = keras.Input(shape, name=free_name("image", graph.names))
        try:
            (output,) = graph.lay(inputs, [wanted])
        except Exception as error:  # noqa: BLE001  # layers complain of a wrong shape with many kinds of exception
            failure = error
            continue
        return keras.Model(inputs, output, name=graph.title)
    raise BuildError(
        f"Expected {graph.title} to take pictures of {size} px. Received: a network for {graph.input_shape} alone "
        f"({first_line(failure or ValueError())}). Keep to its own input size, "
        "which has to be square."
    ) from failure


def load_backbone(name: str, input_size: int | None = None) -> Any:
    """Load a backbone by name; `builders.backbones.load.open_backbone` takes files, folders and models as well.

    Args:
        name: a name from the registry.
        input_size: height and width of its input in px; None means its native size.

    Returns:
        A `builders.backbones.load.Backbone`.

    Raises:
        BuildError: the name is unknown, its weights are missing, or they are not the expected ones.
    """
    from builders.backbones.load import open_backbone

    opened = open_backbone(name)
    return opened.at(input_size or opened.native_size)
