"""Open a backbone of any kind: by name, from a Keras file, a SavedModel or a model in memory."""

import os
from typing import Any

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.kind import BackboneKind, BackboneSpec, OpenOptions, StrPath
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import kind_of
from builders.errors import BuildError


def open_backbone(
    backbone: Any, *, weights: StrPath | None = None, scaling: str | None = None, trust: bool = False
) -> OpenedBackbone:
    """Open a name of the registry, `kerashub:PRESET`, a Keras file, a SavedModel's folder or handle, or a model.

    `weights` is a file for a `keras.applications` network, by default Keras fetches ImageNet's; `scaling` a key of
    `SCALINGS`, by default as the registry says, else unknown; `trust` lets code and any operation in the file run.
    """
    kind, options = resolve(backbone, weights=weights, scaling=scaling, trust=trust)
    return kind.open(backbone, options)


def resolve(
    backbone: Any, *, weights: StrPath | None = None, scaling: str | None = None, trust: bool = False
) -> tuple[BackboneKind, OpenOptions]:
    """The kind of what `open_backbone` takes, and how it is to be opened. Keras-free."""
    if scaling is not None and scaling not in SCALINGS:
        raise BuildError(f"Expected the scaling of pixels to be one of {', '.join(SCALINGS)}. Received: {scaling!r}.")
    kind = kind_of(backbone)
    if weights is not None and not isinstance(kind, BackboneSpec):
        given = os.fspath(backbone) if isinstance(backbone, (str, os.PathLike)) else backbone
        raise BuildError(
            f"Expected `weights` with the name of a network. Received: {given!r}, which has weights of its own. "
            "Restore others into the loaded model with builders.warm_start."
        )
    kind.check(backbone)
    chosen = None if scaling is None else SCALINGS[scaling]
    return kind, OpenOptions(weights=weights, scaling=chosen, trust=trust)


def structure(backbone: Any, *, trust: bool = False) -> Any:
    """The network of a backbone as a `keras.Model`, for its layers alone; Keras does not fetch its weights."""
    kind = kind_of(backbone)
    if isinstance(kind, BackboneSpec):
        return kind.untrained(kind.native_size)
    opened = kind.open(backbone, OpenOptions(trust=trust))
    return opened.at(opened.native_size).network


def load_backbone(name: str, input_size: int | None = None) -> Backbone:
    """Load a backbone by name; `builders.backbones.load.open_backbone` takes files, folders and models as well.

    Args:
        name: a name from the registry.
        input_size: height and width of its input in px; None means its native size.

    Raises:
        BuildError: the name is unknown, its weights are missing, or they are not the expected ones.
    """
    opened = open_backbone(name)
    return opened.at(input_size or opened.native_size)
