"""Surgery on pretrained networks: find the cut points, cut, graft, freeze, warm-start, describe."""

from importlib import import_module
from typing import Any

_HOMES = {
    "BuildError": "errors",
    "CutMoved": "surgery",
    "CutPoint": "surgery",
    "Frozen": "freezing",
    "HeadSpec": "strategy",
    "Strategy": "strategy",
    "cut": "surgery",
    "cut_points": "surgery",
    "describe": "description",
    "freeze": "freezing",
    "graft": "grafting",
    "unfreeze": "freezing",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name, and Keras with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"builders.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
