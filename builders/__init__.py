"""Surgery on pretrained networks: find the cut points, cut, graft, freeze, warm-start, describe."""

from importlib import import_module
from typing import Any

_HOMES = {
    "BuildError": "errors",
    "CutMoved": "surgery",
    "CutPoint": "surgery",
    "Frozen": "freezing",
    "HeadSpec": "strategy",
    "LayerRenumbered": "surgery",
    "ShapeMismatch": "warm_starting",
    "Strategy": "strategy",
    "WarmStart": "warm_starting",
    "WarmStartPlan": "warm_starting",
    "cut": "surgery",
    "cut_points": "surgery",
    "describe": "description",
    "freeze": "freezing",
    "graft": "grafting",
    "load_backbone": "backbones",
    "plan_warm_start": "warm_starting",
    "read_checkpoint": "checkpoints",
    "unfreeze": "freezing",
    "warm_start": "warm_starting",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name, and Keras with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"builders.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
