"""Measure labelled images, choose one of the four ways of transfer learning, build the model."""

from typing import Any

__all__ = ["Recommendation", "Scenario", "make_reference", "ready_model", "recommend"]


def __getattr__(name: str) -> Any:
    if name == "Scenario":
        from recommender.scenario import Scenario

        return Scenario
    if name == "make_reference":
        from recommender.referencing import make_reference

        return make_reference
    if name in __all__:
        from recommender import recommendation

        return getattr(recommendation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
