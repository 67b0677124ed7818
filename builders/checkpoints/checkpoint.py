"""What a checkpoint holds: names, shapes and places of its variables, and the arrays when they are asked for."""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy.typing as npt

from builders.errors import BuildError

Read: TypeAlias = Callable[[Any], npt.NDArray[Any]]


class Place(NamedTuple):
    """Where a variable belongs in its network.

    Attributes:
        layer: names of the layers around it, from the outermost to its own, joined by "/"; "" if none is known.
        path: the position of its layer in the structure, independent of names; "" if that is not known.
        key: what distinguishes it from the other variables of its layer: "kernel", or "0" where files number them.
    """

    layer: str
    path: str
    key: str


NOWHERE = Place("", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One variable, of a file or of a model.

    Attributes:
        name: as it is shown; unique in the file.
        shape: its shape.
        dtype: NumPy's name of its type.
        place: where it belongs in its network.
        address: where the file keeps it, or its index in the model.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    place: Place = NOWHERE
    address: Any


def _no_places(model: Any) -> dict[int, Place]:
    """The places of a format that keeps names alone."""
    del model
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose arrays have not been read yet.

    Attributes:
        path: the file; for TensorFlow checkpoints the prefix of its files.
        weights: its variables, in the file's order. The state of optimizers, metrics and random generators and save
            counters are left out where the file marks them as such.
        opener: opens the file and gives a function from a weight's address to its array.
        places: gives the places of a model's variables, by `id`, as this format would write them.
        any_root: whether the name of any attribute may precede the names of the model's variables.
    """

    path: Path
    weights: tuple[Weight, ...]
    opener: Callable[[], AbstractContextManager[Read]] = field(repr=False)
    places: Callable[[Any], dict[int, Place]] = field(repr=False, default=_no_places)
    any_root: bool = False

    @contextmanager
    def open(self) -> Iterator[Callable[[Weight], npt.NDArray[Any]]]:
        """Open the file; gives a function that reads the array of one weight.

        Raises:
            BuildError: the file is missing, damaged or has changed.
        """
        with readable(self.path), self.opener() as read:

            def read_weight(weight: Weight) -> npt.NDArray[Any]:
                array = read(weight.address)
                if array.shape != weight.shape:
                    raise ValueError(f"{weight.name} has the shape {array.shape} and should have {weight.shape}")
                return array

            yield read_weight


class Reader(Protocol):
    """A module that reads one format."""

    def recognises(self, path: Path) -> bool:
        """Whether the path names a checkpoint of this format, damaged or not."""

    def read(self, path: Path) -> Checkpoint:
        """The checkpoint; what a damaged file makes a library raise becomes a `BuildError`."""


# What zipfile, NumPy, h5py and TensorFlow's reader raise on unexpected bytes.
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, LookupError, RuntimeError, EOFError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)


@contextmanager
def readable(path: Path, kind: str = "checkpoint", *damage: type[Exception]) -> Iterator[None]:
    """Turn what a damaged or missing file makes libraries raise into a `BuildError` of one line."""
    try:
        yield
    except (*_DAMAGE, *damage) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        reason = re.sub(r"\s+", " ", reason).strip().rstrip(".")[:200]
        raise BuildError(
            f"Expected {path} to be a readable {kind}. Received: {reason}. Copy or download it again."
        ) from error


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether a path is a file that begins with these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
