"""The registry: every kind of backbone that a user can give, and every network that has a name. Keras-free."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from builders.backbones.applications import APPLICATIONS
from builders.backbones.keras_model import KERAS_SUFFIXES, KerasFile, KerasModel, SavedModel
from builders.backbones.kerashub import KerasHub
from builders.backbones.kind import BackboneKind, BackboneSpec, as_path, plain_name
from builders.backbones.packaged import PACKAGED
from builders.errors import BuildError

KINDS: tuple[BackboneKind, ...] = (  # the first one that recognises what was given opens it
    KerasHub(),
    KerasFile(),
    SavedModel(),
    *PACKAGED,
    *APPLICATIONS,
    KerasModel(),
)


def by_name(kinds: Iterable[BackboneKind]) -> dict[str, BackboneSpec]:
    """The named networks among kinds of backbones; two may not differ in upper case, hyphens and underscores alone."""
    specs = [kind for kind in kinds if isinstance(kind, BackboneSpec)]
    names = [plain_name(spec.name) for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Expected each backbone to be registered once. Received twice: {', '.join(twice)}.")
    return {spec.name: spec for spec in specs}


BACKBONES = by_name(KINDS)


def kind_of(backbone: Any) -> BackboneKind:
    """The kind of a given backbone."""
    for kind in KINDS:
        if kind.recognises(backbone):
            return kind
    path = as_path(backbone) or Path()
    if (os.sep in str(backbone) or path.suffix.lower() in KERAS_SUFFIXES) and not path.exists():
        raise BuildError(
            f"Expected `backbone` to be a file or folder. Received: {str(backbone)!r}, which is none. Check the path."
        )
    name = str(backbone)
    near = difflib.get_close_matches(name.lower().replace("-", "_"), BACKBONES, n=3, cutoff=0.4) or list(BACKBONES)[:3]
    raise BuildError(
        f"Expected `backbone` to name a known backbone, or a file or folder that holds a network. Received: {name!r}. "
        f"Nearest: {', '.join(near)}. List them with `recommend backbones`."
    )


def check_backbone(backbone: Any) -> None:
    """Raises `BuildError`, without Keras, if a given backbone is of no kind or not available."""
    kind_of(backbone).check(backbone)
