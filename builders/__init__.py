"""Surgery on pretrained networks: find the cut points, cut, graft, freeze, warm-start, describe."""

from importlib import import_module
from typing import Any

_NAMES = {
    "backbones.load": "load_backbone",
    "checkpoints.read": "read_checkpoint",
    "checkpoints.warm_start": "ShapeMismatch WarmStart WarmStartPlan plan_warm_start warm_start",
    "errors": "BuildError",
    "graph.cut_search": "CutPoint",
    "saved_model.load": "load_saved_model",
    "strategy": "HeadSpec Strategy",
    "surgery.cut": "CutMoved LayerRenumbered cut cut_points",
    "surgery.describe": "describe",
    "surgery.freeze": "Frozen freeze unfreeze",
    "surgery.graft": "graft",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name, and Keras with it, at its first use."""
    if name in _MODULES:
        return getattr(import_module(f"builders.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
