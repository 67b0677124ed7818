"""Measure labelled images, choose one of the four ways of transfer learning, build the model."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ProbeError": "probes.errors",
    "RecommendError": "recommender.errors",
    "Recommendation": "recommender.recommendation",
    "Scenario": "recommender.rules.scenario",
    "compare": "recommender.comparison.compare",
    "make_reference": "recommender.pipeline.make_reference",
    "predict": "recommender.prediction.predict",
    "ready_model": "recommender.recommendation",
    "recommend": "recommender.recommendation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
