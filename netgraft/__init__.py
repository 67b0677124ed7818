"""netgraft under one name: the public names of `recommender` and `builders`, imported when they are first asked for."""

from typing import TYPE_CHECKING, Any

import builders
import recommender

if TYPE_CHECKING:
    from builders import BuildError, HeadSpec, cut, cut_points, describe, freeze, graft, unfreeze, warm_start
    from recommender import (
        ProbeError,
        Recommendation,
        RecommendError,
        Scenario,
        compare,
        make_reference,
        predict,
        ready_model,
        recommend,
    )

__all__ = [
    "BuildError",
    "HeadSpec",
    "ProbeError",
    "RecommendError",
    "Recommendation",
    "Scenario",
    "compare",
    "cut",
    "cut_points",
    "describe",
    "freeze",
    "graft",
    "make_reference",
    "predict",
    "ready_model",
    "recommend",
    "unfreeze",
    "warm_start",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("netgraft")
    if name in __all__:
        return getattr(recommender if name in recommender.__all__ else builders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
