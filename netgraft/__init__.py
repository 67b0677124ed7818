"""netgraft under one name: the public names of `recommender` and `builders`, imported when they are first asked for."""

from importlib.metadata import version
from typing import Any

import builders
import recommender

__all__ = sorted({*recommender.__all__, *builders.__all__})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("netgraft")
    if name in __all__:
        return getattr(recommender if name in recommender.__all__ else builders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
