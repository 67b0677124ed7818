"""Surgery on pretrained networks: find the cut points, cut, graft, freeze, warm-start, describe."""

from importlib import import_module
from typing import Any

_HOMES = {
    "BuildError": "errors",
    "CutMoved": "surgery.cut",
    "CutPoint": "surgery.cut",
    "Frozen": "surgery.freeze",
    "HeadSpec": "strategy",
    "LayerRenumbered": "surgery.cut",
    "ShapeMismatch": "checkpoints.warm_start",
    "Strategy": "strategy",
    "WarmStart": "checkpoints.warm_start",
    "WarmStartPlan": "checkpoints.warm_start",
    "cut": "surgery.cut",
    "cut_points": "surgery.cut",
    "describe": "surgery.describe",
    "freeze": "surgery.freeze",
    "graft": "surgery.graft",
    "load_backbone": "backbones.load",
    "plan_warm_start": "checkpoints.warm_start",
    "read_checkpoint": "checkpoints.read",
    "unfreeze": "surgery.freeze",
    "warm_start": "checkpoints.warm_start",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name, and Keras with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"builders.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
