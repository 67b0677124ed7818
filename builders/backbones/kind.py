"""Base classes of the registry's entries: a kind of backbone, and a network that has a name. Keras-free."""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.pixel_scaling import PixelScaling
from builders.errors import BuildError

StrPath: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How a backbone is opened."""

    weights: StrPath | None = None  # a file with weights for a named network
    scaling: PixelScaling | None = None  # how its pixels are scaled, if the user says so
    trust: bool = False  # whether code and any operation in a file may run


class BackboneKind(ABC):
    """One kind of backbone that a user can give. `recognises` and `check` import neither Keras nor TensorFlow."""

    @property
    def listing(self) -> str | None:
        """Its line in `recommend backbones`; None if it has no name."""
        return None

    @abstractmethod
    def recognises(self, given: Any) -> bool:
        """Whether it is a backbone of this kind."""

    def check(self, given: Any) -> None:  # noqa: B027  # most kinds find out when they open it
        """Raises `BuildError` if what was recognised is not available."""

    def identity(self, given: Any, options: OpenOptions) -> str | None:  # noqa: ARG002
        """What determines the network and its weights, in one line, without Keras; None if nothing cheap does."""
        return None

    @abstractmethod
    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        """Open it; raises `BuildError` if it can't be read or is no image network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec(BackboneKind):
    """All that is known of a named network before it is loaded, and how to load it."""

    name: str  # in snake_case
    title: str  # as its paper calls it
    native_size: int  # px: the input size that the weights were trained at
    smallest_size: int = 32  # px: the smallest input that the network takes
    scaling: PixelScaling  # of its pixels
    licence: str  # of the weights
    paper: str  # that describes it
    source: str = "ImageNet"  # the data set that the weights were trained on
    imagenet_accuracy: float | None = None  # top-1 in %, as whoever trained the weights reports it

    @property
    def listing(self) -> str:
        return f"{self.name:22} {self.native_size} px  {self.paper:16}  {self.availability}"

    @property
    @abstractmethod
    def availability(self) -> str:
        """Where its weights come from, in a few words."""

    @property
    def local_weights(self) -> Path | None:
        """The file on this machine that holds its own weights; None if there is none. Keras is not imported."""
        return None

    @abstractmethod
    def pretrained(self, size: int, weights: StrPath | None) -> Any:
        """The network as a `keras.Model` from scaled pixels of (size, size, 3); its own weights if none are given."""

    def untrained(self, size: int) -> Any:
        """The same layers with any weights."""
        return self.pretrained(size, None)

    def recognises(self, given: Any) -> bool:
        path = as_path(given)
        return path is not None and plain_name(str(path)) == plain_name(self.name)

    def open(self, given: Any, options: OpenOptions) -> OpenedBackbone:
        del given
        if options.scaling not in (None, self.scaling):
            raise BuildError(
                f"Expected the pixels of {self.name} to be scaled as {self.scaling.name}. Received: "
                f"{options.scaling.name!r}."
            )

        def at(size: int) -> Backbone:
            from builders.backbones.loaded import bare_backbone, scaled

            if size < self.smallest_size:
                raise BuildError(
                    f"Expected an input of at least {self.smallest_size} px for {self.name}. Received: {size}."
                )
            bare = bare_backbone(self.pretrained(size, options.weights), self.name, size)
            source = self.source if options.weights is None else None
            named = replace(bare, title=self.title, source=source, native_size=self.native_size)
            return scaled(named, self.scaling)

        return OpenedBackbone(native_size=self.native_size, smallest_size=self.smallest_size, fixed=False, at=at)


def digest(*files: StrPath) -> str | None:
    """A digest of the content of files; None where one can't be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        for file in files:
            with Path(file).open("rb") as stream:
                found.update(hashlib.file_digest(stream, "blake2b").digest())
    except OSError:
        return None
    return found.hexdigest()


def as_path(given: Any) -> Path | None:
    """A given string or path as a path; None for a URL and all else."""
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else "://"
    return None if "://" in text else Path(text)


def plain_name(name: str) -> str:
    """A name without upper case, hyphens and underscores."""
    return re.sub(r"[-_]", "", name.lower())
