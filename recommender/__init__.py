"""Measure labelled images, choose one of the four ways of transfer learning, build the model."""

from typing import Any

__all__ = ["Recommendation", "Scenario", "compare", "make_reference", "predict", "ready_model", "recommend"]

_PLACES = {
    "Scenario": "rules.scenario",
    "compare": "comparison.compare",
    "make_reference": "pipeline.make_reference",
    "predict": "prediction.predict",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"recommender.{_PLACES.get(name, 'recommendation')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
