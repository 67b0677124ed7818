"""A SavedModel or a TensorFlow Hub module as a backbone."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.keras_model import opened_model
from builders.backbones.kind import BackboneKind, OpenOptions, as_path

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone, OpenedBackbone


class SavedModel(BackboneKind):
    """A SavedModel's folder, or the handle of a TensorFlow Hub module."""

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path.is_dir() if path else isinstance(given, str)

    def open(self, given: Any, options: OpenOptions) -> "OpenedBackbone":
        from builders.saved_model.load import load_saved_model

        handle = os.fspath(given)
        first = load_saved_model(handle, trust=options.trust)
        name = Path(handle.rstrip("/")).name or "module"
        opened = opened_model(first, name, options.scaling)
        if not first.layers[1].any_size:
            return opened

        def at(size: int) -> "Backbone":
            if size == opened.native_size:
                return opened.at(size)
            other = load_saved_model(handle, input_size=size, trust=options.trust)
            return opened_model(other, name, options.scaling).at(size)

        return replace(opened, at=at, fixed=False)
